"""Rooms whose tests are measured (rooms.toml), and changes that change no behaviour
(equivalent.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Room:
    """Files that are changed, and tests that have to notice; paths from the repository's root."""

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    programs: bool = False
    """The tests start programs of the code under test."""


@dataclass(frozen=True)
class Equivalent:
    """A change after which the program does the same, and why that is so."""

    file: str
    before: str
    after: str
    why: str

    @property
    def key(self) -> tuple[str, str, str]:
        """As in Change.key."""
        return self.file, self.before, self.after


def read_rooms(root: Path) -> dict[str, Room]:
    """The rooms of rooms.toml; a pattern that matches nothing is an error."""
    table = tomllib.loads((HERE / "rooms.toml").read_text())
    return {
        name: Room(
            name,
            _paths(root, room["files"]),
            _paths(root, room["tests"]),
            room.get("programs", False),
        )
        for name, room in table.items()
    }


def read_equivalents() -> list[Equivalent]:
    """What equivalent.toml lists."""
    table = tomllib.loads((HERE / "equivalent.toml").read_text())
    return [Equivalent(**entry) for entry in table.get("change", ())]


def stale(equivalents: Iterable[Equivalent], root: Path) -> list[Equivalent]:
    """Entries whose line is no longer in its file."""
    return [entry for entry in equivalents if not _stands(entry, root)]


def _stands(entry: Equivalent, root: Path) -> bool:
    file = root / entry.file
    lines = [line.strip() for line in file.read_text().splitlines()] if file.exists() else []
    return entry.before in "\n".join(lines)


def _paths(root: Path, patterns: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for pattern in patterns:
        matches = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
        if not matches:
            raise FileNotFoundError(f"rooms.toml names {pattern}, and nothing matches")
        found += matches
    return tuple(found)
