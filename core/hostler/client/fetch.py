"""Downloads files of a run: how long an absent daemon or host is awaited, resuming, digests, a
changing file, refusing overwrites and links that lead out."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hostler.base.errors import (
    ConflictError,
    HostError,
    HostlerError,
    InputError,
    NoDaemonError,
    NotFoundError,
    Problem,
    Unreachable,
)
from hostler.client.exchange import PAUSE_S, is_away
from hostler.client.fetch_places import Wanted, choose, leads_out
from hostler.client.fetch_writer import Part, Target, There
from hostler.client.streams import RemoteFile

if TYPE_CHECKING:
    from hostler.model.views.files import FileList, FileView

PATIENCE_S = 60.0
"""Seconds that the daemon, or a host, may be away without sending a byte of a file."""
_MOST_TOLD = 20
_MOST_CHANGES = 3
"""How often a file may change, and be fetched again from the start."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result for one file."""

    stage: str
    path: str
    """The path in the working folder of its stage."""
    to: str
    """The path below the target folder."""
    size: int
    sha256: str | None
    """None for a link."""
    state: str
    """"fetched"; "there": it already existed; "link"; "missing": its host does not provide it."""
    why: str = ""
    """Why the file is missing."""


Progress = Callable[[str, int, int], object]
"""Called for each piece with the progress of a file: its target path, its present bytes, its
size."""


class Sink(Protocol):
    """The target of one file's bytes."""

    size: int

    @property
    def digest(self) -> str:
        """SHA-256 of the present bytes."""

    def expect(self, size: int) -> None:
        """The file has grown to this size. Raises HostlerError if there is no space for it."""

    def write(self, data: bytes) -> None:
        """Add bytes."""

    def restart(self) -> None:
        """Start again from the beginning."""


@runtime_checkable
class Asks(Protocol):
    """The calls that a fetch needs of a client."""

    def files(self, run_id: str, *, stage: str | None = None) -> FileList:
        """All files of a run."""

    def read_file(
        self, run_id: str, stage: str, path: str, *, artifact: str | None = None,
        attempt: int | None = None, offset: int = 0, etag: str = "",
    ) -> RemoteFile:  # fmt: skip
        """One file."""

    def note_fetched(
        self, run_id: str, stage: str, attempt_id: str, artifact: str | None
    ) -> object:
        """Report that all files of an artifact are here."""


