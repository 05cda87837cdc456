"""Which files of an ended stage are copied to the daemon (small ones first, up to a size), and the
words for those that stay on its host. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hostler.base.units import format_size
from hostler.model.files import FileEntry
from hostler_agent.archive_limits import fits_archive

FILES = "files"
"""Name of the artifact that holds the kept files of an attempt, and its kind."""
HERE = "here"
"""Kind of an artifact that only lists files: they stay in the folder of the run itself."""

_HEADER = 1024
"""Bytes that a file adds to a tar besides its content."""
_TAIL = 10_240
"""Bytes that a tar is padded to."""
_MOST_NAMES = 20
NOT_READ = "some file names cannot be shown exactly, so their files cannot be read"
"""Bytes that are not UTF-8 are shown as U+FFFD. Two names that are then equal name no file."""
UNFIT = "some files have too long names, or are in too many nested folders, to be copied"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files are copied, and which stay on the host."""

    copied: tuple[FileEntry, ...] = ()
    left: tuple[FileEntry, ...] = ()

    @property
    def size(self) -> int:
        """Approximate bytes that the copied files take in a tar."""
        return sum(entry.size + _HEADER for entry in self.copied) + _TAIL


@dataclass(frozen=True, slots=True)
class Staying:
    """Files that stay on a host, and why."""

    files: int
    size: int
    names: tuple[str, ...]
    why: str


def choose_files(files: Sequence[FileEntry], room: int) -> Choice:
    """Choose small files first, whole files only, until `room` bytes are full. A file whose path is
    not allowed in an archive stays: it must not prevent the copy of the others."""
    copied: list[FileEntry] = []
    room -= _TAIL
    unfit = [entry for entry in files if not fits_archive(entry.path)]
    fit = [entry for entry in files if fits_archive(entry.path)] if unfit else files
    ordered = sorted(fit, key=lambda entry: (entry.size, entry.path))
    for entry in ordered:
        room -= entry.size + _HEADER
        if room < 0:
            break
        copied.append(entry)
    left = ordered[len(copied) :] + unfit
    return Choice(_by_path(copied), _by_path(left))


def without(files: Sequence[FileEntry], there: Mapping[str, int]) -> tuple[FileEntry, ...]:
    """The files that are not copied yet, by path and size."""
    return tuple(entry for entry in files if there.get(entry.path) != entry.size)


def not_come(copied: Sequence[FileEntry], came: Collection[str]) -> tuple[FileEntry, ...]:
    """Requested files that did not arrive: they must not count as copied. Links are not among them,
    because links that lead out of the folder are skipped on purpose."""
    return tuple(e for e in copied if e.kind == "file" and e.path not in came)


def unfit_or(left: Sequence[FileEntry], why: str) -> str:
    """Why these files were not copied: `why`, or `UNFIT` if no path of them fits into an
    archive."""
    return why if any(fits_archive(entry.path) for entry in left) else UNFIT


def staying(left: Sequence[FileEntry], why: str) -> Staying:
    """The total of these files; the largest ones are named first."""
    ranked = sorted(left, key=lambda entry: (-entry.size, entry.path))
    names = tuple(entry.path for entry in ranked[:_MOST_NAMES])
    return Staying(len(left), sum(entry.size for entry in left), names, why)


def over_budget(limit: int) -> str:
    """Why files that did not fit into the limit were not copied."""
    return f"[limits] kept_files copies {format_size(limit)} of a run"


def _by_path(files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted(files, key=lambda entry: entry.path))
