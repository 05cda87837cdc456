"""The Pythons of this machine that Hostler supports: one a line, the newest of each minor version.

usage: pythons.py [--but 3.11] [--newest]

Looks on PATH, where pyenv, uv and conda keep theirs, and at HOSTLER_PYTHON. A name on PATH may be a
launcher of pyenv's that starts nothing: each is asked who it is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

OLDEST = (3, 11)
# Of an environment, the Python that it was made with: `make` puts its own first on PATH.
_ASK = "import sys; print(*sys.version_info[:3], sys._base_executable); import ctypes, sqlite3, ssl"
_ASK_SECONDS = 20

Version = tuple[int, ...]


def candidates() -> Iterator[Path]:
    """Whatever may be a Python, in the order of preference among equals."""
    if named := os.environ.get("HOSTLER_PYTHON"):
        yield Path(named)
    for folder in os.get_exec_path():
        yield from filter(_is_interpreters_name, sorted(Path(folder).glob("python3*")))
    for folder in kept_by_tools():
        yield from sorted(folder.glob("*/bin/python3"))


def kept_by_tools() -> list[Path]:
    """Folders in which tools keep a Python a folder."""
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    return [pyenv / "versions", data / "uv/python", home / "miniconda3/envs"]


def ask(python: Path) -> tuple[Version, str] | None:
    """The version and the interpreter behind a name; None where it starts none, or one that lacks
    a part of the standard library that Hostler needs."""
    try:
        asked = subprocess.run(
            [python, "-I", "-c", _ASK],
            capture_output=True, text=True, timeout=_ASK_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    *version, executable = asked.stdout.split(maxsplit=3)
    return tuple(map(int, version)), executable.strip()


def newest_of_each(found: Iterable[tuple[Version, str]]) -> dict[Version, tuple[Version, str]]:
    """Minor version -> the newest of it, the first among equals; in the order of versions."""
    chosen: dict[Version, tuple[Version, str]] = {}
    for version, executable in found:
        minor = version[:2]
        if minor >= OLDEST and (minor not in chosen or version > chosen[minor][0]):
            chosen[minor] = version, executable
    return dict(sorted(chosen.items()))


def supported() -> dict[Version, tuple[Version, str]]:
    """The newest Python of each minor version that this machine has."""
    answers = (ask(path) for path in dict.fromkeys(candidates()) if os.access(path, os.X_OK))
    return newest_of_each(answer for answer in answers if answer)


def _is_interpreters_name(path: Path) -> bool:
    name = path.name
    return name == "python3" or (name[8:].isdigit() and name.startswith("python3."))


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description="The Pythons of this machine, one a line.")
    parser.add_argument("--but", default="", help="leave out this minor version: 3.11")
    parser.add_argument("--newest", action="store_true", help="only the newest")
    options = parser.parse_args()
    found = [executable for _, executable in _without(options.but)]
    print(*found[-1:] if options.newest else found, sep="\n")


def _without(minor: str) -> Iterator[tuple[Version, str]]:
    for key, chosen in supported().items():
        if ".".join(map(str, key)) != minor:
            yield chosen


if __name__ == "__main__":
    main()
