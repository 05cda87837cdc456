"""The hosts' disks: sparse ext4 images on loop devices that free themselves."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from tests.lab.layout import LabError
from tests.lab.system import run

DISK_SIZE = 4 << 30
"""Bytes; sparse, so it costs what is written."""


def new_disk(path: Path) -> None:
    """An empty ext4 image."""
    with path.open("wb") as file:
        file.truncate(DISK_SIZE)
    run(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", path])


def copy_disk(template: Path, path: Path) -> None:
    """A copy of a disk that takes no more room than what is written on it."""
    run(["cp", "--sparse=always", "--reflink=auto", template, path])


def edit_disk(path: Path, script: str) -> None:
    """Run a shell script in the root of a disk, mounted where nobody else sees it."""
    with tempfile.TemporaryDirectory(prefix="hostler-lab-") as folder:
        inside = f'mount -o loop "$1" "$2" && cd "$2" && {script}'
        try:
            run(["unshare", "--mount", "sh", "-c", inside, "sh", path, folder])
        except LabError as error:
            raise LabError(f"cannot edit {path}: {error}") from error


def disk_users(path: Path) -> list[str]:
    """The loop devices over a disk, or over any disk in a folder."""
    found = []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # freed in between
            backing = Path(file.read_text().rstrip("\n").removesuffix(" (deleted)"))
            if backing.is_relative_to(path):
                found.append(f"/dev/{file.parts[3]}")
    return found
