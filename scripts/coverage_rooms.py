"""Coverage by room: one line for each package folder, from the report of `coverage json`.

usage: coverage_rooms.py coverage.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath

ROOTS = ("core", "tui", "agents")


def room(name: str) -> str:
    """The package folder that a file lies in: hostler/decide, hostler_tui/widgets, hostler."""
    parts = PurePath(name).parts
    inside = parts[parts.index(next(part for part in parts if part in ROOTS)) + 1 :]
    return "/".join(inside[:2] if len(inside) > 2 else inside[:1])


def by_room(files: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, tuple[int, int]]:
    """Room -> statements and those that ran, by name."""
    statements: Counter[str] = Counter()
    ran: Counter[str] = Counter()
    for name, found in files.items():
        statements[room(name)] += found["summary"]["num_statements"]
        ran[room(name)] += found["summary"]["covered_lines"]
    return {name: (statements[name], ran[name]) for name in sorted(statements)}


def table(rooms: Mapping[str, tuple[int, int]]) -> str:
    """The lines to print, with a last one for the whole."""
    whole = tuple(map(sum, zip(*rooms.values(), strict=True))) or (0, 0)
    lines = [f"{'ROOM':24} {'STATEMENTS':>10} {'RAN':>6}"]
    for name, (statements, ran) in {**rooms, "all": whole}.items():
        share = 100 * ran / statements if statements else 100.0
        lines.append(f"{name:24} {statements:10} {share:5.1f}%")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    report = json.loads(Path(sys.argv[1]).read_text())
    print(table(by_room(report["files"])))


if __name__ == "__main__":
    main()
