"""Measure the house: `make house`, or `python -m tests.house`.

Lines with a * must not grow: tests/house/test_house.py holds them to the ceilings of ceilings.toml.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.house import walk
from tests.house.ceilings import FILE, lower, read_ceilings
from tests.house.measures import MEASURES, Measure
from tests.house.source import Module, read_modules

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """One line of the table; a number that was not taken is None, and `note` says why."""

    name: str
    title: str
    now: float | None
    ceiling: int | None = None
    wanted: float | None = None
    note: str = ""


def rows(modules: Sequence[Module], ceilings: dict[str, int]) -> list[Row]:
    """What reading the source shows."""
    return [
        Row(m.name, m.title, m.value(modules), ceilings.get(m.name), m.wanted) for m in MEASURES
    ]


def walk_rows(done: walk.Walk | str) -> list[Row]:
    """What running a command showed, or why it was left out."""
    title = "files that `run --wait -- true` crosses"
    if isinstance(done, str):
        return [Row("walk", title, None, wanted=walk.WANTED, note=f"left out: {done}")]
    return [
        Row("walk", title, len(done.all), wanted=walk.WANTED),
        Row("walk_client", "  in the client", len(done.client)),
        Row("walk_daemon", "  in the daemon", len(done.daemon)),
        Row("walk_idle", "    of these in its idle loop", len(done.idle)),
    ]


def table(lines: Iterable[Row]) -> Iterator[str]:
    """The rows for people."""
    yield f"{'':43}{'now':>7} {'ceiling':>8} {'wanted':>7}  --list"
    for row in lines:
        held = row.ceiling is not None
        ceiling = f"{row.ceiling}*" if held else ""
        wanted = "" if row.wanted is None else f"<= {row.wanted:g}" if row.wanted else "0"
        now = "-" if row.now is None else f"{row.now:g}" if row.now < 1000 else f"{row.now:.0f}"
        yield f"{row.title:43}{now:>7} {ceiling:>8} {wanted:>7}  {row.note or row.name}"


def as_json(lines: Iterable[Row]) -> str:
    """The rows for programs."""
    parts = ("now", "ceiling", "wanted")
    return json.dumps({r.name: {part: getattr(r, part) for part in parts} for r in lines}, indent=2)


def follow(python: str, idle_seconds: float) -> walk.Walk | str:
    """Run the command, or say why not."""
    if python == sys.executable and sys.version_info < walk.OLDEST:
        return "needs Python 3.12"
    try:
        return walk.walk(ROOT, python, idle_seconds)
    except walk.WalkError as error:
        return str(error)


def listed(name: str, options: argparse.Namespace) -> list[str]:
    """The places behind one number."""
    if name.startswith("walk"):
        done = follow(options.python, options.idle)
        if isinstance(done, str):
            sys.exit(f"walk was left out: {done}")
        part = name.removeprefix("walk").removeprefix("_") or "all"
        return sorted(getattr(done, part))
    measure = _measure(name)
    if measure.find is None:
        sys.exit(f"{name} is a number without places")
    return [str(place) for place in sorted(measure.find(read_modules(ROOT)))]


def _measure(name: str) -> Measure:
    return next(measure for measure in MEASURES if measure.name == name)


def _options(words: list[str]) -> argparse.Namespace:
    names = [m.name for m in MEASURES] + ["walk", "walk_client", "walk_daemon", "walk_idle"]
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("--list", choices=names, metavar="NAME", help="the places of one measure")
    parser.add_argument("--json", action="store_true", help="the numbers for programs")
    parser.add_argument("--lower", action="store_true", help="take the ceilings down to what is")
    parser.add_argument("--no-walk", action="store_true", help="start no daemon")
    parser.add_argument(
        "--python", default=sys.executable, metavar="FILE",
        help="follows the command; 3.12 or newer, with what Hostler needs",
    )  # fmt: skip
    parser.add_argument(
        "--idle", type=float, default=walk.IDLE_SECONDS, metavar="SECONDS",
        help="how long the idle loop is watched",
    )  # fmt: skip
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    """Measure, and print."""
    options = _options(words)
    if options.list:
        print(*listed(options.list, options), sep="\n")
        return
    text = FILE.read_text()
    found = rows(read_modules(ROOT), read_ceilings(text))
    if options.lower:
        FILE.write_text(lower(text, {row.name: row.now or 0 for row in found}))
        return
    if not options.no_walk:
        found = walk_rows(follow(options.python, options.idle)) + found
    print(as_json(found) if options.json else "\n".join(table(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
