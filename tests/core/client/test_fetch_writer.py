"""What is written below a target folder, and what is not, whoever made what is there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ConflictError, HostlerError, InputError
from hostler.client.fetch_writer import Part, Target, There

KEY = "0123456789ab"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Target:
    (tmp_path / "to").mkdir()
    return Target(tmp_path / "to")


def bring(target: Target, data: bytes, *parts: str, force: bool = False, mode: int = 0o644) -> None:
    with target.part(parts, KEY) as part:
        part.restart()
        part.write(data)
        part.finish(mode, replace=force)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_file_arrives_whole_with_the_rights_that_the_umask_gives(
    target: Target, umask: None
) -> None:
    with target.part(("a", "b", "run.sh"), KEY) as part:
        part.write(b"one")
        arriving = target.folder / "a/b" / part.name
        assert stat.S_IMODE(arriving.stat().st_mode) == 0o600
        assert not (target.folder / "a/b/run.sh").exists()
        part.write(b"two")
        part.finish(0o755, replace=False)
    made = target.folder / "a/b/run.sh"
    assert made.read_bytes() == b"onetwo"
    assert stat.S_IMODE(made.stat().st_mode) == 0o750
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o750
    assert os.listdir(made.parent) == ["run.sh"]


def test_what_has_arrived_is_gone_on_with_and_another_version_begins_anew(target: Target) -> None:
    with target.part(("m",), KEY) as part:
        part.write(b"half")
    with target.part(("m",), KEY) as part:
        assert (part.size, part.digest) == (4, digest(b"half"))
        part.write(b"whole")
        assert part.digest == digest(b"halfwhole")
        part.finish(None, replace=False)
    assert (target.folder / "m").read_bytes() == b"halfwhole"
    with target.part(("m",), "f" * 12) as other:
        assert other.size == 0
        other.write(b"xx")
        other.restart()
        assert (other.size, other.digest) == (0, digest(b""))
        other.discard()
    assert os.listdir(target.folder) == ["m"]


def test_what_is_there_is_known(target: Target) -> None:
    to = target.folder
    (to / "same").write_bytes(b"data")
    (to / "other").write_bytes(b"DATA")
    (to / "folder").mkdir()
    os.mkfifo(to / "fifo")
    (to / "link").symlink_to("same")
    wanted: Any = (4, digest(b"data"), None)
    there = {name: target.there((name,), *wanted) for name in (*os.listdir(to), "none")}
    assert there == {
        "same": There.SAME, "other": There.OTHER, "folder": There.IN_THE_WAY,
        "fifo": There.IN_THE_WAY, "link": There.OTHER, "none": There.NOTHING,
    }  # fmt: skip
    assert target.there(("link",), 0, None, "same") is There.SAME
    assert target.there(("link",), 0, None, "elsewhere") is There.OTHER
    assert target.there(("same",), 4, None, None) is There.OTHER  # not known to be the same
    assert target.there(("none", "deep"), *wanted) is There.NOTHING


def test_a_link_on_the_way_is_not_gone_through(target: Target, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (target.folder / "runs").symlink_to(tmp_path / "outside")
    for act in (
        lambda: bring(target, b"x", "runs", "a"),
        lambda: target.there(("runs", "a"), 1, None, None),
        lambda: target.make_link(("runs", "a"), "b", replace=True),
    ):
        with pytest.raises(InputError, match="runs is a link; files cannot be written there"):
            act()
    (target.folder / "plain").write_text("x")
    with pytest.raises(InputError, match="plain is not a folder"):
        bring(target, b"x", "plain", "a")
    assert os.listdir(tmp_path / "outside") == []


def test_the_folder_itself_may_be_a_link_and_is_made_where_it_is_missing(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    bring(Target(tmp_path / "link"), b"x", "a")
    assert (tmp_path / "real/a").read_bytes() == b"x"
    bring(Target(tmp_path / "new/deep"), b"x", "a")
    assert (tmp_path / "new/deep/a").read_bytes() == b"x"
    for wrong in ("/dev/null", str(tmp_path / "real/a")):
        with pytest.raises(InputError, match="is not a folder"):
            bring(Target(wrong), b"x", "a")


def test_nothing_that_is_there_is_replaced_unasked(target: Target) -> None:
    (target.folder / "a").write_bytes(b"mine")
    with pytest.raises(ConflictError, match="was created during the download"):
        bring(target, b"new", "a")
    assert (target.folder / "a").read_bytes() == b"mine"
    bring(target, b"new", "a", force=True)
    assert (target.folder / "a").read_bytes() == b"new"


def test_a_link_is_replaced_itself_and_what_it_leads_to_stays(
    target: Target, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    (target.folder / "a").symlink_to(tmp_path / "precious")
    bring(target, b"new", "a", force=True)
    assert not (target.folder / "a").is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"mine"
    target.make_link(("a",), "b", replace=True)
    assert os.readlink(target.folder / "a") == "b"
    with pytest.raises(ConflictError):
        target.make_link(("a",), "c", replace=False)


def test_where_the_disk_has_no_hard_links_nothing_is_replaced_either(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_words: Any, **_options: Any) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    bring(target, b"x", "a")
    assert (target.folder / "a").read_bytes() == b"x"
    with pytest.raises(ConflictError):
        bring(target, b"y", "a")
    assert (target.folder / "a").read_bytes() == b"x"


def part_path(target: Target, name: str = "a") -> Path:
    return target.folder / f".{name}.part-{KEY}"


@pytest.mark.parametrize("kind", ["link", "fifo", "hard link", "folder"])
def test_what_others_put_where_a_part_belongs_is_not_opened(
    target: Target, tmp_path: Path, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    at = part_path(target)
    make: Any = {
        "link": lambda: at.symlink_to(victim), "fifo": lambda: os.mkfifo(at),
        "hard link": lambda: at.hardlink_to(victim), "folder": lambda: at.mkdir(),
    }[kind]  # fmt: skip
    make()
    with pytest.raises(InputError, match="already exists and does not belong to you"):
        bring(target, b"new", "a")
    assert victim.read_bytes() == b"mine"
    assert not (target.folder / "a").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make files of others")
def test_a_part_of_another_user_is_not_gone_on_with(target: Target) -> None:
    at = part_path(target)
    at.write_bytes(b"poison")
    os.chown(at, 65534, 65534)
    with pytest.raises(InputError, match="does not belong to you"):
        bring(target, b"new", "a")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_part_that_may_not_be_opened_is_told(target: Target) -> None:
    part_path(target).touch(mode=0o600)
    target.folder.chmod(0o777)
    folder = os.open(target.folder, os.O_RDONLY)
    os.seteuid(65534)
    try:
        with pytest.raises(InputError, match="does not belong to you"):
            Part(folder, "a", KEY, "a")
    finally:
        os.seteuid(0)
        os.close(folder)


def test_what_has_grown_beyond_the_room_there_is_is_not_begun(target: Target) -> None:
    with target.part(("a",), KEY) as part:
        part.expect(10)
        with pytest.raises(HostlerError, match="the files need 1024 TiB, and the disk of"):
            part.expect(2**50)


def test_a_part_that_others_may_read_becomes_private(target: Target) -> None:
    part_path(target).touch(mode=0o666)
    part_path(target).chmod(0o666)
    with target.part(("a",), KEY) as part:
        assert stat.S_IMODE(part_path(target).stat().st_mode) == 0o600
        part.discard()


def test_two_programs_do_not_write_the_same_file(target: Target) -> None:
    with target.part(("a",), KEY) as part:
        with pytest.raises(ConflictError, match="is being fetched by another program"):
            bring(target, b"x", "a")
        part.write(b"mine")
        part.finish(None, replace=False)
    assert (target.folder / "a").read_bytes() == b"mine"


def test_a_part_that_got_its_name_meanwhile_is_not_written_to(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening it and locking it, the program that held it has finished."""
    part_path(target).write_bytes(b"")
    flock, moved = fcntl.flock, list[bool]()

    def finish_first(file: int, how: int) -> None:
        if not moved:
            moved.append(True)
            part_path(target).rename(target.folder / "a")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    with target.part(("a",), KEY) as part:
        part.write(b"x")
        part.discard()
    assert (target.folder / "a").read_bytes() == b""


