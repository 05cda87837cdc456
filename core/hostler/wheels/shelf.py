"""The fetched wheels on the daemon's disk: files by SHA-256, which of them a requirements file
needs, and removal of the least recently used.

What was not used for longest is removed when there is more than the budget. All of it can be
fetched again, so that nothing here is in a backup.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.text import shown
from hostler.store.faults import disk_faults
from hostler.store.files import private_folder
from hostler_agent.json_values import integer, string, tables

FOLDER = "wheels"
_NAME = re.compile(r"[A-Za-z0-9_.+!-]{1,200}\.whl")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel."""

    name: str
    """The file's name."""
    digest: str
    size: int


class Shelf:
    """The folder in the daemon's state. All methods block while the disk works. Raises
    StateError."""

    def __init__(self, state: Path) -> None:
        with disk_faults(state):
            folder = private_folder(state / FOLDER)
            self._files = private_folder(folder / "files")
            self._sets = private_folder(folder / "sets")
            self._work = private_folder(folder / "work")
            for left in self._work.iterdir():  # of a daemon that was killed
                shutil.rmtree(left, ignore_errors=True)
        self._used: Counter[str] = Counter()

    def path(self, digest: str) -> Path:
        """The path of a wheel."""
        return self._files / digest

    @contextlib.contextmanager
    def work_folder(self) -> Iterator[Path]:
        """An empty folder that is removed afterwards."""
        with disk_faults(self._work):
            folder = tempfile.mkdtemp(dir=self._work)
        try:
            yield Path(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def using(self, wheels: Sequence[Wheel]) -> Iterator[None]:
        """Protect these wheels from removal."""
        digests = [wheel.digest for wheel in wheels]
        self._used.update(digests)
        try:
            yield
        finally:
            self._used.subtract(digests)

    def find(self, key: str) -> tuple[Wheel, ...] | None:
        """The wheels that were fetched under a key; None if one of them is gone."""
        try:
            said = json.loads(self._set(key).read_bytes())
        except (OSError, ValueError):
            return None
        wheels = tuple(_wheels(said))
        if len(wheels) != len(tables(said)) or not all(map(self._is_here, wheels)):
            return None
        for path in (self._set(key), *(self.path(wheel.digest) for wheel in wheels)):
            with contextlib.suppress(OSError):
                os.utime(path)
        return wheels

    def take(self, folder: Path, key: str) -> tuple[Wheel, ...]:
        """Move the wheels in a folder here, and record them under a key. Raises InputError if the
        folder contains other files."""
        with disk_faults(folder):
            wheels = tuple(self._taken(folder / name) for name in sorted(os.listdir(folder)))  # noqa: PTH208
            beside = self._set(key).with_suffix(".new")
            beside.write_text(json.dumps([asdict(wheel) for wheel in wheels]))
            beside.replace(self._set(key))
        return wheels

    def drop_damaged(self, digest: str) -> bool:
        """Remove a wheel if its content is damaged; returns whether it was."""
        try:
            with self.path(digest).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                    return False
        except OSError:
            return False
        with contextlib.suppress(OSError):
            self.path(digest).unlink()
        return True

    def shrink(self, most: int) -> int:
        """Remove the least recently used wheels until at most this many bytes are left, and records
        of missing wheels; the bytes freed."""
        with disk_faults(self._files):
            found = sorted(
                (status.st_mtime, status.st_size, path)
                for path in self._files.iterdir()
                for status in (path.lstat(),)
            )
            total = left = sum(size for _, size, _ in found)
            for _, size, path in found:
                if left <= most:
                    break
                if self._used[path.name] <= 0:
                    path.unlink(missing_ok=True)
                    left -= size
            if left < total:
                self._forget_sets()
        return total - left

    def _forget_sets(self) -> None:
        for path in self._sets.iterdir():
            if self.find(path.name) is None:
                path.unlink(missing_ok=True)

    def _set(self, key: str) -> Path:
        return self._sets / key

    def _is_here(self, wheel: Wheel) -> bool:
        try:
            return self.path(wheel.digest).stat().st_size == wheel.size
        except OSError:
            return False

    def _taken(self, path: Path) -> Wheel:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not _NAME.fullmatch(path.name):
                raise InputError(f"pip fetched {shown(path.name)}, which is no wheel")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(descriptor).st_size
            os.fsync(descriptor)
        path.chmod(0o600)
        os.utime(path)
        path.replace(self.path(digest))
        return Wheel(path.name, digest, size)


def _wheels(said: object) -> Iterator[Wheel]:
    for each in tables(said) if isinstance(said, list) else []:
        name, digest = string(each.get("name")) or "", string(each.get("digest")) or ""
        size = integer(each.get("size"))
        if _NAME.fullmatch(name) and _DIGEST.fullmatch(digest) and size is not None:
            yield Wheel(name, digest, size)
