from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.base.errors import InputError, StateError
from hostler.store.log_store import LogStore
from hostler.store.logs import LogFile

_CAP = 1_000_000


def _open(path: Path, cap: int = _CAP) -> LogFile:
    return LogFile(path, cap, lambda: None)


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = _open(path)
    assert log.position == {}
    log.append(b"one\n", {"n": 1})
    log.append(b"two\n", {"n": 2})
    log.append(b"", {"n": 3})
    log.close()
    log = _open(path)
    assert (log.position, log.size) == ({"n": 3}, 8)
    log.append(b"three\n", {"n": 4})
    log.close()
    log.close()
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    with pytest.raises(StateError, match="closed"):
        log.append(b"x", {})


def test_a_note_is_a_line_of_its_own_and_leaves_the_position_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = _open(path)
    log.note("first")
    log.append(b"half a li", {"n": 1})
    log.note("second")
    assert log.position == {"n": 1}
    log.close()
    log = _open(path)
    log.append(b"ne\n", {"n": 2})
    log.close()
    assert path.read_text() == "[hostler] first\nhalf a li\n[hostler] second\nne\n"


def test_bytes_without_a_position_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = _open(path)
    log.append(b"one\n", {"n": 1})
    log.close()
    with path.open("ab") as file:
        file.write(b"written just before the end of the process")
    log = _open(path)
    assert log.position == {"n": 1}
    assert path.read_bytes() == b"one\n"
    log.close()


def test_a_torn_slot_falls_back_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = _open(path)
    log.append(b"one\n", {"n": 1})
    log.append(b"two\n", {"n": 2})
    log.close()
    slots = bytearray(path.with_suffix(".pos").read_bytes())
    slots[20:30] = b"torn apart"  # slot 0 holds the second append
    path.with_suffix(".pos").write_bytes(slots)
    log = _open(path)
    assert log.position == {"n": 1}
    assert path.read_bytes() == b"one\n"
    log.close()


@pytest.mark.parametrize("lost", ["cut", "zeros"])
def test_an_end_lost_in_a_power_cut_is_read_again(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "a.log"
    log = _open(path)
    log.append(b"one\n", {"n": 1})
    log.append(b"two\n", {"n": 2})
    log.close()
    path.write_bytes(b"one\n" + (b"" if lost == "cut" else b"\0" * 4))
    log = _open(path)
    assert log.position == {"n": 1}
    assert path.read_bytes() == b"one\n"
    log.close()


def test_a_log_without_positions_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"of unknown origin")
    path.with_suffix(".pos").write_bytes(b"nonsense \xff" * 300)
    log = _open(path)
    assert (log.position, log.size) == ({}, 0)
    assert path.read_bytes() == b""
    log.close()


def test_a_stage_that_says_nothing_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = _open(path)
    log.sync()
    assert log.is_synced
    log.close()
    assert list(tmp_path.iterdir()) == []
    log = _open(path)
    log.append(b"a", {"n": 1})
    assert not log.is_synced
    log.sync()
    assert log.is_synced
    log.close()
    log = _open(path)
    assert (log.is_synced, log.position) == (True, {"n": 1})
    log.close()