def test_a_full_disk_leaves_nothing_and_is_told(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with target.part(("deep", "a"), KEY) as part:
        part.write(b"some")
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(HostlerError, match=r"a cannot be written: No space left.*free some"):
            part.write(b"more")
    target.tidy()
    assert os.listdir(target.folder) == []


def test_no_room_is_told_before_anything_is_written(target: Target, tmp_path: Path) -> None:
    target.require_room(1)
    with pytest.raises(HostlerError, match=r"the files need 1024 TiB, and the disk of"):
        target.require_room(2**50)
    with pytest.raises(HostlerError, match="name a folder on another disk"):
        Target(tmp_path / "not/there").require_room(2**50)
    assert not (tmp_path / "not").exists()


def test_folders_that_stayed_empty_are_removed_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    target = Target(tmp_path / "new")
    with target.part(("a", "b", "m"), KEY) as part:
        part.discard()
    target.tidy()
    assert os.listdir(tmp_path) == ["mine"]
    bring(target, b"x", "a", "b", "m")
    target.tidy()
    assert (tmp_path / "new/a/b/m").exists()


def test_long_names_have_parts_too(target: Target) -> None:
    bring(target, b"x", "é" * 127)
    assert isinstance(target, Target)
    assert len(os.listdir(target.folder)) == 1


def test_a_part_counts_what_a_write_takes(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:3]))
    with target.part(("a",), KEY) as part:
        assert isinstance(part, Part)
        part.write(b"0123456789")
        assert (part.size, part.digest) == (10, digest(b"0123456789"))
        part.discard()
