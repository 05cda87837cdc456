"""Files of simulated workloads, held in memory as path -> bytes: all files, new files, as tar and
back; which folders are omitted. Pure."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from hostler.base.errors import InputError, NotFoundError
from hostler.model.files import ChangedFiles, FileEntry, FileList, Select
from hostler_agent.tarcheck import RangeReader, check_kind, clean_path, members

Files = Mapping[str, bytes]
_LEFT_OUT = (".hostler", "inputs")


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


def changed(now: Files, placed: Files, select: Select, mtime: float) -> ChangedFiles:
    """The files that are new, changed or named."""
    found = []
    for path, data in sorted(now.items()):
        if any(_is_below(path, each.rstrip("/")) for each in (*_LEFT_OUT, *select.skip)):
            continue
        if select.globs is None and placed.get(path) == data:
            continue
        if select.globs is not None and not any(_named(path, glob) for glob in select.globs):
            continue
        found.append(FileEntry(path, "file", len(data), mtime))
    return ChangedFiles(tuple(found))


def listed(now: Files, path: str, mtime: float, *, recursive: bool) -> FileList:
    """What lies at a path. Raises NotFoundError."""
    if path in now:
        entry = FileEntry(posixpath.basename(path), "file", len(now[path]), mtime)
        return FileList((entry,))
    inside = {name[len(path) :].lstrip("/"): d for name, d in now.items() if _is_below(name, path)}
    if path and not inside:
        raise NotFoundError(f"there is no {path} in the folder")
    found = {}
    for name, data in inside.items():
        parts = name.split("/")
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            found[folder] = FileEntry(folder, "folder", 0, mtime)
        found[name] = FileEntry(name, "file", len(data), mtime)
    shown = sorted(entry for entry in found if recursive or "/" not in entry)
    return FileList(tuple(found[name] for name in shown))


def chosen(now: Files, folder: str, paths: Sequence[str]) -> bytes:
    """A tar of these files of a folder; missing files are left out."""
    wanted = {path: posixpath.join(folder, path) for path in sorted(set(paths))}
    return pack_chosen({path: now[full] for path, full in wanted.items() if full in now})


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(folder + "/")


def _named(path: str, glob: str) -> bool:
    parts = path.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return any(fnmatchcase(each, glob.rstrip("/")) for each in above)


def plain(now: Files, path: str) -> bytes:
    """The content of a file. Raises NotFoundError, InputError."""
    if path in now:
        return now[path]
    if any(_is_below(name, path) for name in now):
        raise InputError(f"{path} is a folder, not a plain file")
    raise NotFoundError(f"there is no {path} in the folder")
