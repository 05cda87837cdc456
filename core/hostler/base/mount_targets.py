"""At which paths inside a container a folder of the host may appear, and which are refused (`/etc`,
`/usr` ...).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from itertools import pairwise

from hostler.base.readers import read_line, read_word
from hostler.base.text import shown

_CLOSED = (
    "/work", "/run", "/var/run", "/proc", "/sys", "/dev", "/etc", "/usr", "/bin", "/sbin", "/lib",
    "/lib32", "/lib64", "/libx32",
)  # fmt: skip
"""Ours, the kernel's, and those in which Docker and NVIDIA's toolkit make files and read links as
root: in a folder of the host these would be files of the host."""
_OPEN = "/usr/local/"
_TOOLKIT = "/usr/local/cuda"
"""Targets that begin with this are refused: NVIDIA's toolkit reads libraries of the image there as
root."""
MAX_TARGETS = 64


def read_mount_target(value: object) -> str:
    """A path inside the container: absolute, in its shortest form, and not a system path."""
    path = read_line(value, "a path in quotes")
    if not path.startswith("/") or path.startswith("//") or posixpath.normpath(path) != path:
        raise ValueError(f"{shown(path)} should be an absolute path like /output, without .. or //")
    if path.startswith(_OPEN) and not path.startswith(_TOOLKIT):
        return path
    closed = next((each for each in _CLOSED if covers(each, path) or covers(path, each)), None)
    if closed is not None:
        raise ValueError(
            f"no folder can be mounted at {shown(path)}: Hostler or the system has files of its "
            f"own in {closed}"
        )
    return path


def read_mounted(value: object) -> str:
    """The name of a mount; a folder below it is not allowed yet."""
    text = read_line(value, "a name in quotes")
    name, slash, _ = text.partition("/")
    if slash and name:
        raise ValueError(
            f"{shown(text)} is a folder below a mount, which is not supported yet: name the mount "
            f"alone ({shown(name)}), or add the folder under [mounts] in config.toml"
        )
    return read_word(text)


def clash(targets: Iterable[str], others: Iterable[str]) -> tuple[str, str] | None:
    """The first target that covers one of the others, or lies in it."""
    found = list(others)
    return next(
        ((a, b) for a in targets for b in found if covers(a, b) or covers(b, a)),
        None,
    )


def clash_among(targets: Iterable[str]) -> tuple[str, str] | None:
    """The first two targets of which one covers the other."""
    ordered = sorted(targets, key=lambda path: path.split("/"))
    return next(((a, b) for a, b in pairwise(ordered) if covers(a, b)), None)


def covers(folder: str, path: str) -> bool:
    """Whether a path is that folder or is inside it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
