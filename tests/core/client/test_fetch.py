"""Files that are fetched through cuts, changes and other trouble."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import (
    ConflictError,
    HostlerError,
    InputError,
    NoDaemonError,
    NotFoundError,
    Unreachable,
)
from hostler.base.wire import WireError
from hostler.client import fetch
from hostler.client.fetch import Fetched, Fetcher, Stopped
from hostler.client.fetch_writer import Target
from hostler.model.views.files import FileList, FileView
from tests.core.client.test_fetch_places import file

DATA = os.urandom(100_000)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def gone() -> NoDaemonError:
    error = NoDaemonError("the daemon went away")
    error.__cause__ = WireError("cut")
    return error


class Stream:
    """As `RemoteFile`."""

    def __init__(
        self, data: bytes, offset: int, etag: str, told: str, cut: int | None, error: Exception
    ) -> None:
        self.size, self.offset, self.etag, self.sha256 = len(data), offset, etag, ""
        self._data, self._told, self._cut, self._error = data, told, cut, error
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        end = self.size if self._cut is None else self.offset + self._cut
        for at in range(self.offset, min(end, self.size), 1000):
            yield self._data[at : min(at + 1000, end)]
        if self._cut is not None:
            raise self._error
        self.sha256 = self._told

    def close(self) -> None:
        self.closed = True


class Daemon:
    """Answers `Fetcher`: `turns` says of each request after how many bytes it is cut, or what is
    raised, or what happens before it."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.turns: list[int | Exception | Callable[[], None] | None] = []
        self.offsets: list[int] = []
        self.noted: list[tuple[str, str, str | None]] = []
        self.told: dict[str, str] = {}
        self.streams: list[Stream] = []
        self.any_version = False

    def files(self, run_id: str, *, stage: str | None = None) -> FileList:
        raise AssertionError("the files are known")

    def read_file(
        self, run_id: str, stage: str, path: str, *, artifact: str | None = None,
        attempt: int | None = None, offset: int = 0, etag: str = "",
    ) -> Any:  # fmt: skip
        turn = self.turns.pop(0) if self.turns else None
        if isinstance(turn, Exception):
            raise turn
        if callable(turn):
            turn()
            turn = None
        data = self.contents[path]
        now = f'"{digest(data)}"'
        self.offsets.append(offset)
        begin = offset if etag == now or (self.any_version and not etag) else 0
        told = self.told.get(path, digest(data))
        stream = Stream(data, begin, now, told, turn, gone())
        self.streams.append(stream)
        return stream

    def note_fetched(
        self, run_id: str, stage: str, attempt_id: str, artifact: str | None
    ) -> dict[str, Any]:
        self.noted.append((stage, attempt_id, artifact))
        return {}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PAUSE_S", 0.0)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "to"


def listed(daemon: Daemon, **changes: Any) -> list[FileView]:
    return [
        file(path, **{"size": len(data), "sha256": digest(data), **changes})
        for path, data in daemon.contents.items()
    ]


def get(daemon: Daemon, to: Path, *names: str, force: bool = False, **changes: Any) -> Any:
    fetcher = Fetcher(daemon, "r7")
    return fetcher.fetch(listed(daemon, **changes), names, Target(to), force=force)


def test_a_file_is_fetched_verified_and_noted(to: Path) -> None:
    daemon = Daemon(m=DATA, n=b"")
    done = get(daemon, to)
    assert done[0] == Fetched("train", "m", "m", len(DATA), digest(DATA), "fetched")
    assert (to / "m").read_bytes() == DATA
    assert (to / "n").read_bytes() == b""
    assert sorted(os.listdir(to)) == ["m", "n"]
    assert daemon.noted == [("train", "r7-train-1", "files")]
    assert all(stream.closed for stream in daemon.streams)
    again = get(daemon, to)
    assert [one.state for one in again] == ["there", "there"]
    assert daemon.offsets == [0, 0]


def test_a_part_of_an_artifact_is_not_noted_as_all_of_it(to: Path) -> None:
    daemon = Daemon(m=DATA, n=b"x")
    get(daemon, to, "n")
    assert daemon.noted == []


def test_cuts_are_gone_on_after(to: Path) -> None:
    daemon = Daemon(m=DATA)
    revived: list[int] = []
    daemon.turns = [30_000, 5_000, NoDaemonError("gone").with_traceback(None), None]
    daemon.turns[2] = gone()
    fetcher = Fetcher(daemon, "r7", revive=lambda: revived.append(1))
    fetcher.fetch(listed(daemon), (), Target(to), force=False)
    assert (to / "m").read_bytes() == DATA
    assert daemon.offsets == [0, 30_000, 35_000]
    assert len(revived) == 3


def test_a_host_that_is_away_is_waited_for(to: Path) -> None:
    daemon = Daemon(m=DATA)
    daemon.turns = [10_000, Unreachable("gpu1", "no answer"), TimeoutError(), None]
    get(daemon, to)
    assert (to / "m").read_bytes() == DATA


