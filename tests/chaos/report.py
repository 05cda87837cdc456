"""The table of promises and what was measured of them, from recorded histories and figures.

    python -m tests.chaos.report FOLDER [docs/track-record.md]

Printed, and written between the markers of the page that is named. Figures are those that `make
bench`, `make fuzz` and tests append to the folder where HOSTLER_CHAOS_KEEP names it (figures.py).
What nobody measured is told as that.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checker import CUTS, check
from tests.chaos.figures import NAME, TARGETS, by_promise
from tests.chaos.figures import read as read_figures
from tests.chaos.history import AttemptEnd, Fault, Final, History, read

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NOT_MEASURED = "not measured"
_KILLS = ("kill daemon", "power of")
"""Faults after which the daemon is another one."""
LOST = ("host lost", "vanished")
"""Causes that say that work was given up, or gone."""


@dataclass(frozen=True, slots=True)
class Row:
    """A promise, what is aimed at, and what the histories say."""

    promise: str
    target: str
    measured: str


def rows(histories: Sequence[History]) -> list[Row]:
    """Every promise that histories can speak of."""
    broken = [violation.invariant for history in histories for violation in check(history)]
    seconds = sum(_length(history) for history in histories)
    told = {c.run_id for h in histories for c in h.calls if c.what == "submit" and c.run_id}
    kills = _named(histories, "kill daemon")
    grants = sum(len(history.grants) for history in histories)
    finals = [history.final for history in histories if history.final is not None]
    return [
        Row("double grants under all faults", "0 in 10,000 placements and 24 h",
            f"{broken.count('I1')} in {grants:,} placements and {seconds / 3600:.2f} h"),
        Row("acknowledged runs lost by kill -9", "0 of 500 kills",
            f"{broken.count('I2')} of {len(told):,} runs in {len(kills)} kills"),
        Row("orphans after recovery", "0, within 10 s",
            f"{broken.count('I3')} in {len(finals)} recoveries"),
        Row("stages run twice", "0", f"{broken.count('I5')} of "
            f"{sum(len(final.attempts) for final in finals):,} attempts"),
        Row("what others run, touched", "0", f"{broken.count('I6')} of "
            f"{sum(len(final.canaries) for final in finals):,} canaries"),
        Row("exit codes wrong", "0", f"{broken.count('I8')} of "
            f"{sum(_exits(final) for final in finals):,}"),
        Row("hosts called up, free or down wrongly", "0",
            f"{broken.count('I4')} in {sum(len(h.samples) for h in histories):,} looks"),
        Row("daemon restart to true view of 3 hosts", "≤ 5 s", _spread(_recoveries(histories))),
        Row("silent host shown as unreachable", "≤ 10 s", _spread(_delays(histories, "noticed"))),
        Row("healed host shown as up", "≤ 5 s", _spread(_delays(histories, "back"))),
        Row("stages lost that ran on a host while it was cut", "0", _survival(histories)),
    ]  # fmt: skip


def figure_rows(figures: Mapping[str, str]) -> list[Row]:
    """Every promise of which figures tell, measured or not."""
    return [
        Row(promise, target, figures.get(promise, NOT_MEASURED))
        for promise, target in TARGETS.items()
    ]


def _exits(final: Final) -> int:
    """How many ends the runtime or a stage itself told."""
    return len(final.exits) + sum(line.exit_code is not None for line in final.told)


def _survival(histories: Iterable[History]) -> str:
    """Of attempts that had started before a cut began, and whose end came after that."""
    through: set[str] = set()
    lost: set[str] = set()
    longest = 0.0
    for history in histories:
        attempts = history.final.attempts if history.final is not None else ()
        for fault in history.faults:
            if fault.name.split()[0] != "cut" or fault.ended_at is None:
                continue
            ran = [a for a in attempts if a.host == fault.host and _ran_at(a, fault.begun_at)]
            if ran:
                longest = max(longest, fault.ended_at - fault.begun_at)
            through |= {a.attempt_id for a in ran}
            lost |= {a.attempt_id for a in ran if a.phase == "lost" or a.cause in LOST}
    if not through:
        return NOT_MEASURED
    return f"{len(lost)} of {len(through):,}, the longest cut {longest:.0f} s"


def _ran_at(attempt: AttemptEnd, at: float) -> bool:
    launched, finished = attempt.launched_at, attempt.finished_at
    return launched is not None and launched < at and (finished is None or finished > at)


def _length(history: History) -> float:
    times = [c.begun_at for c in history.calls] + [s.at for s in history.samples]
    end = history.final.at if history.final is not None else max(times, default=0.0)
    return end - min(times, default=end)


def _named(histories: Iterable[History], begin: str) -> list[Fault]:
    return [fault for h in histories for fault in h.faults if fault.name.startswith(begin)]


def _recoveries(histories: Iterable[History]) -> Iterator[float]:
    """Of daemons that were killed; other waits for all hosts are none."""
    for history in histories:
        killed = [f.begun_at for f in history.faults if f.name.startswith(_KILLS)]
        before = 0.0
        for call in history.calls:
            if call.what == "recover":
                if any(before <= at <= call.ended_at for at in killed):
                    yield call.ended_at - call.begun_at
                before = call.ended_at


def _delays(histories: Iterable[History], what: str) -> Iterator[float]:
    """From a fault's begin, or its end, to the first sample that shows it; samples are 1 s apart,
    and more where the machine is busy."""
    for history in histories:
        for fault in history.faults:
            if fault.name.split()[0] in CUTS and fault.ended_at is not None:
                yield from _delay(history, fault, what)


def _delay(history: History, fault: Fault, what: str) -> Iterator[float]:
    assert fault.ended_at is not None
    seen = sorted((s.at, s.conditions.get(fault.host)) for s in history.samples)
    lost = [at for at, said in seen if said != "up" and fault.begun_at < at < fault.ended_at]
    if not lost:
        return  # over before anybody noticed
    if what == "noticed":
        yield lost[0] - fault.begun_at
        return
    up = [at for at, said in seen if at > fault.ended_at and said == "up"]
    yield from (at - fault.ended_at for at in up[:1])


def _spread(values: Iterable[float]) -> str:
    found = sorted(values)
    if not found:
        return NOT_MEASURED
    return f"median {statistics.median(found):.1f} s, worst {found[-1]:.1f} s of {len(found)}"


def faults_line(histories: Sequence[History]) -> str:
    """How many faults of each kind there were."""
    counts: dict[str, int] = {}
    for history in histories:
        for fault in history.faults:
            name = " ".join(fault.name.split()[:2])
            counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))


def table(histories: Sequence[History], figures: Mapping[str, str]) -> str:
    """The table as Markdown."""
    lines = ["| promise | target | measured |", "| --- | --- | --- |"]
    for row in (*rows(histories), *figure_rows(figures)):
        lines.append(f"| {row.promise} | {row.target} | {row.measured.replace('|', '/')} |")
    day = time.strftime("%Y-%m-%d", time.localtime(max(_ends(histories), default=0.0)))
    source = (
        f"From {len(histories)} histories, the last of {day}. Faults: {faults_line(histories)}."
    )
    return "\n".join([*lines, "", source])


def _ends(histories: Iterable[History]) -> Iterator[float]:
    return (history.final.at for history in histories if history.final is not None)


def write_between(page: Path, text: str) -> None:
    """Replace what stands between the markers of a page."""
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(argv: list[str]) -> int:
    """Print the table, and write it where a page is named; 1 without histories."""
    files = [f for f in sorted(Path(argv[0]).glob("*.jsonl")) if f.name != NAME] if argv else []
    if not files:
        print("no histories: run make chaos first", file=sys.stderr)
        return 1
    text = table([read(file) for file in files], by_promise(read_figures(Path(argv[0]))))
    print(text)
    if argv[1:]:
        write_between(Path(argv[1]), text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
