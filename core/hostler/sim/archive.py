"""Folders of simulated workloads, held in memory as path -> bytes, as tar and back."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Mapping

from hostler_agent.tarcheck import RangeReader, check_kind, clean_path, members


def pack(files: Mapping[str, bytes], path: str, *, prefixed: bool) -> bytes | None:
    """A tar of the file or folder `path`; None: not there. The same bytes each time.

    Names begin with its last part if `prefixed` (as Docker has them), else they are relative to
    the folder (as the agent has them).
    """
    inside = {name: data for name, data in files.items() if _below(name, path)}
    if not inside and path:
        return None
    root = posixpath.basename(path) or "work"
    base = root if prefixed or path in inside else "."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        if path not in inside and prefixed:
            folder = tarfile.TarInfo(root)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name in sorted(inside):
            relative = name[len(path) :].lstrip("/")
            entry = tarfile.TarInfo(posixpath.normpath(posixpath.join(base, relative)))
            entry.size, entry.mode = len(inside[name]), 0o644
            tar.addfile(entry, io.BytesIO(inside[name]))
    return out.getvalue()


def pack_chosen(files: Mapping[str, bytes]) -> bytes:
    """A tar of these files under their own names."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return out.getvalue()


def unpack(data: bytes, target: str) -> dict[str, bytes]:
    """The files of a tar, by their path below the working folder when unpacked at `target`."""
    found, raw = {}, io.BytesIO(data)
    for member in members(raw):
        path = clean_path(member.name)
        check_kind(path, member)
        if member.isreg():
            content = RangeReader(raw, member.offset_data, member.size)
            found[posixpath.normpath(posixpath.join(target, path))] = content.read()
    return found


def _below(name: str, path: str) -> bool:
    return not path or name == path or name.startswith(path + "/")
