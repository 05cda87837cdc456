"""The tar that a created container gets before its start: folders of the right owner, small files.

Docker keeps the owner that a tar names, and cannot be told another for a plain uid, so the owner
is written into the tar here. Pure.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterable

from hostler.errors import InputError
from hostler.model.jobs import Job
from hostler.runtimes.contract import folders, relative
from hostler.runtimes.docker.options import HOME, WORK

_ROOT = WORK.lstrip("/")


def pack(job: Job, archives: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar for `/`: the working folder, what must exist in it, and `archives` (target, tar).

    Raises InputError for an archive that is none, or names something outside its target.
    """
    made, known = io.BytesIO(), set[str]()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in _folders(job):
            _add_folder(job, tar, folder, known)
        for target, data in archives:
            try:
                _copy(job, tar, posixpath.join(_ROOT, relative(target)), data, known)
            except tarfile.TarError as error:
                message = f"the archive for {target or WORK} is no tar: {error}"
                raise InputError(message) from error
    return made.getvalue()


def _folders(job: Job) -> list[str]:
    inside = [f"{_ROOT}/{folder}" for folder in folders(job)]
    return [_ROOT, *inside, HOME.lstrip("/")]


def _add_folder(job: Job, tar: tarfile.TarFile, name: str, known: set[str]) -> None:
    # Folders that a tar does not name would be made by Docker, and belong to root.
    if not name or name in known:
        return
    _add_folder(job, tar, posixpath.dirname(name), known)
    known.add(name)
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(_owned(job, entry))


def _owned(job: Job, entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = job.uid or 0
    entry.gid = job.gid if job.gid is not None else entry.uid
    entry.uname = entry.gname = ""
    return entry


def _copy(job: Job, tar: tarfile.TarFile, prefix: str, data: bytes, known: set[str]) -> None:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as source:
        for entry in source:
            entry.name = posixpath.join(prefix, relative(entry.name)).rstrip("/")
            _add_folder(job, tar, posixpath.dirname(entry.name), known)
            if entry.isdir():
                known.add(entry.name)
            if entry.islnk():
                entry.linkname = posixpath.join(prefix, relative(entry.linkname))
            entry.pax_headers = {}
            tar.addfile(_owned(job, entry), source.extractfile(entry) if entry.isreg() else None)
