"""Which files are copied, and which stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.decide.copied_files import (
    UNFIT,
    choose_files,
    not_come,
    staying,
    unfit_or,
    without,
)
from hostler.decide.fullness import leaves_files
from hostler.model.files import FileEntry
from hostler.model.runs import Phase
from tests.support.values.planning import stage


def entry(path: str, size: int) -> FileEntry:
    return FileEntry(path, "file", size, 5.0)


@given(sizes=st.lists(st.integers(0, 100_000), max_size=30), capacity=st.integers(0, 300_000))
def test_whole_files_the_small_ones_first_within_the_room(sizes: list[int], capacity: int) -> None:
    files = [entry(f"f{n:02}", size) for n, size in enumerate(sizes)]
    choice = choose_files(files, capacity)
    assert sorted((*choice.copied, *choice.left), key=lambda e: e.path) == files
    assert not choice.copied or choice.size <= capacity
    most = max((e.size for e in choice.copied), default=0)
    assert all(e.size >= most for e in choice.left)
    if choice.left:
        smallest = min(e.size for e in choice.left)
        assert choice.size + smallest + 1024 > capacity, "one more would have fitted"
    assert list(choice.copied) == sorted(choice.copied, key=lambda e: e.path)


def test_what_no_archive_may_hold_stays_alone() -> None:
    unfit = [entry("a/" * 100 + "b", 1), entry("\ufffd" * 86, 1), entry(("n" * 250 + "/") * 17, 1)]
    choice = choose_files([entry("m", 5), *unfit], 100_000)
    assert (choice.copied, set(choice.left)) == ((entry("m", 5),), set(unfit))
    assert unfit_or(choice.left, "no room") == UNFIT
    assert unfit_or([*choice.left, entry("m", 5)], "no room") == "no room"


def test_what_did_not_come_is_not_taken_for_copied() -> None:
    link = FileEntry("l", "link", 0, 5.0)
    assert not_come([entry("a", 1), entry("b", 2), link], {"a"}) == (entry("b", 2),)


def test_what_is_copied_already_is_known_by_path_and_size() -> None:
    files = [entry("a", 1), entry("b", 2), entry("c", 3)]
    assert without(files, {"a": 1, "b": 7}) == (files[1], files[2])


def test_of_what_stays_the_largest_are_named() -> None:
    left = staying([entry(f"f{n:02}", n) for n in range(30)], "why")
    assert (left.files, left.size, len(left.names)) == (30, 435, 20)
    assert left.names[:2] == ("f29", "f28")


@pytest.mark.parametrize(
    ("keep", "has_outputs", "verdict", "leaves"),
    [
        (None, False, Phase.SUCCEEDED, True),
        (None, True, Phase.SUCCEEDED, False),
        (None, True, Phase.FAILED, True),
        (("*.pt",), True, Phase.SUCCEEDED, True),
        ((), False, Phase.SUCCEEDED, False),
        ((), False, Phase.FAILED, False),
    ],
)
def test_what_leaves_files(
    keep: tuple[str, ...] | None, has_outputs: bool, verdict: Phase, leaves: bool
) -> None:
    made = stage(keep=keep, outputs={"o": "out"} if has_outputs else {})
    assert leaves_files(made, verdict) == leaves
    here = replace(made, code="here")
    if verdict is Phase.SUCCEEDED:
        assert leaves_files(here, verdict) == leaves


def test_a_folder_of_the_run_itself_stays_anyway() -> None:
    here = stage(code="here", outputs={"o": "out"})
    assert not leaves_files(here, Phase.FAILED)


def test_what_a_file_takes_in_a_tar_is_counted() -> None:
    files = [entry("a", 10), entry("b", 20)]
    assert choose_files(files, 2 * 1024 + 30 + 10_240).copied == tuple(files)
    assert choose_files(files, 2 * 1024 + 29 + 10_240).copied == tuple(files[:1])
    assert choose_files(files, 1 << 30).size == 2 * 1024 + 30 + 10_240
    assert choose_files([], 0).size == 10_240


def test_twenty_of_what_stays_are_named() -> None:
    found = staying([entry(f"f{n:02}", n) for n in range(21)], "large")
    assert (len(found.names), found.names[0], found.files, found.size) == (20, "f20", 21, 210)
