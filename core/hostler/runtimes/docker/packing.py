"""The tars that are unpacked into a created container before its start: folders with the right
owner, metrics file, Slurm commands.

Docker uses the owners in a tar, and has no other way to set a plain uid, so the owners are written
into the tar here. Pure.

Docker unpacks as root. If a tar does not name a folder, Docker follows a link in its place. So the
tar names every folder, and names again, after the source, each folder into which something else is
placed.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterable

from hostler.base.errors import InputError
from hostler.model.jobs import Job
from hostler.runtimes.command import METRICS, lineage, relative, reserved
from hostler.runtimes.docker.options import COMMANDS, HOME, WORK
from hostler_agent.slurm_commands import PROGRAMS
from hostler_agent.tarcheck import UNREADABLE, RangeReader, members

_ROOT = WORK.lstrip("/")
_OWN = posixpath.join(_ROOT, posixpath.dirname(METRICS))
Archive = tuple[str, bytes]
"""Target and tar."""


def pack_root(job: Job, implied: Iterable[str]) -> bytes:
    """A tar for `/` that is unpacked before a separately sent source: the working folder, and the
    folders in it that the source does not name."""
    made = _Packed(job)
    for folder in sorted(implied):
        made.folder(posixpath.join(_ROOT, folder))
    return made.done()


def pack(
    job: Job, archives: Iterable[Archive], *, workdir: bool = True, make: Iterable[str] = ()
) -> bytes:
    """A tar for `/`: the source, the files and folders of Hostler, and the other archives.

    `workdir`: make the folder in which the command starts. `make`: further folders to make in the
    working folder. Raises InputError for an invalid archive, or one with names outside its target.
    """
    made, later = _Packed(job), []
    for target, data in archives:
        if relative(target):
            later.append((target, data))
        else:
            made.archive(target, data)
    made.begin_anew()
    for folder in reserved(job):
        made.folder(posixpath.join(_ROOT, folder))
    if workdir and job.workdir is not None and not posixpath.isabs(job.workdir):
        for folder in lineage(relative(job.workdir)):
            made.folder(posixpath.join(_ROOT, folder))
    for folder in make:
        made.folder(posixpath.join(_ROOT, folder))
    made.folder(HOME.lstrip("/"))
    made.metrics_file()
    if job.slurm_commands:
        made.commands()
    for target, data in later:
        made.archive(target, data)
    return made.done()


class _Packed:
    """A growing tar; the working folder is its first entry."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._made = io.BytesIO()
        self._tar = tarfile.open(  # noqa: SIM115  # closed by `done`
            fileobj=self._made, mode="w", format=tarfile.PAX_FORMAT
        )
        self._known: set[str] = set()
        self.folder(_ROOT)

    def done(self) -> bytes:
        """The complete tar."""
        self._tar.close()
        return self._made.getvalue()

    def begin_anew(self) -> None:
        """From here on, name every folder again."""
        self._known = {_ROOT}

    def folder(self, name: str) -> None:
        """Add a folder and those above it. Docker would give missing ones to root."""
        if not name or name in self._known:
            return
        self.folder(posixpath.dirname(name))
        self._known.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        # Hostler's own folder stays root's, so that the stage cannot replace files in it by links:
        # the metrics are read as root.
        self._tar.addfile(entry if name == _OWN else self._owned(entry))

    def metrics_file(self) -> None:
        """Add an empty metrics file, which all users may write but not replace."""
        entry = tarfile.TarInfo(posixpath.join(_ROOT, METRICS))
        entry.mode = 0o666
        self._tar.addfile(entry)

    def commands(self) -> None:
        """Add the Slurm commands. They belong to root, so that the stage cannot change them."""
        folder = tarfile.TarInfo(COMMANDS.lstrip("/"))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        self._tar.addfile(folder)
        for name, text in PROGRAMS.items():
            entry = tarfile.TarInfo(posixpath.join(folder.name, name))
            entry.mode, entry.size = 0o755, len(text)
            self._tar.addfile(entry, io.BytesIO(text.encode("ascii")))

    def archive(self, target: str, data: bytes) -> None:
        """Add all entries of another tar, below `target`. Raises InputError."""
        try:
            self._copy(posixpath.join(_ROOT, relative(target)), data)
        except UNREADABLE as error:
            message = f"the archive for {target or WORK} is no tar: {error}"
            raise InputError(message) from error

    def _copy(self, prefix: str, data: bytes) -> None:
        source = io.BytesIO(data)
        for entry in members(source):
            entry.name = posixpath.join(prefix, relative(entry.name)).rstrip("/")
            self.folder(posixpath.dirname(entry.name))
            if entry.isdir():
                self._known.add(entry.name)
            if entry.islnk():
                entry.linkname = posixpath.join(prefix, relative(entry.linkname))
            entry.pax_headers = {}
            content = RangeReader(source, entry.offset_data, entry.size)
            self._tar.addfile(self._owned(entry), content if entry.isreg() else None)

    def _owned(self, entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = self._job.uid or 0
        entry.gid = self._job.gid if self._job.gid is not None else entry.uid
        entry.uname = entry.gname = ""
        return entry
