"""Files of a run: as a host lists them (100,000 at most), as people can download them, and as
outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

MOST_ENTRIES = 100_000
MOST_NAMES = 32 * 1024 * 1024
"""Bytes of all the names in one list."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file, folder or link."""

    path: str
    """Relative to the requested folder. Bytes that are not UTF-8 are shown as U+FFFD; a path that
    has some is found again by it."""
    kind: str
    """ "file", "folder" or "link"."""
    size: int
    mtime: float
    sha256: str | None = None
    """If known without reading the file."""


@dataclass(frozen=True, slots=True)
class FileList:
    """The content of a folder, sorted by path."""

    entries: tuple[FileEntry, ...]
    truncated: bool = False
    """The folder has more files than a list may hold."""


@dataclass(frozen=True, slots=True)
class ChangedFiles:
    """New and changed files of a working folder, sorted by path."""

    files: tuple[FileEntry, ...]
    """Files and links."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> bytes, as far as counted."""
    truncated: bool = False
    """Not all files were checked, or there are more than a list may hold."""


@dataclass(frozen=True, slots=True)
class Select:
    """Which files of a working folder are wanted."""

    globs: tuple[str, ...] | None = None
    """Files and folders that are named: all of them count, unchanged ones too. None: what is new
    or changed."""
    skip: tuple[str, ...] = ()
    """Paths that are ignored, with all below them: declared outputs, the checkpoint."""
    since: float | None = None
    """For a folder where the daemon placed nothing (`code = "here"`): files written since then, by
    the host's clock."""


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """A folder that was marked to stay on a host when its attempt was over."""

    attempt_id: str
    runtime: str
    ref: str
    until: float
    files: int
    bytes: int
    path: str
    """Where it lies, for people."""
    exists: bool = True
    """False: it was removed by hand (`docker container prune`)."""


class Kept(NamedTuple):
    """What `Runtime.keep` has marked."""

    files: int
    bytes: int
    path: str


class Where(StrEnum):
    """Where a file lies."""

    SAVED = "saved"
    """In the daemon's content store."""
    HERE = "here"
    """In the folder that the run worked in (`code = "here"`)."""
    HOST = "host"
    """On its host, in the folder of a stage that has ended."""
    RUNNING = "running"
    """On its host, in the folder of a stage that still runs."""


@dataclass(frozen=True, slots=True)
class RunFile:
    """One file, or a symbolic link."""

    stage: str
    attempt_id: str
    attempt: int
    where: Where
    artifact: str | None
    """Name of the output it belongs to; "files" for files kept beside outputs; None on a host."""
    kind: str
    """Of that artifact: "output", "files" or "here"; "left" on a host, "running" while it runs."""
    partial: bool
    """Of an attempt that did not succeed."""
    path: str
    """Relative to the working folder of its stage."""
    size: int
    sha256: str | None
    """None: not known before it is read."""
    mode: int | None = None
    link: str | None = None
    """Target of a symbolic link."""
    mtime: float | None = None
    host: str | None = None
    folder: str | None = None
    """Where it lies on that host, for people."""
    until: float | None = None
    """It stays there at least until then."""


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some of a run's files."""

    files: tuple[RunFile, ...]
    truncated: bool
    """A host has more files than it lists."""
    next: int | None
    """The next page begins after this; None: there is none."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """Files of an attempt in the content store: a declared output, or other kept files."""

    run_id: str
    stage: str
    attempt_id: str
    name: str
    """The name of the output; "files" for files kept beside the outputs."""
    digest: str
    """SHA-256 of the tar file, under which the content store holds it; of kind "here", of the
    index."""
    size: int
    """Bytes of the tar file; of kind "here", of the files where they lie."""
    collected_at: float
    files: int = 0
    tree_digest: str | None = None
    """Digest of the content alone: equal if the same files came from another host or day."""
    kind: str = "output"
    """"output"; "files": kept without being declared; "here": nothing was copied, the files lie in
    the folder that the run worked in."""
    partial: bool = False
    """From an attempt that did not succeed: no other stage gets it."""
    index: str | None = None
    """Digest of the blob that names its files (see hostler.store.saved)."""

    @property
    def is_output(self) -> bool:
        """A declared output."""
        return self.kind == "output"


def host_etag(size: int, mtime: float) -> str:
    """Identifies a version of a file on a host: a different one later means that the file has
    changed."""
    return f'"{size}-{mtime!r}"'


def under(folder: str, path: str) -> str:
    """The path of `path` below `folder`; each may be ""."""
    return f"{folder}/{path}" if folder and path else folder or path
