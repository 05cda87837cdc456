"""Opens files of a folder step by step: never through a link, even if paths change meanwhile."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LinkOnTheWay(OSError):
    """A folder on the way is a link."""

    def __init__(self, name: str, target: str) -> None:
        super().__init__(f"{name} is a link to {target}")
        self.name, self.target = name, target


class LeadsOut(OSError):
    """A name that leads out of the folder."""


class NotRegular(OSError):
    """It is neither a file nor a folder nor a link."""


class Inside:
    """One folder. Keeps the path to the last file open: names arrive sorted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._way: list[tuple[str, int]] = []

    def __enter__(self) -> Inside:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._back_to(0)
        os.close(self._root)

    def lstat(self, name: str) -> os.stat_result:
        """As `os.lstat`. Raises LinkOnTheWay, and OSError as it does."""
        folder, last = self._step_to(name)
        return os.stat(last, dir_fd=folder, follow_symlinks=False)

    def readlink(self, name: str) -> str:
        """As `os.readlink`. Raises LinkOnTheWay, and OSError as it does."""
        folder, last = self._step_to(name)
        return os.readlink(last, dir_fd=folder)

    def is_folder(self, name: str) -> bool:
        """Whether it is a folder, with no link on the way to it."""
        try:
            return stat.S_ISDIR(self.lstat(name).st_mode)
        except OSError:
            return False

    def open(self, name: str) -> BinaryIO:
        """The file's content. Raises LinkOnTheWay, NotRegular, and OSError as `open` does."""
        folder, last = self._step_to(name)
        handle = os.open(last, _READ, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise NotRegular(f"{name} is no file")
        return os.fdopen(handle, "rb")

    def _step_to(self, name: str) -> tuple[int, str]:
        """The folder that contains `name`, open, and the last part of the name."""
        *parts, last = name.split("/")
        # An index that was made by hand may name anything.
        if not {*parts, last}.isdisjoint(("", ".", "..")):
            raise LeadsOut(f"{name} leads out of the folder")
        same = 0
        while same < min(len(parts), len(self._way)) and self._way[same][0] == parts[same]:
            same += 1
        self._back_to(same)
        for part in parts[same:]:
            self._way.append((part, self._step(part)))
        return self._top(), last

    def _step(self, part: str) -> int:
        above = self._top()
        try:
            return os.open(part, _STEP, dir_fd=above)
        except NotADirectoryError:
            target = _link_target(part, above)
            if target is None:
                raise
            way = "/".join([*(step for step, _ in self._way), part])
            raise LinkOnTheWay(way, target) from None

    def _top(self) -> int:
        return self._way[-1][1] if self._way else self._root

    def _back_to(self, count: int) -> None:
        while len(self._way) > count:
            os.close(self._way.pop()[1])


def _link_target(name: str, folder: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None
