"""Files of a run that people can fetch: saved by the daemon, or still on a host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
    """Name of the output it belongs to; "files" of what was kept beside outputs; None on a host."""
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
    """What the next page begins after; None: there is none."""


def host_etag(size: int, mtime: float) -> str:
    """Names a version of a file on a host: another one later means that it has changed."""
    return f'"{size}-{mtime!r}"'


def under(folder: str, path: str) -> str:
    """The path of what lies at `path` below `folder`; each may be ""."""
    return f"{folder}/{path}" if folder and path else folder or path
