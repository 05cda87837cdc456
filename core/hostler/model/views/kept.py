"""Kept files of runs, and freed space, as the API gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.views.runs import StayingView


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEntry:
    """A top-level file or folder of kept files. A folder's name ends in /."""

    name: str
    size: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptArtifact:
    """A declared output, or files that were kept beside outputs."""

    stage: str
    attempt_id: str
    kind: str = "output"
    """"output"; "files"; "here": in the folder in which the run worked."""
    name: str = ""
    size: int = 0
    files: int = 0
    entries: tuple[KeptEntry, ...] | None = None
    """Its top-level entries; None for an output, and if there are too many."""
    partial: bool = False
    fetched_at: float | None = None
    present: bool = True
    """Whether its content is still stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainderView(StayingView):
    """The same, with what their owner may know."""

    names: tuple[str, ...] = ()
    """Of the first of them."""
    why: str = ""
    until: float = 0.0
    fetched_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptView:
    """The `hostler.kept/1` object: what is kept of a run, and by whom."""

    run_id: str
    by: str | None = None
    at: float | None = None
    until: float | None = None
    artifacts: tuple[KeptArtifact, ...] = ()
    remainders: tuple[RemainderView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedLogs:
    """Their bytes and their runs."""

    runs: tuple[str, ...] = ()
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedBlobs:
    """Snapshots and outputs."""

    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedFiles:
    """Of transfers that were cut off."""

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
    """Unfetched outputs among those to be removed."""

    artifacts: int = 0
    bytes: int = 0
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRuns:
    """How many runs a person keeps."""

    runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StayingFiles:
    """Files on hosts: removed automatically, after their alert was open for a day."""

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
    """Names of delivered images that the daemon keeps no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsweptHost:
    """Why nothing was freed on a host."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedImage:
    """An image that stays, beyond the budget too."""

    name: str
    bytes: int = 0
    releases: str = ""
    """Of services, which run with it or can go back to it: "web 1, web 2"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedImages:
    """Images that are kept for hosts which cannot pull them, beyond the budget."""

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
