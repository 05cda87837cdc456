"""Checks which paths the archives of a stage occupy before anything is unpacked; refuses links or
files where inputs, checkpoints or mounts belong.

A source may come from anywhere. What it must not do is to lead what is placed after it, or beside
it, somewhere else: an input, a checkpoint, Hostler's own folder, a mounted folder of the host.
"""

from __future__ import annotations

import asyncio
import posixpath
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from hostler.base.errors import InputError
from hostler.model.jobs import Job, Placement
from hostler.runtimes.command import lineage, relative, reserved
from hostler.store.archive_scan import Outline, outline
from hostler.store.archives import is_normal, normalise

_KEPT = 8


class Layouts:
    """Reads the content of archives, each once for the stages that share it."""

    def __init__(self, blob_path: Callable[[str], Path]) -> None:
        self._blob_path = blob_path
        self._known: OrderedDict[str, Outline] = OrderedDict()
        self._plain: set[str] = set()

    async def of(self, job: Job) -> dict[str, Outline]:
        """Target -> the content placed there, all checked. Raises InputError."""
        found = {}
        for placement in job.placements:
            found[relative(placement.target)] = await self._read(placement.digest)
        check_layout(job, found)
        return found

    @asynccontextmanager
    async def plain(self, placement: Placement) -> AsyncIterator[tuple[str, Path]]:
        """Digest and file of an archive that all programs read alike, for the time of the block.

        A source may have headers that Docker reads differently from Hostler's check: then it is
        packed anew. Sources packed by Hostler, and outputs, stay unchanged.
        """
        path = self._blob_path(placement.digest)
        if placement.target or await self._is_plain(placement.digest, path):
            yield placement.digest, path
            return
        with tempfile.TemporaryDirectory(prefix="hostler-") as folder:
            again = Path(folder, "source.tar")
            _, digest, _ = await asyncio.to_thread(normalise, path, again)
            yield digest, again

    async def _is_plain(self, digest: str, path: Path) -> bool:
        if digest not in self._plain and await asyncio.to_thread(is_normal, path, digest):
            self._plain.add(digest)
        return digest in self._plain

    async def _read(self, digest: str) -> Outline:
        known = self._known.get(digest)
        if known is None:
            known = await asyncio.to_thread(outline, self._blob_path(digest))
        self._known[digest] = known
        self._known.move_to_end(digest)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return known


def check_layout(job: Job, outlines: Mapping[str, Outline]) -> None:
    """Raise InputError if an archive has a link or a file in the place of a folder that receives
    other files."""
    for path in reserved(job):
        for target, found in outlines.items():
            inner = _below(target, path)
            if inner and found.kinds.get(inner, "folder") != "folder":
                raise InputError(
                    f"{_whose(target)} has a {found.kinds[inner]} {inner}, where {path} of the "
                    "stage belongs",
                    remedy="rename it, or exclude it in .hostlerignore",
                )


def check_mounts(
    job: Job, outlines: Mapping[str, Outline], work: str, mounts: Collection[str], writable: bool
) -> None:
    """Raise InputError if files would be placed into a mounted folder of the host, as root; or, if
    such a folder is `writable`, into the checkpoint, where an earlier attempt may have left links
    that lead there."""
    for mount in mounts:
        inside = _below(work, mount)
        if not inside:
            continue
        for path in reserved(job):
            if path == inside or _below(inside, path):
                raise _in_mount(path, mount)
        for target, found in outlines.items():
            for path in found.kinds:
                full = posixpath.join(target, path)
                if full == inside or _below(inside, full):
                    raise _in_mount(full, mount)
    if job.checkpoint is not None and writable:
        _check_checkpoint(relative(job.checkpoint), outlines)


def folders_to_make(
    job: Job, outlines: Mapping[str, Outline], work: str, mounts: Collection[str]
) -> list[str]:
    """The folders of `job.make` that can be made as root. The source may have a link or file in the
    place of one, or of a folder above it; a mounted folder and the checkpoint may also contain
    links."""
    source = outlines.get("")
    kinds = source.kinds if source is not None else {}
    closed = {inside for mount in mounts if (inside := _below(work, mount))}
    if job.checkpoint is not None:
        closed.add(relative(job.checkpoint))
    found = []
    for path in map(relative, job.make):
        steps = lineage(path)
        plain = all(kinds.get(step, "folder") == "folder" for step in steps)
        if plain and path not in kinds and not closed & set(steps):
            found.append(path)
    return found


def workdir_is_there(job: Job, outlines: Mapping[str, Outline]) -> bool:
    """Whether the source contains the folder that the command starts in, or a link in its place."""
    source = outlines.get("")
    if source is None or job.workdir is None or posixpath.isabs(job.workdir):
        return False
    parts = lineage(relative(job.workdir))
    return any(source.kinds.get(part) in ("link", "file") for part in parts) or (
        bool(parts) and parts[-1] in source.kinds
    )


def _check_checkpoint(checkpoint: str, outlines: Mapping[str, Outline]) -> None:
    for target, found in outlines.items():
        for path in found.kinds:
            full = posixpath.join(target, path)
            if _below(checkpoint, full):
                raise InputError(
                    f"{_whose(target)} has {path}, which is in the checkpoint folder; in a "
                    "stage that may write to mounted folders, Hostler places nothing there",
                    remedy="move it elsewhere in the source, and let the command copy it",
                )


def _in_mount(path: str, mount: str) -> InputError:
    return InputError(
        f"{path} would be placed into {mount}, a mounted folder of the host",
        remedy="give it another name, or mount the folder elsewhere",
    )


def _whose(target: str) -> str:
    return f"the archive for {target}" if target else "the source"


def _below(folder: str, path: str) -> str:
    """`path` relative to `folder`, if it is below it; else ""."""
    if not folder:
        return path
    return path[len(folder) + 1 :] if path.startswith(folder.rstrip("/") + "/") else ""