@dataclass(slots=True)
class Fetcher:
    """Fetches files of one run. `stopped` is called regularly to see whether to stop."""

    client: Asks
    run_id: str
    progress: Progress | None = None
    revive: Callable[[], object] | None = None
    stopped: Callable[[], bool] = lambda: False
    _problems: list[HostlerError] = field(default_factory=list)

    def fetch(
        self, files: Iterable[FileView], names: Sequence[str], target: Target,
        *, force: bool,
    ) -> tuple[Fetched, ...]:  # fmt: skip
        """Everything that is named, into the target. Raises before anything is written where
        a file already exists, or the disk is full. What a host does not give (it is away, a stage
        has ended meanwhile) is missing in the end, and an error where that is all."""
        try:
            return self._fetch(list(files), names, target, force=force)
        except (TimeoutError, ConnectionError):
            raise
        except OSError as error:
            raise target.unusable(error) from error

    def _fetch(
        self, every: Sequence[FileView], names: Sequence[str], target: Target,
        *, force: bool,
    ) -> tuple[Fetched, ...]:  # fmt: skip
        wanted = choose(self.run_id, every, names)
        fit = [file for file in wanted if file.fits]
        there = {file.to: self._there(file, target) for file in fit}
        _refuse_in_the_way(fit, there, target, force=force)
        missing = [file for file in fit if there[file.to] is not There.SAME]
        target.require_room(sum(file.size for file in missing))
        try:
            done = tuple(self._brought(file, there.get(file.to), target) for file in wanted)
        finally:
            target.tidy()
        if self._problems and all(file.state == "missing" for file in done):
            raise self._problems[0]
        self._tell_whole(every, wanted, done)
        return done

    def copy(self, file: Wanted, sink: Sink) -> None:
        """Copy all bytes of a file. Raises HostlerError if they cannot be read, or do not match
        their digest."""
        for _ in range(2):
            told = self._bytes(file, sink)
            if told == sink.digest:
                return
            sink.restart()
        raise HostlerError(
            f"{file.path} of {file.stage} changed during the transfer",
            remedy="a process writes to it: try again, or wait until its stage has ended",
        )

    def _there(self, file: Wanted, target: Target) -> There:
        if file.link is not None and leads_out(file.path, file.link):
            raise InputError(f"{file.path} of {file.stage} is a link that leads out of its folder")
        there = target.there(file.parts, file.size, file.sha256, file.link)
        if there is There.OTHER and target.may_be(file.parts, file.size) and not file.sha256:
            there = target.there(file.parts, file.size, self._digest_of(file), file.link)
        return there

    def _digest_of(self, file: Wanted) -> str | None:
        """The digest of a file that its host has not hashed yet: requested without the file
        itself."""
        if file.is_link:
            return None
        try:
            stream = self._open(file, file.size, file.etag)
            if stream.offset == file.size:
                for _ in stream:
                    return None  # it has become longer
        except (HostlerError, TimeoutError):
            return None  # then it is not known to be the same
        stream.close()
        return stream.sha256 or None

    def _brought(self, file: Wanted, there: There | None, target: Target) -> Fetched:
        if there is None:
            return replace(_done(file, "missing", None), why=_NO_NAME)
        if there is There.SAME:
            return _done(file, "there", file.sha256)
        try:
            return self._one(file, target, over=there is There.OTHER)
        except (NotFoundError, HostError, CutError) as error:
            if file.where == "saved":
                raise
            self._problems.append(error)
            return replace(_done(file, "missing", None), why=error.message)

    def _tell_whole(
        self, every: Iterable[FileView], wanted: Sequence[Wanted], done: Sequence[Fetched]
    ) -> None:
        """Tell the daemon which files are complete here: if it needs space, it may remove those
        first."""
        here = {
            (file.attempt_id, file.path)
            for file, became in zip(wanted, done, strict=True)
            if became.state != "missing"
        }
        for stage, attempt_id, artifact in whole_artifacts(every, here):
            with contextlib.suppress(HostlerError):  # it only stays longer
                self.client.note_fetched(self.run_id, stage, attempt_id, artifact)

    def _one(self, file: Wanted, target: Target, *, over: bool) -> Fetched:
        if file.link is not None:
            target.make_link(file.parts, file.link, replace=over)
            return _done(file, "link", None)
        with target.part(file.parts, _key(self.run_id, file)) as part:
            try:
                self.copy(file, part)
            except BaseException as error:
                if not part.size or isinstance(error, NotFoundError):
                    part.discard()  # nothing can be gone on with
                raise
            digest = part.digest
            part.finish(file.mode, replace=over)
        return _done(file, "fetched", digest)

    def _bytes(self, file: Wanted, sink: Sink) -> str:
        """Fetch the bytes, even through lost connections; returns the expected digest."""
        etag, since, before = file.etag, time.monotonic(), -1
        changes = 0
        if sink.size > file.size or not etag:  # nobody knows of which version that was
            sink.restart()
        while True:
            try:
                stream = self._open(file, sink.size, etag)
                if stream.offset != sink.size:
                    changes += 1
                    stream = _unless_it_changes(file, stream, changes)
                    sink.restart()
                etag = stream.etag
                if stream.size > file.size:
                    _expect(stream, sink)
                return self._read(file, stream, sink)
            except (NoDaemonError, Unreachable, TimeoutError) as error:
                if sink.size > before:
                    since, before = time.monotonic(), sink.size
                if not _may_come_back(error) or time.monotonic() - since > PATIENCE_S:
                    raise _cut(file, sink.size, error) from error
            self._wait()

    def _open(self, file: Wanted, offset: int, etag: str) -> RemoteFile:
        return self.client.read_file(
            self.run_id, file.stage, file.path, artifact=file.artifact, attempt=file.attempt,
            offset=offset, etag=etag,
        )  # fmt: skip

    def _read(self, file: Wanted, stream: RemoteFile, sink: Sink) -> str:
        try:
            for data in stream:
                sink.write(data)
                if self.stopped():
                    raise Stopped(f"{file.path} was not fetched completely")
                if self.progress is not None:
                    self.progress(file.to, sink.size, stream.size)
        finally:
            stream.close()
        return stream.sha256

    def _wait(self) -> None:
        if self.stopped():
            raise Stopped("fetching was stopped")
        if self.revive is not None:
            with contextlib.suppress(NoDaemonError):  # somebody else may start it
                self.revive()
        time.sleep(PAUSE_S)


