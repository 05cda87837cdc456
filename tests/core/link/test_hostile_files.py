"""What a host says of files, against an agent that says what it is told to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, AgentGone
from hostler.link import files
from hostler.link.agent_link import AgentLink
from hostler.model.files import Kept, Select
from hostler.ports import ArchiveSource
from hostler_agent.json_values import items
from hostler_agent.wire import END, FrameReader, frame, json_frame
from tests.support.programs.scripted_agent import heard, script

pytestmark = pytest.mark.programs

SOURCE = ArchiveSource("r1-train-1", "process", "r1-train-1", "out")
SHA = "ab" * 32
DONE = json_frame({"end": True, "truncated": False, "left_out": {"caches": 5}})


def says(*frames: bytes) -> dict[str, Any]:
    return {"bulk": b"".join(frames).hex(), "bulk_ends": True}


def entries(*rows: Any) -> bytes:
    return json_frame({"entries": list(rows)})


def file(path: Any, size: Any = 1, mtime: Any = 2.5, sha256: Any = None) -> list[Any]:
    return [path, "file", size, mtime, sha256]


async def test_a_list_comes_in_any_number_of_frames(link: AgentLink, folder: Path) -> None:
    await link.connect()
    busy = json_frame({"busy": True})
    told = (busy, entries(file("a"), file("a/b")), busy, entries(file("c")), DONE)
    script(folder, bulk_after=b"".join(told).hex())
    found = await link.changed_files(SOURCE, Select(globs=("*.pt",), skip=("x",), since=4.0))
    assert [entry.path for entry in found.files] == ["a", "a/b", "c"]
    assert found.left_out == {"caches": 5}
    asked, _ = FrameReader().feed((folder / "received").read_bytes())
    assert asked == {"globs": ["*.pt"], "skip": ["x"]}
    assert heard(folder)[-1]["since"] == 4.0


ODD: list[tuple[Any, str]] = [
    ([file("/etc/passwd")], "leads out|no path"),
    ([file("../x")], "leads out"),
    ([file("a/../../x")], "no path"),
    ([file("a//b")], "no path"),
    ([file(".")], "leads out"),
    ([file("")], "no path"),
    ([file("a\0b")], "no path"),
    ([file("x" * 5000)], "no path"),
    ([file(7)], "should be text"),
    ([file("b"), file("a")], "out of order"),
    ([file("a"), file("a")], "out of order"),
    ([file("a", -1)], "negative"),
    ([file("a", 2**70)], "whole number"),
    ([file("a", 1.5)], "whole number"),
    ([file("a", 1, "now")], "should be a number"),
    ([file("a", 1, 1.0, "zz")], "no SHA-256"),
    ([["a", "device", 1, 1.0, None]], "should be one of"),
    ([["a"]], "row of 5"),
    ("text", "row of 5|cannot be read"),
    (5, "cannot be read"),
]


@pytest.mark.parametrize(("told", "why"), ODD)
async def test_lists_that_do_not_fit_are_refused(
    link: AgentLink, folder: Path, told: Any, why: str
) -> None:
    await link.connect()
    script(folder, **says(json_frame({"entries": told}), DONE))
    with pytest.raises(AgentError, match=why):
        await link.list_files(SOURCE, recursive=True)


@pytest.mark.parametrize(
    "end",
    [
        {"end": True, "truncated": "no"}, {"end": True, "left_out": [1]},
        {"end": True, "left_out": {"a": -1}},
        {"end": True, "left_out": {str(n): 1 for n in range(99)}},
    ],
)  # fmt: skip
async def test_ends_that_do_not_fit_are_refused(
    link: AgentLink, folder: Path, end: dict[str, Any]
) -> None:
    await link.connect()
    script(folder, bulk_after=json_frame(end).hex())
    with pytest.raises(AgentError, match="cannot be read"):
        await link.changed_files(SOURCE, Select())


async def test_a_list_that_is_too_long_is_refused(
    link: AgentLink, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await link.connect()
    script(folder, **says(entries(file("a"), file("b")), entries(file("c")), DONE))
    monkeypatch.setattr(files, "MOST_ENTRIES", 2)
    with pytest.raises(AgentError, match="too long"):
        await link.list_files(SOURCE, recursive=True)
    monkeypatch.setattr(files, "MOST_ENTRIES", 10)
    monkeypatch.setattr(files, "MOST_NAMES", 2)
    with pytest.raises(AgentError, match="too long"):
        await link.list_files(SOURCE, recursive=True)


async def test_a_name_of_lone_surrogates_is_text_that_can_be_written(
    link: AgentLink, folder: Path
) -> None:
    await link.connect()
    script(folder, **says(b"".join([entries(file("a\udcff")), DONE])))
    (entry,) = (await link.list_files(SOURCE, recursive=True)).entries
    assert entry.path.encode() == b"a?"


def whole(data: bytes, **end: Any) -> bytes:
    sha256 = hashlib.sha256(data).hexdigest()
    return frame(data) + json_frame({"sha256": sha256, **end}) + END


def whole_end(data: bytes, **end: Any) -> bytes:
    return json_frame({"sha256": hashlib.sha256(data).hexdigest(), **end}) + END


OPENED = json_frame({"size": 4, "mtime": 1.5})


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (json_frame({"size": -1, "mtime": 1}), "cannot be read"),
        (json_frame({"size": 4}), "cannot be read"),
        (frame(b"data"), "bytes where a result was due"),
        (OPENED + frame(b"datas"), "more bytes than it has"),
        (OPENED + whole(b"dat"), "fewer bytes than it has"),
        (OPENED + frame(b"data") + END, "fewer bytes than it has"),
        (OPENED + whole(b"data", sha256=SHA), "do not fit its hash"),
        (OPENED + whole(b"data", sha256=5), "fewer bytes than it has"),
        (OPENED + frame(b"da"), "ended in the middle"),
    ],
)
async def test_files_that_do_not_fit_are_refused(
    link: AgentLink, folder: Path, frames: bytes, why: str
) -> None:
    await link.connect()
    script(folder, **says(frames))
    with pytest.raises(AgentError, match=why):
        async for _ in link.read_file(SOURCE):
            pass


async def test_an_agent_that_says_that_it_is_at_work_sends_a_file_or_archive_all_the_same(
    link: AgentLink, folder: Path
) -> None:
    """What it has to read before it sends anything, or Docker has to pack, may take minutes."""
    await link.connect()
    busy = json_frame({"busy": True})
    script(folder, **says(OPENED, busy, frame(b"da"), busy, frame(b"ta"), busy, whole_end(b"data")))
    assert b"".join([piece async for piece in link.read_file(SOURCE)]) == b"data"
    end = whole_end(b"data", size=4)
    script(folder, **says(busy, frame(b"da"), busy, frame(b"ta"), busy, end))
    assert b"".join([piece async for piece in link.read_archive(SOURCE)]) == b"data"


async def test_an_agent_that_is_killed_is_told_from_one_that_refuses(
    link: AgentLink, folder: Path
) -> None:
    await link.connect()
    script(folder, **says(OPENED + frame(b"data")[:6]))
    with pytest.raises(AgentGone, match="ended in the middle"):
        async for _ in link.read_file(SOURCE):
            pass


async def test_what_was_kept_is_checked(link: AgentLink, folder: Path) -> None:
    await link.connect()
    script(folder, **says(json_frame({"files": 2, "bytes": 7, "path": "/x"})))
    assert await link.keep_files(SOURCE, 1.0) == Kept(2, 7, "/x")
    script(folder, **says(json_frame({"files": -2, "bytes": 7, "path": "/x"})))
    with pytest.raises(AgentError, match="cannot be read"):
        await link.keep_files(SOURCE, 1.0)


async def test_paths_are_named_in_frames_that_fit(link: AgentLink, folder: Path) -> None:
    await link.connect()
    wanted = ["ä" * 1000 + str(number) for number in range(1000)]
    data = bytes(1024)
    end = json_frame({"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
    script(folder, bulk="", bulk_after=(frame(data) + end).hex())
    found = [piece async for piece in link.read_archive(SOURCE, 0, wanted)]
    assert b"".join(found) == data
    *told, last = FrameReader().feed((folder / "received").read_bytes())
    assert last is None
    assert len(told) > 1
    assert [
        path for item in told if isinstance(item, dict) for path in items(item["paths"])
    ] == wanted
    assert heard(folder)[-1]["chosen"] is True
