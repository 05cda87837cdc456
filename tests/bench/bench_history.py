"""A history of 100,000 runs of nine stages: does any listing or search take longer than with 1,000?

    python -m tests.bench.bench_history [--small FOLDER --large FOLDER]

Makes both state folders (about 2 GB in /var/tmp, removed afterwards; or takes those that are named)
and starts a daemon on each. Times of the two are taken in turn, the best of several counts.

Bars: every command, and every call for a page of past runs, <= 2x the same with 1,000 runs; a call
that searches, without the command around it, <= 6x; a run takes <= 18,000 bytes of the database.
Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hostler.client import Client
from tests.bench.history_states import STAGES, bytes_of_tables, fill
from tests.bench.measure import BenchDesk
from tests.support.machines.desk import desk_folder

Work = Callable[[], object]

_SMALL, _LARGE = 1_000, 100_000
_TIMES = 7
_BAR = 2.0
_SEARCH_BAR = 6.0
_BYTES_BAR = 18_000.0
_RUNS = (
    "", "--limit 100", "--state failed", "--state cancelled", "--state open", "--pipeline audio",
    "--owner cleo", "--pipeline audio --owner cleo --state failed", "--since 365d",
    "--until 365d", "-p epochs=11", "-p lr>0.1", "-p lr>0.1 -p seed=3 --owner ana",
    "--metric val_acc>=0.5", "--metric val_acc>=0.999", "--metric val_acc>=0.5 --sort=-val_acc",
    "--metric val_acc>=0.5 --metric accuracy>=0.9 --sort=-val_acc", "--metric loss<0.2 --sort took",
    "--sort=-val_acc", "--sort accuracy", "--sort=-lr", "--sort took", "--sort=-took",
    "--sort gpu_hours", "--sort=-gpu_hours", "--sort=-energy", "--sort finished", "--sort state",
    "--sort pipeline", "--sort=-owner", "--text digits", "--text try-7", "--text no-such-word",
    "--text audio --sort=-accuracy",
)  # fmt: skip
"""Of `hostler runs`."""
_COMMANDS = (
    "show {0}", "show {0} --json", "compare {0} {1}", "why {0}", "events", "events --run {0}",
    "usage {0}/train.0", "alerts", "ps", "gc --dry-run",
)  # fmt: skip
_PAGES: tuple[dict[str, Any], ...] = (
    {}, {"offset": 300}, {"sort": "submitted"}, {"sort": "-submitted", "offset": 300},
    {"sort": "finished"}, {"sort": "-took"}, {"sort": "took"}, {"sort": "pipeline"},
    {"sort": "-pipeline"}, {"sort": "owner"}, {"sort": "state"}, {"sort": "-state"},
    {"sort": "-gpu_hours"}, {"sort": "energy"}, {"sort": "-val_acc"},
    {"sort": "val_acc", "offset": 300}, {"sort": "-lr"}, {"sort": "run"},
    {"state": "failed"}, {"owner": "cleo"},
)  # fmt: skip
"""What the screen of past runs asks for."""
_SEARCHES: tuple[dict[str, Any], ...] = (
    {"text": "digits"}, {"text": "main", "sort": "-took"}, {"text": "0.00"},
    {"state": "failed", "sort": "-gpu_hours"},
    {"owner": "cleo", "sort": "-accuracy", "metric": ["val_acc>0.5"]},
)  # fmt: skip
"""The same with conditions of which the numbers of all runs are read that hold them."""


def main() -> int:
    """Measure, print, and say by the exit code whether the bars held."""
    parser = argparse.ArgumentParser()
    for name in ("--small", "--large"):
        parser.add_argument(name, type=Path, help="a state folder that history_states has made")
    given = parser.parse_args()
    with ExitStack() as stack:
        small = stack.enter_context(_daemon(given.small, _SMALL))
        large = stack.enter_context(_daemon(given.large, _LARGE))
        held = [_bytes(large)]
        held += [_compare(*measure) for measure in _measures(small, large)]
    return int(not all(held))


@contextmanager
def _daemon(made: Path | None, count: int) -> Iterator[BenchDesk]:
    """A desk whose daemon has run so many pipelines before."""
    with desk_folder() as folder, tempfile.TemporaryDirectory(dir="/var/tmp") as other:
        state = made or Path(other) / "state"
        begun = time.time()
        if made is None:
            fill(state, count, begun)
            print(f"{count} runs made in {time.time() - begun:.0f} s", flush=True)
        desk = BenchDesk(folder)
        desk.config.write_text('[hosts.here]\ntransport = "local"\ncpus = 1\n')
        desk.state = state
        try:
            desk.ok("daemon", "start")
            yield desk
        finally:
            desk.close()


def _bytes(desk: BenchDesk) -> bool:
    sizes = bytes_of_tables(desk.state / "hostler.db")
    each = sum(sizes.values()) / _LARGE
    print(", ".join(f"{name} {size / _LARGE:.0f}" for name, size in list(sizes.items())[:12]))
    held = each <= _BYTES_BAR
    print(f"bytes of a run of {STAGES} stages: {each:.0f} (bar <= {_BYTES_BAR:g}) {_said(held)}")
    return held


def _measures(small: BenchDesk, large: BenchDesk) -> Iterator[tuple[str, float, Work, Work]]:
    commands = [f"runs {words}".strip() for words in _RUNS]
    clients = small.client(), large.client()
    for pages, bar in ((_PAGES, _BAR), (_SEARCHES, _SEARCH_BAR)):
        for page in pages:
            yield f"history {page}", bar, _asked(clients[0], page), _asked(clients[1], page)
    ids = [[str(run.run_id) for run in client.history(limit=9).runs] for client in clients]
    for line in (*commands, *_COMMANDS):
        yield line, _BAR, _run(small, line.format(*ids[0])), _run(large, line.format(*ids[1]))
    yield "daemon start", _BAR, _restarted(small), _restarted(large)


def _asked(client: Client, page: dict[str, Any]) -> Work:
    return lambda: client.history(**page)


def _run(desk: BenchDesk, line: str) -> Work:
    return lambda: desk.ok(*line.split())


def _restarted(desk: BenchDesk) -> Work:
    def restart() -> None:
        desk.ok("daemon", "stop")
        desk.ok("daemon", "start")

    return restart


def _compare(name: str, bar: float, small: Work, large: Work) -> bool:
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(_TIMES):
        for work, times in zip((small, large), taken, strict=True):
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
    few, many = min(taken[0]), min(taken[1])
    held = many <= bar * few
    print(
        f"{name:<64} {1e3 * few:>7.1f} ms {1e3 * many:>7.1f} ms {many / few:>6.2f}x"
        f" (bar <= {bar:g}) {_said(held)}",
        flush=True,
    )
    return held


def _said(held: bool) -> str:
    return "held" if held else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
