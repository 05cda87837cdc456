"""Searches copied files for values of secrets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hostler.base.masking import plain_forms
from hostler.store.archive_scan import scan
from hostler.store.archives import ArchiveCaps
from hostler.store.faults import disk_faults
from hostler_agent.tarcheck import RangeReader

_CHUNK = 256 * 1024


def files_with(archive: Path, values: Sequence[str]) -> list[str]:
    """Paths in a stored archive of files whose name or content contains one of the values
    unchanged. Blocks; reads the whole archive. Raises InputError, StateError."""
    wanted = plain_forms(values)
    if not wanted:
        return []
    with disk_faults(archive), archive.open("rb") as raw:
        members = scan(raw, ArchiveCaps(), "", contents=False)
        return [
            member.entry.path
            for member in members
            if _holds(member.entry.path.encode("utf-8", "surrogateescape"), wanted)
            or _reads(RangeReader(raw, member.offset, member.entry.size), wanted)
        ]


def _reads(content: RangeReader, wanted: Sequence[bytes]) -> bool:
    overlap = max(map(len, wanted)) - 1
    before = b""
    while data := content.read(_CHUNK):
        if _holds(before + data, wanted):
            return True
        before = (before + data)[-overlap:]
    return False


def _holds(data: bytes, wanted: Sequence[bytes]) -> bool:
    return any(each in data for each in wanted)
