"""Figures that no history holds: whatever measures one appends it to figures.jsonl.

note("daemon stop", "0.4 s", "pytest tests/chaos/test_promises.py")

Only where HOSTLER_CHAOS_KEEP names a folder; the report reads it there, beside the histories. Of
one promise and command the last figure counts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "figures.jsonl"


@dataclass(frozen=True, slots=True)
class Figure:
    """What a command measured of a promise."""

    promise: str
    measured: str
    command: str
    at: float = 0.0


def note(promise: str, measured: str, command: str) -> None:
    """Append a figure, if figures are kept."""
    folder = os.environ.get("HOSTLER_CHAOS_KEEP")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(Figure(promise, measured, command, time.time())))
        with (Path(folder) / NAME).open("a") as file:
            file.write(line + "\n")


def read(folder: Path) -> list[Figure]:
    """The last figure of each promise and command, in the order in which they were first told."""
    found: dict[tuple[str, str], Figure] = {}
    file = folder / NAME
    for line in file.read_text().splitlines() if file.exists() else ():
        figure = Figure(**json.loads(line))
        found[figure.promise, figure.command] = figure
    return list(found.values())


def by_promise(figures: list[Figure]) -> Mapping[str, str]:
    """Promise -> all that was measured of it, each with its command."""
    texts: dict[str, list[str]] = {}
    for figure in figures:
        texts.setdefault(figure.promise, []).append(f"{figure.measured} (`{figure.command}`)")
    return {promise: "; ".join(said) for promise, said in texts.items()}