def whole_artifacts(
    files: Iterable[FileView], here: Collection[tuple[str, str]]
) -> list[tuple[str, str, str | None]]:
    """Stage, attempt and name of the artifacts (None: what lies on the host) of which every file,
    by attempt and path, is here."""
    whole: dict[tuple[str, str, str | None], bool] = {}
    for file in files:
        if file.where in ("saved", "host"):
            key = (file.stage, file.attempt_id, file.artifact)
            whole[key] = whole.get(key, True) and (file.attempt_id, file.path) in here
    return [key for key, is_whole in whole.items() if is_whole]


class CutError(NoDaemonError):
    """A file did not arrive completely: the daemon or its host is away."""


class Stopped(HostlerError):
    """The caller stopped the fetch."""


def _refuse_in_the_way(
    wanted: Sequence[Wanted], there: Mapping[str, There], target: Target, *, force: bool
) -> None:
    bad = {There.IN_THE_WAY} if force else {There.IN_THE_WAY, There.OTHER}
    found = [file for file in wanted if there[file.to] in bad]
    if not found:
        return
    problems = [
        Problem("", f"{target.folder / file.to}: {_WHY[there[file.to]]}")
        for file in found[:_MOST_TOLD]
    ]
    if len(found) > _MOST_TOLD:
        problems.append(Problem("", f"and {len(found) - _MOST_TOLD} more"))
    raise ConflictError(
        "nothing was fetched: different files exist there",
        remedy="-o DIR takes another folder"
        + ("" if force else ", --force replaces files that differ"),
        problems=problems,
    )


_NO_NAME = "its name is too long for a file: copy it by hand, `hostler get --list` says from where"
_WHY = {
    There.OTHER: "a file with other content",
    There.IN_THE_WAY: "a folder, or something else that is no file",
}


def _expect(stream: RemoteFile, sink: Sink) -> None:
    try:
        sink.expect(stream.size)
    except BaseException:
        stream.close()
        raise


def _unless_it_changes(file: Wanted, stream: RemoteFile, changes: int) -> RemoteFile:
    if changes <= _MOST_CHANGES:
        return stream
    stream.close()
    raise HostlerError(
        f"{file.path} of {file.stage} keeps changing while it is read",
        remedy="a process writes to it: try again, or wait until its stage has ended",
    )


def _may_come_back(error: Exception) -> bool:
    return not isinstance(error, NoDaemonError) or is_away(error)


def _cut(file: Wanted, size: int, error: Exception) -> CutError:
    reason = error.message if isinstance(error, HostlerError) else "there is no answer"
    here = f": {size:,} of {file.size:,} bytes of {file.path} are here" if size else ""
    remedy = "run the same command to continue" if size else getattr(error, "remedy", "")
    return CutError(f"{reason}{here}", remedy=remedy)


def _key(run_id: str, file: Wanted) -> str:
    """The name of a version of a file: a partial download of another version is not resumed. It is
    part of a file's name, hence a digest of the daemon's text and never that text."""
    fields = file.sha256 or "\0".join((run_id, file.attempt_id, file.path, file.etag))
    return hashlib.sha256(fields.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _done(file: Wanted, state: str, sha256: str | None) -> Fetched:
    return Fetched(file.stage, file.path, file.to, file.size, sha256, state)


__all__ = ["Fetched", "Fetcher", "Part", "Progress", "Sink", "Stopped"]