def test_what_stays_away_is_told_with_how_far_it_came_and_the_next_time_goes_on(
    to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PATIENCE_S", 0.0)
    daemon = Daemon(m=DATA)
    daemon.turns = [30_000, *[Unreachable("gpu1", "no answer") for _ in range(100)]]
    with pytest.raises(HostlerError) as raised:
        get(daemon, to)
    assert "went away: 30,000 of 100,000 bytes of m are here" in str(raised.value)
    assert "run the same command to continue" in str(raised.value)
    assert not (to / "m").exists()
    daemon.turns, daemon.offsets = [], []
    get(daemon, to)
    assert daemon.offsets == [30_000]
    assert (to / "m").read_bytes() == DATA


def test_no_daemon_at_all_is_told_at_once(to: Path) -> None:
    daemon = Daemon(m=DATA)
    daemon.turns = [NoDaemonError("no access to the daemon", remedy="Ask for membership")]
    with pytest.raises(NoDaemonError, match=r"no access to the daemon\. Ask for membership"):
        get(daemon, to)
    assert (
        not to.exists() or os.listdir(to) == [] or all(n.startswith(".m") for n in os.listdir(to))
    )


def test_a_file_that_changes_begins_anew(to: Path) -> None:
    daemon = Daemon(m=DATA)
    new = os.urandom(50_000)
    files = listed(daemon, where="running", sha256=None, mtime=5.0, artifact=None)
    daemon.turns = [30_000, lambda: daemon.contents.update(m=new)]
    (done,) = Fetcher(daemon, "r7").fetch(files, (), Target(to), force=False)
    assert (to / "m").read_bytes() == new
    assert done.sha256 == digest(new)


def test_a_file_that_changes_again_and_again_is_given_up(to: Path) -> None:
    daemon = Daemon(m=DATA)
    files = listed(daemon, where="running", sha256=None, mtime=5.0, artifact=None)
    changed: list[int] = []

    class Changing(Daemon):
        def read_file(self, *words: Any, **options: Any) -> Any:
            changed.append(1)
            self.contents["m"] = bytes([len(changed)]) * 9999
            self.turns = [3000]
            return super().read_file(*words, **options)

    with pytest.raises(HostlerError, match="keeps changing while it is read"):
        Fetcher(Changing(m=DATA), "r7").fetch(files, (), Target(to), force=False)
    assert len(changed) < 10
    assert not (to / "m").exists()


def test_a_digest_that_does_not_fit_is_tried_once_more_and_then_told(to: Path) -> None:
    daemon = Daemon(m=DATA)
    daemon.told["m"] = "0" * 64
    with pytest.raises(HostlerError, match="m of train changed during the transfer"):
        get(daemon, to)
    assert daemon.offsets == [0, 0]
    assert not (to / "m").exists()


def test_nothing_is_fetched_where_something_else_is_there(to: Path) -> None:
    daemon = Daemon(a=DATA, b=b"b", c=b"c")
    (to / "c").mkdir(parents=True)
    (to / "b").write_bytes(b"mine")
    with pytest.raises(ConflictError) as raised:
        get(daemon, to)
    assert [p.message for p in raised.value.problems] == [
        f"{to}/b: a file with other content",
        f"{to}/c: a folder, or something else that is no file",
    ]
    assert daemon.offsets == []
    assert not (to / "a").exists()
    with pytest.raises(ConflictError) as raised:
        get(daemon, to, force=True)
    assert [p.message.split(": ")[0] for p in raised.value.problems] == [f"{to}/c"]
    assert (to / "b").read_bytes() == b"mine"
    (to / "c").rmdir()
    get(daemon, to, force=True)
    assert (to / "b").read_bytes() == b"b"


def test_an_equal_file_is_known_without_fetching_it_where_only_its_host_can_hash_it(
    to: Path,
) -> None:
    daemon = Daemon(a=DATA, b=b"b")
    to.mkdir()
    (to / "a").write_bytes(DATA)
    (to / "b").write_bytes(b"B")
    files = listed(daemon, where="here", sha256=None)
    daemon.any_version = True
    with pytest.raises(ConflictError) as raised:
        Fetcher(daemon, "r7").fetch(files, (), Target(to), force=False)
    assert [p.message for p in raised.value.problems] == [f"{to}/b: a file with other content"]
    done = Fetcher(daemon, "r7").fetch(files, ["a"], Target(to), force=False)
    assert [one.state for one in done] == ["there"]
    assert daemon.offsets == [len(DATA), 1, len(DATA)]


def test_links_come_after_files_and_never_lead_out(to: Path, tmp_path: Path) -> None:
    daemon = Daemon(m=DATA)
    links = [file("best", link="m", sha256=None, size=0)]
    done = Fetcher(daemon, "r7").fetch([*links, *listed(daemon)], (), Target(to), force=False)
    assert [one.state for one in done] == ["fetched", "link"]
    assert os.readlink(to / "best") == "m"
    bad = [file("runs", link=str(tmp_path), sha256=None), file("runs/x", size=1)]
    with pytest.raises(InputError, match="runs of train is a link that leads out of its folder"):
        Fetcher(Daemon(), "r7").fetch(bad, (), Target(to), force=False)
    inside = [
        file("runs", link="m", sha256=None, size=0),
        file("runs/x", size=1, sha256=digest(b"x")),
    ]
    daemon = Daemon(**{"runs/x": b"x"})
    with pytest.raises((HostlerError, OSError)):
        Fetcher(daemon, "r7").fetch(inside, (), Target(to), force=False)
    assert (to / "m").read_bytes() == DATA


def test_what_a_stage_that_ended_did_not_keep_is_told_and_the_rest_comes(to: Path) -> None:
    daemon = Daemon(a=DATA, b=b"b")
    daemon.turns = [NotFoundError("train of run r7 has no file a")]
    done = get(daemon, to, where="running", sha256=None, mtime=1.0, artifact=None)
    assert [(one.to, one.state) for one in done] == [("a", "missing"), ("b", "fetched")]
    assert done[0].why == "train of run r7 has no file a"
    assert os.listdir(to) == ["b"]
    assert daemon.noted == []


def test_a_file_whose_name_is_too_long_here_is_told_and_the_rest_comes(to: Path) -> None:
    odd = "\ufffd" * 100
    daemon = Daemon(**{"a.csv": b"data", odd: b"odd"})
    done = {file.path: file for file in get(daemon, to)}
    assert (done["a.csv"].state, done[odd].state) == ("fetched", "missing")
    assert "too long" in done[odd].why
    assert os.listdir(to) == ["a.csv"]


def test_a_file_that_grows_beyond_the_disk_is_not_begun(to: Path) -> None:
    """A stage makes it large with a hole, when it was listed small."""
    daemon = Daemon(m=DATA)
    one = file("m", size=5, where="running", sha256=None, mtime=1.0)
    real, sizes = daemon.read_file, []

    def read_file(*args: Any, **more: Any) -> Any:
        stream = real(*args, **more)
        stream.size = 2**50
        sizes.append(stream)
        return stream

    daemon.read_file = read_file  # type: ignore[method-assign]
    with pytest.raises(HostlerError, match="the files need 1024 TiB"):
        Fetcher(daemon, "r7").fetch([one], (), Target(to), force=False)
    assert [stream.closed for stream in sizes] == [True]
    assert not to.exists()


@pytest.mark.parametrize("name", ["loop", "n" * 300])
def test_a_target_that_cannot_be_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(HostlerError, match=r"cannot be written to: .*\. name another folder"):
        get(Daemon(m=DATA), tmp_path / name)


def test_where_a_host_gives_nothing_at_all_that_is_an_error(
    to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PATIENCE_S", 0.0)
    daemon = Daemon(a=DATA)
    daemon.turns = [Unreachable("gpu1", "no answer", remedy="is it up?") for _ in range(9)]
    with pytest.raises(NoDaemonError, match=r"no answer\. is it up\?"):
        get(daemon, to, where="host", sha256=None, mtime=1.0, artifact=None)
    assert not to.exists()


def test_what_is_left_of_a_file_without_a_version_is_not_gone_on_with(to: Path) -> None:
    daemon = Daemon(a=DATA)
    daemon.turns = [50_000, NotFoundError("gone")]
    with pytest.raises(NotFoundError):
        get(daemon, to, where="here", sha256=None)
    get(daemon, to, where="here", sha256=None)
    assert daemon.offsets == [0, 0]
    assert (to / "a").read_bytes() == DATA


def test_a_saved_file_that_is_gone_is_an_error(to: Path) -> None:
    daemon = Daemon(a=DATA)
    daemon.turns = [NotFoundError("train of run r7 has no file a")]
    with pytest.raises(NotFoundError):
        get(daemon, to)


def test_it_stops_when_it_is_to(to: Path) -> None:
    daemon = Daemon(m=DATA)
    seen: list[tuple[str, int, int]] = []
    fetcher = Fetcher(daemon, "r7", lambda *said: seen.append(said), None, lambda: len(seen) > 2)
    with pytest.raises(Stopped):
        fetcher.fetch(listed(daemon), (), Target(to), force=False)
    assert seen[0] == ("m", 1000, len(DATA))
    assert not (to / "m").exists()
    assert daemon.streams[0].closed


def test_a_daemon_without_room_for_notes_hinders_nobody(to: Path) -> None:
    daemon = Daemon(m=DATA)

    def refuse(*_words: Any) -> dict[str, Any]:
        raise HostlerError("no")

    daemon.note_fetched = refuse  # type: ignore[method-assign, assignment]
    get(daemon, to)
    assert (to / "m").read_bytes() == DATA


def test_a_digest_from_a_hostile_daemon_names_no_file(to: Path, tmp_path: Path) -> None:
    """Part of a file's name is made of what the daemon says of it."""
    (tmp_path / ".env").write_text("mine")
    (to / ".foo.part-").mkdir(parents=True)
    daemon = Daemon(foo=b"evil")
    daemon.turns = [2, RuntimeError("over")]
    with pytest.raises(RuntimeError):
        get(daemon, to, sha256="/../../.env")
    assert (tmp_path / ".env").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == [".env", "to"]
