"""Which files are fetched, and where they go."""

from __future__ import annotations

import os
from typing import Any

import pytest

from hostler.base.errors import InputError, NotFoundError
from hostler.client.fetch_places import Wanted, check_path, choose, leads_out
from hostler.model.codec import from_answer
from hostler.model.views.files import FileView


def file(path: str, **changes: Any) -> FileView:
    made = {
        "stage": "train", "attempt_id": "r7-train-1", "attempt": 1, "where": "saved",
        "artifact": "files", "kind": "files", "path": path, "size": 5, "sha256": "0" * 64,
        "mode": 0o644, "link": None, "mtime": None, "partial": False,
    }  # fmt: skip
    made |= changes
    made["attempt_id"] = f"r7-{made['stage']}-{made['attempt']}"
    return from_answer(FileView, made)


FILES = [
    file("model.pt"),
    file("runs/1/loss.csv"),
    file("runs/2/loss.csv"),
    file("runs.txt"),
    file("out/best.pt", artifact="weights"),
]


def goes(*names: str, files: list[FileView] = FILES) -> list[str]:
    return [wanted.to for wanted in choose("r7", files, names)]


@pytest.mark.parametrize(
    ("names", "to"),
    [
        ((), ["model.pt", "out/best.pt", "runs.txt", "runs/1/loss.csv", "runs/2/loss.csv"]),
        (("model.pt",), ["model.pt"]),
        (("./model.pt",), ["model.pt"]),
        (("runs",), ["runs/1/loss.csv", "runs/2/loss.csv"]),
        (("runs/",), ["runs/1/loss.csv", "runs/2/loss.csv"]),
        (("runs/2",), ["runs/2/loss.csv"]),
        (("*.csv",), ["runs/1/loss.csv", "runs/2/loss.csv"]),
        (("runs/1/*.csv",), ["runs/1/loss.csv"]),
        (("weights",), ["out/best.pt"]),
        (("wei*", "*.txt"), ["out/best.pt", "runs.txt"]),
    ],
)
def test_names_paths_folders_and_globs_mean_files(names: tuple[str, ...], to: list[str]) -> None:
    assert goes(*names) == to


def test_known_names_are_told_where_there_is_no_such_one() -> None:
    with pytest.raises(NotFoundError) as raised:
        goes("model.pt", "modle.pt")
    assert "no file or output 'modle.pt'" in str(raised.value)
    assert "It has: model.pt, out/ (1 file), runs.txt, runs/ (2 files)" in str(raised.value)


def test_several_stages_go_to_folders_of_their_names() -> None:
    files = [*FILES, file("model.pt", stage="train.1"), file("report.html", stage="eval")]
    assert "train/model.pt" in goes(files=files)
    assert "train.1/model.pt" in goes(files=files)
    assert goes("report.html", files=files) == ["report.html"]


def test_of_a_stage_the_newest_attempt_counts_that_has_such_files() -> None:
    files = [file("model.pt", attempt=2), *FILES]
    assert goes(files=files) == ["model.pt"]
    (only,) = choose("r7", files, ["model.pt"])
    assert only.attempt == 2
    (older,) = choose("r7", files, ["runs.txt"])
    assert older.attempt == 1


def test_a_link_is_made_where_its_target_comes_along_and_is_the_file_where_not() -> None:
    files = [*FILES, file("latest.pt", link="out/best.pt", sha256=None)]
    whole = {wanted.to: wanted for wanted in choose("r7", files, [])}
    assert whole["latest.pt"].link == "out/best.pt"
    assert list(whole)[-1] == "latest.pt"  # after all files: nothing is written through it
    (alone,) = choose("r7", files, ["latest.pt"])
    assert (alone.link, alone.path, alone.to) == (None, "out/best.pt", "latest.pt")


def test_links_in_a_circle_end() -> None:
    files = [file("a", link="b", sha256=None), file("b", link="a", sha256=None)]
    (alone,) = choose("r7", files, ["a"])
    assert alone.is_link


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a/./b", "a\0b"],
)
def test_a_name_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="leads out of the target folder"):
        choose("r7", [file(path)], [])
    with pytest.raises(InputError):
        choose("r7", [file("a", stage="../up"), file("b")], [])


def test_a_bad_name_keeps_no_other_file_back() -> None:
    files = [file("../x"), file("model.pt"), file("x" * 256)]
    assert goes("model.pt", files=files) == ["model.pt"]


@pytest.mark.parametrize(
    "path", ["x" * 256, "a/" + "\ufffd" * 86, "a/" * 256 + "b"], ids=("name", "bytes", "depth")
)
def test_a_name_that_no_file_can_have_is_known(path: str) -> None:
    (one,) = choose("r7", [file(path)], [])
    assert not one.fits
    assert all(wanted.fits for wanted in choose("r7", [*FILES, file("a/" * 200 + "b")], []))


def test_names_that_are_no_text_are_names_all_the_same() -> None:
    odd = os.fsdecode(b"r\xe9sultat.csv")
    check_path(odd)
    assert goes("*.csv", files=[file(odd)]) == [odd]


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        ("a", "b", False), ("a", "../b", True), ("d/a", "../b", False), ("d/a", "../../b", True),
        ("a", "/etc", True), ("a", "b/../..", True), ("a", "", True), ("a", "b\0", True),
        ("d/a", "x/../../../b", True), ("d/a", "../x", False), ("a", "b/./c", False),
        # Where `x` is a link upwards itself this is a way out.
        ("d/a", "x/../b", True), ("a", "x/y/../z", True),
    ],
)  # fmt: skip
def test_a_link_that_leads_out_is_known(path: str, target: str, out: bool) -> None:
    assert leads_out(path, target) is out


def test_the_version_of_a_file_on_a_host_is_its_size_and_time() -> None:
    (one,) = choose("r7", [file("a", where="running", sha256=None, mtime=1.5, artifact=None)], [])
    assert one == Wanted(
        "train", "r7-train-1", 1, "running", None, "a", "a", 5, None, '"5-1.5"', 0o644, None
    )
