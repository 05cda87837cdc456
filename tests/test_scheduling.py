"""tests/scheduling.py: which test file runs when and on which worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scheduling import LABS, LONGEST, needs_lab, next_file, rank, sort, takes_labs

TESTS = Path(__file__).resolve().parent


@pytest.mark.parametrize("name", LONGEST)
def test_a_file_that_is_named_is_there(name: str) -> None:
    assert (TESTS.parent / name).is_file()


def test_long_files_come_first_and_short_ones_last() -> None:
    order = [
        rank(TESTS.parent / LONGEST[0], True),
        rank(TESTS.parent / LONGEST[1], False),
        rank(TESTS / "core/spec/test_slow.py", True),
        rank(TESTS / "e2e/test_alone.py", False),
        rank(TESTS / "core/spec/test_pipeline.py", False),
    ]
    assert order == sorted(set(order))


def test_the_scheduler_knows_the_files_with_the_lab(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert needs_lab(TESTS / "e2e/test_lab_cuts.py")
    assert not needs_lab(TESTS / "core/spec/test_pipeline.py")
    (tmp_path / "test_hidden.py").write_text("# marked from elsewhere")
    monkeypatch.setattr(request.node, "path", tmp_path / "test_hidden.py")
    sort([request.node])
    request.node.add_marker("lab")
    with pytest.raises(pytest.UsageError, match=r"test_hidden\.py needs the lab"):
        sort([request.node])


def test_few_workers_take_the_labs_files() -> None:
    taking = [takes_labs(f"gw{number}", 7) for number in range(7)]
    assert taking == [True] * LABS + [False] * (7 - LABS)
    assert [takes_labs(name, 2) for name in ("gw0", "gw1")] == [True, False]
    assert takes_labs("gw0", 1)
    assert not takes_labs("gw7", 7), "it stands in for one that crashed"


def test_a_worker_takes_what_is_left_where_nothing_is_wanted() -> None:
    assert next_file(["a", "lab", "b"], lambda file: file == "lab") == "lab"
    assert next_file(["a", "b"], lambda file: file == "lab") == "a"


def test_files_with_the_same_lab_stay_together() -> None:
    waiting = ["e2e/b", "chaos/a", "core/c", "e2e/d"]
    assert next_file(waiting, lambda file: "core" not in file, ["chaos/x"]) == "chaos/a"
    assert next_file(waiting, lambda file: "core" not in file, ["e2e/x"]) == "e2e/b"
    assert next_file(waiting, lambda file: "core" in file, ["chaos/x"]) == "core/c"
    assert next_file(waiting, lambda file: file == "e2e/d", ["lab/x"]) == "e2e/d"