@given(
    pieces=st.lists(st.binary(max_size=6000), min_size=1, max_size=12),
    cut=st.integers(0, 6000),
    torn=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_after_any_damage_the_log_is_what_its_position_says(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], cut: int, torn: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.log"
    log = _open(path)
    for number, piece in enumerate(pieces, 1):
        log.append(piece, {"n": number})
    log.close()
    os.truncate(path, max(0, path.stat().st_size - cut))
    if torn and pieces:
        os.truncate(path.with_suffix(".pos"), 1500)
    log = _open(path)
    got_to: Any = log.position.get("n", 0)
    assert path.read_bytes() == b"".join(pieces[:got_to])
    if cut == 0 and not torn:
        assert got_to == len(pieces)
    log.close()


def test_over_the_cap_only_the_position_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = _open(path, cap=2048)
    log.append(b"x" * 2000, {"n": 1})
    log.append(b"y" * 100, {"n": 2})
    log.append(b"z" * 100, {"n": 3})
    log.close()
    content = path.read_bytes()
    assert content.startswith(b"x" * 2000 + b"y" * 48 + b"\n[hostler]")
    assert b"longer than 2 KiB" in content
    assert b"z" not in content
    log = _open(path, cap=2048)
    log.append(b"z", {"n": 4})
    assert log.position == {"n": 4}
    log.close()
    assert path.read_bytes() == content


def test_a_full_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    log = _open(path)
    log.append(b"one\n", {"n": 1})
    real = os.pwrite

    def half_then_full(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) > 3:
            return real(descriptor, data[:3], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half_then_full)
        with pytest.raises(StateError, match="is full"):
            log.append(b"two\n", {"n": 2})
    assert (log.position, path.read_bytes()) == ({"n": 1}, b"one\n")
    log.append(b"two\n", {"n": 2})
    log.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_log_is_never_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "a.log").symlink_to(tmp_path / "victim")
    with pytest.raises(StateError):
        _open(tmp_path / "a.log")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_the_folder_of_a_run_is_private_and_made_again_where_it_is_gone(tmp_path: Path) -> None:
    logs = LogStore(tmp_path / "logs")
    folder = tmp_path / "logs" / "r1"
    folder.mkdir(mode=0o755)  # as a backup may have been put back
    for number in range(3):
        logs.open("r1", f"r1-s-{number}", _CAP).append(b"x\n", {"n": 1})
        assert folder.stat().st_mode & 0o777 == 0o700
        if number == 1:
            logs.remove_run("r1")
    assert [path.name for path in folder.glob("*.log")] == ["r1-s-2.log"]
    logs.close()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "-rf", "a\0b", "a\n", "x" * 300])
def test_hostile_names_are_refused(tmp_path: Path, name: str) -> None:
    logs = LogStore(tmp_path / "logs")
    for run_id, attempt_id in ((name, "a"), ("r", name)):
        with pytest.raises(InputError):
            logs.path(run_id, attempt_id)


def test_parts_and_ends_of_a_log(tmp_path: Path) -> None:
    logs = LogStore(tmp_path / "logs")
    assert logs.read("r1", "r1-a-1") == b""
    assert logs.size("r1", "r1-a-1") == 0
    log = logs.open("r1", "r1-a-1", _CAP)
    assert logs.open("r1", "r1-a-1", _CAP) is log
    lines = [b"line %d\n" % number for number in range(20_000)]
    log.append(b"".join(lines) + b"unfinished", {})
    assert logs.read("r1", "r1-a-1", 5, 10) == b"".join(lines)[5:15]
    assert logs.read("r1", "r1-a-1", 10**9) == b""
    assert logs.tail("r1", "r1-a-1", 3) == b"".join(lines[-2:]) + b"unfinished"
    assert logs.tail("r1", "r1-a-1", 15_000) == b"".join(lines[-14_999:]) + b"unfinished"
    log.append(b"\n", {})
    assert logs.tail("r1", "r1-a-1", 1) == b"unfinished\n"
    assert logs.tail_offset("r1", "r1-a-1", 10**6) == 0
    assert logs.tail("r1", "r1-a-1", 0) == b""
    assert logs.sizes(logs.run_ids())["r1"] >= log.size
    logs.remove_run("r1")
    logs.remove_run("r1")
    assert logs.sizes(["r1"]) == {}
    assert log.is_closed
    logs.close()


async def test_a_follower_gets_everything_once_and_ends(tmp_path: Path) -> None:
    logs = LogStore(tmp_path / "logs")
    over = False

    async def follow(offset: int) -> tuple[int, bytes]:
        got = b""
        async for at, data in logs.follow("r1", "r1-a-1", offset, lambda: over):
            assert at == offset + len(got)
            got += data
        return offset, got

    early = asyncio.create_task(follow(0))
    late = asyncio.create_task(follow(7))
    await asyncio.sleep(0)
    log = logs.open("r1", "r1-a-1", _CAP)
    for number in range(500):
        log.append(b"line %d\n" % number, {"n": number})
        if number % 50 == 0:
            await asyncio.sleep(0)
    over = True
    log.close()
    whole = log.path.read_bytes()
    assert await asyncio.wait_for(early, 60) == (0, whole)
    assert await asyncio.wait_for(late, 60) == (7, whole[7:])
    logs.close()
