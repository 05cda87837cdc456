"""Do the tests notice? `make mutants`, or `python -m tests.mutants [room ...]`.

Draws small changes of a room's code, makes one at a time in a copy of the tree, and runs the room's
own tests. A change that no test notices shows behaviour that no test states.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.mutants.measure import BaselineError, Verdict, Wanted, measure
from tests.mutants.rooms import Room, read_equivalents, read_rooms, stale

ROOT = Path(__file__).resolve().parents[2]


def lines(verdict: Verdict) -> list[str]:
    """A verdict for people."""
    change = verdict.change
    said = f"noticed by {verdict.noticed_by}" if verdict.noticed_by else "UNNOTICED"
    shown = [f"{change.path}:{change.line} {said}"]
    for sign, text in (("-", change.before), ("+", change.after)):
        shown += [f"    {sign} {line}" for line in text.splitlines()]
    return shown


def summary(room: str, verdicts: Sequence[Verdict], seed: int) -> str:
    """The last line of a room."""
    noticed = sum(bool(verdict.noticed_by) for verdict in verdicts)
    share = 100 * noticed / len(verdicts) if verdicts else 100.0
    return f"{room}: {noticed} of {len(verdicts)} changes noticed ({share:.0f} %), seed {seed}"


def run(room: Room, wanted: Wanted, *, all_of_them: bool, at_least: float) -> int:
    """Measure one room; show each change that no test notices as soon as that is known."""
    began, verdicts = time.monotonic(), list[Verdict]()
    # What pytest prints while it collects is of no interest here.
    shown = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)

    def show(verdict: Verdict) -> None:
        verdicts.append(verdict)
        if all_of_them or not verdict.noticed_by:
            print(*lines(verdict), sep="\n", file=shown, flush=True)

    try:
        measure(room, ROOT, wanted, show)
    except BaselineError as error:
        sys.exit(str(error))
    took = f"{time.monotonic() - began:.0f} s"
    print(f"{summary(room.name, verdicts, wanted.seed)}, {took}\n", file=shown, flush=True)
    noticed = sum(bool(verdict.noticed_by) for verdict in verdicts)
    return 0 if 100 * noticed >= at_least * len(verdicts) else 1


def _options(words: list[str], rooms: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(rooms)}")
    parser.add_argument("--seed", type=int, default=1, help="another one draws other changes")
    parser.add_argument("--number", type=int, default=100, help="changes of each room (100)")
    parser.add_argument("--file", default="", help="only files whose path contains this")
    parser.add_argument("--tests", default="", help="other tests: what pytest takes as arguments")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--all", action="store_true", help="show noticed changes too")
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT",
                        help="fail below this share of noticed changes")  # fmt: skip
    options = parser.parse_args(words)
    if unknown := set(options.rooms) - set(rooms):
        parser.error(f"no such room: {', '.join(sorted(unknown))}")
    return options


def _narrowed(room: Room, part: str, tests: str) -> Room:
    files = tuple(path for path in room.files if part in path)
    return replace(room, files=files, tests=tuple(shlex.split(tests)) or room.tests)


def main(words: list[str]) -> int:
    """Measure one room here; each of several in a process of its own."""
    rooms = read_rooms(ROOT)
    options = _options(words, list(rooms))
    names = options.rooms or list(rooms)
    if len(names) > 1:
        rest = [word for word in words if word not in options.rooms]
        calls = [[sys.executable, "-m", "tests.mutants", name, *rest] for name in names]
        return max(subprocess.run(call, cwd=ROOT, check=False).returncode for call in calls)
    known = read_equivalents()
    for entry in stale(known, ROOT):
        print(f"equivalent.toml: {entry.file} has no line {entry.before!r} any more", flush=True)
    keys = frozenset(entry.key for entry in known)
    wanted = Wanted(options.number, options.seed, options.jobs, keys)
    room = _narrowed(rooms[names[0]], options.file, options.tests)
    return run(room, wanted, all_of_them=options.all, at_least=options.at_least)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
