"""Writes a reproducible tar file, which depends on the content alone: fixed time, owner, modes
and order."""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from types import TracebackType
from typing import BinaryIO

MTIME = 315_619_200
"""2 January 1980 for every entry: the earliest that zip files, and so wheels, can hold anywhere."""


class TarWriter:
    """Writes entries into `out`. Pass them sorted by path; the writer adds parent folders."""

    def __init__(self, out: BinaryIO) -> None:
        self._hashing = _Hashing(out)
        self._tar = tarfile.open(  # noqa: SIM115  # closed in __exit__
            fileobj=self._hashing,  # type: ignore[call-overload]  # it writes, which is all it takes
            mode="w",
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
        )
        self._folders: set[str] = set()
        self.files = 0

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._tar.close()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all bytes written; final once the block is left."""
        return self._hashing.sha256.hexdigest()

    @property
    def size(self) -> int:
        """Bytes written; final once the block is left."""
        return self._hashing.size

    def add_folder(self, name: str, mode: int = 0o755) -> None:
        """Add a folder; a folder that exists already is left as it is."""
        if name in self._folders or not name:
            return
        self.add_folder(posixpath.dirname(name))
        self._folders.add(name)
        self._add(name, tarfile.DIRTYPE, mode)

    def add_file(self, name: str, mode: int, size: int, content: BinaryIO) -> None:
        """Add a file of exactly `size` bytes. Raises OSError if `content` ends before."""
        self.add_folder(posixpath.dirname(name))
        self._add(name, tarfile.REGTYPE, mode, size=size, content=content)
        self.files += 1

    def add_link(self, name: str, target: str) -> None:
        """Add a symlink, unchanged."""
        self.add_folder(posixpath.dirname(name))
        self._add(name, tarfile.SYMTYPE, 0o777, target=target)
        self.files += 1

    def _add(
        self,
        name: str,
        kind: bytes,
        mode: int,
        *,
        size: int = 0,
        content: BinaryIO | None = None,
        target: str = "",
    ) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.size, entry.linkname = kind, mode, size, target
        entry.mtime, entry.uid, entry.gid = MTIME, 0, 0
        self._tar.addfile(entry, content)
        # tarfile remembers every entry; 100,000 of them are 100 MB that nobody reads.
        self._tar.members.clear()


class _Hashing:
    """Forwards writes, and counts and hashes them."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._out.write(data)

    def tell(self) -> int:
        return self.size
