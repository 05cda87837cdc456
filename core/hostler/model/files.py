"""Files of a workload's folder, as a host tells of them, and what of them is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_ENTRIES = 100_000
MOST_NAMES = 32 * 1024 * 1024
"""Bytes of all the names in one list."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file, folder or link."""

    path: str
    """Relative to the folder that was asked for. Bytes that are not UTF-8 are shown as U+FFFD; a
    path that has some is found again by it."""
    kind: str
    """ "file", "folder" or "link"."""
    size: int
    mtime: float
    sha256: str | None = None
    """Where it is known without reading the file for it."""


@dataclass(frozen=True, slots=True)
class FileList:
    """What a folder holds, sorted by path."""

    entries: tuple[FileEntry, ...]
    truncated: bool = False
    """There is more than a list may hold."""


@dataclass(frozen=True, slots=True)
class ChangedFiles:
    """New and changed files of a working folder, sorted by path."""

    files: tuple[FileEntry, ...]
    """Files and links."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why -> bytes, as far as they were counted."""
    truncated: bool = False
    """Not everything was looked at, or there is more than a list may hold."""


@dataclass(frozen=True, slots=True)
class Select:
    """Which files of a working folder are wanted."""

    globs: tuple[str, ...] | None = None
    """Files and folders that are named: all of them count, unchanged ones too. None: what is new
    or changed."""
    skip: tuple[str, ...] = ()
    """Paths that count for nothing, with all below them: declared outputs, the checkpoint."""
    since: float | None = None
    """Of a folder where nothing was placed (`code = "here"`): what was written since then, by the
    host's clock."""


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """What was marked to stay on a host when its attempt was over."""

    attempt_id: str
    runtime: str
    ref: str
    until: float
    files: int
    bytes: int
    path: str
    """Where it lies, for people."""
    exists: bool = True
    """False: somebody has removed it (`docker container prune`)."""


class Kept(NamedTuple):
    """What `Runtime.keep` has marked."""

    files: int
    bytes: int
    path: str
