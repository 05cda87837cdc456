"""The sampler: which changes it can make, that it draws the same ones again, and its verdicts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.mutants.__main__ import lines, summary
from tests.mutants.changes import Change, draw, make, sites
from tests.mutants.measure import Verdict
from tests.mutants.rooms import Equivalent, read_equivalents, read_rooms, stale

ROOT = Path(__file__).resolve().parents[2]
PATH = "core/hostler/toy.py"


def afters(text: str) -> set[str]:
    """Every changed line that is possible."""
    text = dedent(text)
    found = sites(PATH, text)
    return {make(site, use, text).after for site in found for use in site.uses}


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("a and b", {"a or b"}),
        ("a + b", {"a - b"}),
        ("a < b", {"a <= b", "a >= b"}),
        ("a is None", {"a is not None"}),
        ("a in b", {"a not in b"}),
        ("a not  in b", {"a in b"}),
        ("not a", {"a"}),
        ("x = 3", {"x = 4", "x = 2"}),
        ("x = True", {"x = False"}),
        ("if a: b()", {"if True: b()", "if False: b()", "if (not (a)): b()"}),
        ("while a: b()", {"while False: b()"}),
        ("[x for x in y if x]", {f"[x for x in y if {c}]" for c in ("True", "False", "(not (x))")}),
        ("x if y else z", {f"x if {c} else z" for c in ("True", "False", "(not (y))")}),
        ("def f() -> str: return x", {'def f() -> str: return ""'}),
        ("def f() -> int | None: return x", {"def f() -> int | None: return None"}),
        ("def f() -> bool: return x()", {"def f() -> bool: return not (x())"}),
    ],
)
def test_what_is_changed(text: str, changed: set[str]) -> None:
    assert afters(text) == changed


@pytest.mark.parametrize(
    "text",
    [
        "x: int | None",
        "def f(x: int | None) -> str | None: pass",
        "Both = int | str",
        "@dataclass(frozen=True)\nclass A: pass",
        "assert a == 1",
        "if TYPE_CHECKING: import a",
        "zip(a, b, strict=True)",
        "def f(a, *, b, **c): g(*a, **c)",
        'x = "text"',
    ],
)
def test_what_says_nothing_about_behaviour_is_left_alone(text: str) -> None:
    assert afters(text) == set()


def test_the_same_seed_draws_the_same_changes_of_different_places() -> None:
    texts = {PATH: "\n".join(f"a{n} = b < {n}" for n in range(30))}
    drawn = draw(texts, 20, 7)
    assert drawn == draw(texts, 20, 7)
    assert drawn != draw(texts, 20, 8)
    assert len(drawn) == 20
    assert all(change.before.startswith(f"a{change.line - 1} =") for change in drawn)
    assert not {change.key for change in draw(texts, 60, 7, [drawn[0].key])} & {drawn[0].key}


def test_a_change_that_cannot_be_compiled_is_not_drawn() -> None:
    assert draw({PATH: "for a in b:\n    x = a if c else d\n    break\n"}, 9, 1)


def test_each_room_has_files_and_tests() -> None:
    for room in read_rooms(ROOT).values():
        assert all((ROOT / path).is_file() for path in room.files)
        assert all((ROOT / path).exists() for path in room.tests)


def test_each_change_that_changes_nothing_has_a_reason() -> None:
    assert all(entry.why for entry in read_equivalents())


def test_an_equivalent_change_is_found_by_its_line_wherever_that_moves(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("\n\n    if a < b:\n        c()\n")
    here = Equivalent("a.py", "if a < b:", "if a <= b:", "never equal")
    moved = Equivalent("a.py", "if a < b and d:", "if a < b or d:", "")
    assert stale([here, moved], tmp_path) == [moved]


def test_a_verdict_says_where_and_what() -> None:
    change = Change(PATH, 3, "Lt_LtE", "if a < b:", "if a <= b:", "")
    found = [Verdict(change, ""), Verdict(change, "tests/test_toy.py::test_a")]
    assert lines(found[0]) == [f"{PATH}:3 UNNOTICED", "    - if a < b:", "    + if a <= b:"]
    assert lines(found[1])[0] == f"{PATH}:3 noticed by tests/test_toy.py::test_a"
    assert summary("toy", found, 7) == "toy: 1 of 2 changes noticed (50 %), seed 7"


TOY = """
def is_large(size: int) -> bool:
    return size > 10


def unseen(size: int) -> int:
    return size * 3


def ends() -> None:
    while True:
        break


def threaded() -> None:
    seen.append(1)


seen: list[int] = []
"""
TESTS = """
import threading

from hostler.toy import ends, is_large, seen, threaded

def test_it() -> None:
    assert is_large(11)
    assert not is_large(10)
    ends()
    thread = threading.Thread(target=threaded)
    thread.start()
    thread.join()
    assert seen == [1]

def test_what_is_imported_late() -> None:
    from hostler.late import double
    assert double(3) == 6
"""
LATE = """
def double(size: int) -> int:
    return size * 2
"""
MEASURE = """
import sys
from pathlib import Path
from tests.mutants.__main__ import lines
from tests.mutants.measure import Wanted, measure
from tests.mutants.rooms import Room

room = Room("toy", ("core/hostler/toy.py", "core/hostler/late.py"), ("tests/test_toy.py",))
wanted = Wanted(50, 1, 2, spare_s=1)  # one of the changes makes a loop endless
measure(room, Path(sys.argv[1]), wanted, lambda found: print(*lines(found), sep=" "))
"""


def measured(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """The toy, measured with these tests."""
    (folder / "core/hostler").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / PATH).write_text(TOY)
    (folder / "core/hostler/late.py").write_text(LATE)
    (folder / "tests/test_toy.py").write_text(tests)
    return subprocess.run(
        [sys.executable, "-c", MEASURE, folder],
        capture_output=True, text=True, timeout=110, cwd=ROOT, check=False,
    )  # fmt: skip


def test_what_the_tests_state_is_noticed_and_the_rest_is_not(tmp_path: Path) -> None:
    done = measured(tmp_path, TESTS)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    late = [line for line in said if line.startswith("core/hostler/late.py")]
    assert late
    assert all("noticed by tests/test_toy.py::test_what_is_imported_late " in each for each in late)
    found = sorted(line for line in said if line.startswith(PATH))
    verdicts = dict(line.split(" ", 1) for line in found)
    assert list(verdicts) == [f"{PATH}:{line}" for line in (11, 12, 16, 3, 7)]
    assert verdicts[f"{PATH}:3"].startswith("noticed by tests/test_toy.py::test_it ")
    assert verdicts[f"{PATH}:12"].startswith("noticed by")  # an endless loop
    assert verdicts[f"{PATH}:16"].startswith("noticed by tests/test_toy.py::test_it ")
    assert verdicts[f"{PATH}:7"].startswith("UNNOTICED")
    assert (tmp_path / PATH).read_text() == TOY


@pytest.mark.parametrize(
    ("tests", "error"),
    [
        ("import hostler.nowhere", "the tests cannot be collected"),
        ("def test_it(): assert False", "without a change: tests/test_toy.py::test_it"),
    ],
)
def test_tests_that_cannot_run_or_fail_are_an_error(tmp_path: Path, tests: str, error: str) -> None:
    done = measured(tmp_path, tests)
    assert done.returncode == 1
    assert error in done.stderr
