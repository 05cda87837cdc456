"""Kept files of runs, and freed space, in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.views.runs import StayingView


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEntry:
    """A top-level file or folder of kept files. The name of a folder ends in /."""

    name: str
    size: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptArtifact:
    """A declared output, or kept files that were not declared."""

    stage: str
    attempt_id: str
    kind: str = "output"
    """"output"; "files"; "here": in the folder where the run worked."""
    name: str = ""
    size: int = 0
    files: int = 0
    entries: tuple[KeptEntry, ...] | None = None
    """Its top-level entries; None: it is an output, or there are too many."""
    partial: bool = False
    fetched_at: float | None = None
    present: bool = True
    """Whether its content is still stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainderView(StayingView):
    """The same, with details for the files' owner."""

    names: tuple[str, ...] = ()
    """Names of the first files."""
    why: str = ""
    until: float = 0.0
    fetched_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptView:
    """The `hostler.kept/1` object: kept files of a run, and who keeps them."""

    run_id: str
    by: str | None = None
    at: float | None = None
    until: float | None = None
    artifacts: tuple[KeptArtifact, ...] = ()
    remainders: tuple[RemainderView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedLogs:
    """Bytes of removed logs, and their runs."""

    runs: tuple[str, ...] = ()
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedBlobs:
    """Removed snapshots and outputs."""

    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedFiles:
    """Removed files of interrupted transfers."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class YoungBlobs:
    """Unneeded files that are too new to be removed, and until when."""

    blobs: int = 0
    bytes: int = 0
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfetchedView:
    """Outputs that will be removed and were not downloaded."""

    artifacts: int = 0
    bytes: int = 0
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRuns:
    """Number of runs that a user keeps."""

    runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StayingFiles:
    """Files on hosts that are removed automatically, once their alert has been open for a day."""

    attempts: int = 0
    runs: int = 0
    bytes: int = 0
    hosts: tuple[str, ...] = ()
    goes_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweptHost:
    """What was freed on a host: bytes of caches, and checkpoints."""

    freed: int
    checkpoints: int = 0
    images: int = 0
    """Number of names of delivered images that the daemon no longer keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsweptHost:
    """A host on which nothing was freed, and why."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedImage:
    """An image that stays even over the limit."""

    name: str
    bytes: int = 0
    releases: str = ""
    """Releases of services that use it or can be rolled back to it: "web 1, web 2"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedImages:
    """Images for hosts that cannot pull them: those removed because all were over the limit."""

    images: int = 0
    bytes: int = 0
    pinned: tuple[PinnedImage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GcView:
    """What `hostler gc` freed or would free."""

    dry_run: bool = False
    freed: int = 0
    runs: tuple[str, ...] = ()
    logs: FreedLogs = field(default_factory=FreedLogs)
    content: FreedBlobs = field(default_factory=FreedBlobs)
    partial: FreedFiles = field(default_factory=FreedFiles)
    images: FreedImages = field(default_factory=FreedImages)
    young: YoungBlobs = field(default_factory=YoungBlobs)
    unfetched: UnfetchedView = field(default_factory=UnfetchedView)
    kept: KeptRuns = field(default_factory=KeptRuns)
    staying: StayingFiles = field(default_factory=StayingFiles)
    hosts: Mapping[str, SweptHost | UnsweptHost] = field(default_factory=dict)
