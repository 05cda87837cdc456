"""Figures that no history holds: whatever measures one appends it to figures.jsonl.

note(STOP, "0.4 s", "pytest tests/chaos/test_promises.py")

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
CUT = "cut of 60 s or 10 min: exit codes and log lines of what ran"
BAD_GPU = "a GPU that is lost or faulty is out of placement"
WARM = "`hostler gpus`, 50 hosts × 8, with a daemon"
COLD = "`hostler gpus`, without a daemon"
DEAD = "`hostler gpus`, with 3 of 20 hosts dead"
STOP = "stop of the daemon, and Ctrl-C, with a host that hangs"
HANGS = "a short run while another host stands still; while none does"
LOG = "log of 1 GiB with a line of 10 MB: memory"
DAG = "pipeline of 10,000 stages read and checked"
FUZZ = "hostile input"
LOGINS = "tries after a login that was refused"
CONNECTIONS = "connections to a host"
PORTS = "TCP ports opened, here and on hosts"
LEFT = "left on hosts after the daemon's stop, besides `/var/tmp/hostler*`"
TARGETS = {
    CUT: "all right", BAD_GPU: "≤ 5 s", WARM: "≤ 1 s", COLD: "≤ 2.5 s for 20 hosts",
    DEAD: "≤ 3 s and a start, the rest complete", STOP: "≤ 2 s", HANGS: "the same",
    LOG: "< 200 MiB", DAG: "≤ 2 s, 300 MB", LOGINS: "0", CONNECTIONS: "1", PORTS: "0",
    LEFT: "nothing",
    FUZZ: "0 failures of 1,000,000 files, 100,000 names, 10,000 archives",
}  # fmt: skip
"""Every promise of which figures tell, and what is aimed at."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What a command measured of a promise."""

    promise: str
    measured: str
    command: str
    at: float = 0.0


def note(promise: str, measured: str, command: str) -> None:
    """Append a figure, if figures are kept. The promise is one of TARGETS."""
    assert promise in TARGETS, promise
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
