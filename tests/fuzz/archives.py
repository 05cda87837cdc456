"""Tar files that want out of their folder, that want to be more than files, and broken ones.

Each goes through the daemon's readers (look, repack, unpack) and the agent's own unpacking. After
each, what lies around the target is as before, and in it is nothing but plain files, folders, and
links that stay inside.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import random
import shutil
import stat
import tarfile
import zlib
from pathlib import Path

from hostler.base.errors import InputError
from hostler.store.archives import ArchiveCaps, extract, inspect_archive, normalise
from hostler_agent import archive as on_host
from hostler_agent.folders import Refusal
from tests.fuzz.trial import Area

_KINDS = (
    tarfile.REGTYPE, tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.DIRTYPE,
    tarfile.SYMTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
    tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z",
)  # fmt: skip
_PARTS = ("a", "b", "c", "l", "..", ".", "", "a" * 300, "é", "\n", "-rf", "outer", "canary", " ")
_PLACES = ("/etc/passwd", "/tmp/pwn", "..", "../a", "../../a", ".", "/", "l/..", "a", "a/b", "l")
_MODES = (0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1777, 0o000, 0o7777)
_SIZES = (0, 1, 20, 511, 512, 3000)
CAPS = ArchiveCaps(entries=200, size=64 * 1024**2)
KEPT = b"not yours"


def make(chance: random.Random) -> bytes:
    """The bytes of an archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=chance.choice((0, 1, 2))) as tar:
        for _ in range(chance.randrange(0, 7)):
            with contextlib.suppress(ValueError, UnicodeError):  # this format cannot say it
                _add(tar, chance)
    data = bytearray(made.getvalue())
    if chance.random() < 0.3:
        _damage(data, chance)
    return _pressed(bytes(data), chance)


def _add(tar: tarfile.TarFile, chance: random.Random) -> None:
    info = tarfile.TarInfo(_name(chance))
    info.type = chance.choice(_KINDS)
    info.linkname = chance.choice((_name(chance), *_PLACES))
    info.mode, info.uid = chance.choice(_MODES), chance.choice((0, 1000))
    info.mtime = chance.choice((0, 1_700_000_000, 2**33))
    data = bytes(chance.choice(_SIZES)) if info.isreg() else b""
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _name(chance: random.Random) -> str:
    return "/".join(chance.choice(_PARTS[: chance.choice((5, 14))]) for _ in range(1, 4))


def _damage(data: bytearray, chance: random.Random) -> None:
    """Flip bytes, with checksums made right again, so that damage reaches what is behind."""
    for _ in range(chance.randrange(1, 4)):
        block = chance.randrange(len(data) // 512) * 512
        data[block + chance.randrange(512)] = chance.randrange(256)
        header = data[block : block + 512]
        total = sum(header[:148]) + 8 * 32 + sum(header[156:])
        data[block + 148 : block + 156] = b"%06o\0 " % total
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]


def _pressed(data: bytes, chance: random.Random) -> bytes:
    """Sometimes compressed, sometimes a bomb: a little file of hundreds of megabytes."""
    what = chance.random()
    if what < 0.03:
        return gzip.compress(data, mtime=0)
    if what < 0.05:
        return bz2.compress(data)
    if what < 0.052:
        return _bomb()
    return data


def _bomb() -> bytes:
    info = tarfile.TarInfo("zeros")
    info.size = 200 * 1024**2
    press, piece = zlib.compressobj(1, wbits=31), bytes(1024**2)
    parts = [press.compress(info.tobuf())]
    parts += [press.compress(piece) for _ in range(info.size // len(piece))]
    return b"".join((*parts, press.compress(bytes(1024)), press.flush()))


def check(data: bytes, folder: Path) -> None:
    """Unpack by every reader."""
    (folder / "outer" / "canary").mkdir(parents=True)
    (folder / "outer" / "a").write_bytes(KEPT)
    path = folder / "a.tar"
    path.write_bytes(data)
    try:
        _as_daemon(path, folder)
        _as_agent(path, folder)
    finally:
        _remove(folder)


def _as_daemon(path: Path, folder: Path) -> None:
    target = folder / "outer" / "canary" / "target"
    with contextlib.suppress(InputError):
        inspect_archive(path, CAPS)
    with contextlib.suppress(InputError):
        extract(path, target, CAPS)
    _nothing_outside(folder, target)
    with contextlib.suppress(InputError):
        normalise(path, folder / "n.tar", caps=CAPS)
        inspect_archive(folder / "n.tar", CAPS)


def _as_agent(path: Path, folder: Path) -> None:
    target = folder / "outer" / "canary" / "on_host"
    target.mkdir()
    with contextlib.suppress(Refusal):
        on_host.extract(str(path), str(target))
    _nothing_outside(folder, target)


def _nothing_outside(folder: Path, target: Path) -> None:
    outer = folder / "outer"
    assert {each.name for each in outer.iterdir()} == {"a", "canary"}
    assert {each.name for each in (outer / "canary").iterdir()} <= {"target", "on_host"}
    assert (outer / "a").read_bytes() == KEPT
    assert not Path("/tmp/pwn").exists()
    root = os.path.realpath(target)
    for at, folders, files in os.walk(target):
        for name in (*folders, *files):
            _harmless(os.path.join(at, name), root)


def _harmless(path: str, root: str) -> None:
    found = os.lstat(path)
    kind = found.st_mode
    assert stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind), path
    if stat.S_ISLNK(kind):
        real = os.path.realpath(path)
        assert real == root or real.startswith(root + "/"), f"{path} leads to {real}"
    else:
        assert not kind & 0o7000, f"{path} has mode {kind:o}"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


AREA = Area("archives", few=150, many=10_000, make=make, check=check)
