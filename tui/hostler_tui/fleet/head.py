"""The summary at the top of the fleet screen: counts by state, the largest request that fits now
(GPU counts tried), free GPUs of each model, the queue. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hostler.base.gpu_models import nominal_gib
from hostler.base.units import GIB
from hostler.model.views.gpus import FleetView
from hostler.model.views.history import FleetHistory
from hostler.model.views.runs import RunView
from hostler.show.fleet import LETTERS, is_stale, summarize
from hostler.show.need import CANNOT_TELL, YES, Answer, Need, answer
from hostler_tui.fleet.order import Order, model_text
from hostler_tui.fleet.rows import free_text, power_text
from hostler_tui.format import percent_text, sparkline
from hostler_tui.lines import Line, Span, cell_width, line

_SIZES_SHOWN = 4
_COUNTS = (1, 2, 4, 8)


def counts_line(fleet: FleetView, history: FleetHistory, width: int) -> Line:
    """The number of GPUs in each state; on wide screens the last hour."""
    spans = _counts(fleet, words=True)
    if _wide(spans) > width:
        spans = _counts(fleet, words=False)
    right = _hour(history)
    gap = width - _wide(spans) - _wide(right) - 1
    return (*spans, (" " * gap, ""), *right) if gap > 2 and right else tuple(spans)


def _wide(spans: Iterable[Span]) -> int:
    return sum(cell_width(text) for text, _ in spans)


def _counts(fleet: FleetView, *, words: bool) -> list[Span]:
    counts = summarize(fleet["hosts"])
    stale = sum(is_stale(host) for host in fleet["hosts"])
    spans: list[Span] = [(f" GPUs {counts['total']} ", "title")]
    for state, mark in LETTERS.items():
        number = counts.get(state, 0)
        if number or state == "free":
            spans += [(f"  {mark} {number}", state)]
            spans += [(f" {state}", "dim")] if words or state == "free" else []
    if stale:
        spans.append((f"  {stale} host{'' if stale == 1 else 's'} stale~", "warn"))
    return spans


def _hour(history: FleetHistory) -> Line:
    util, power = history.utilization, history.power
    last = next((value for value in reversed(util) if value is not None), None)
    watts = next((value for value in reversed(power) if value is not None), None)
    if last is None:
        return ()
    said = f" {percent_text(last)}" + ("" if watts is None else f"  power {power_text(watts)}")
    return (("util 1h ", "dim"), (sparkline(util, 20, 100.0), "accent"), (said, ""))


def still_key(fleet: FleetView) -> tuple[object, ...]:
    """The values on which `still_lines` depend: if they are equal, so are the lines."""
    return tuple(
        (
            h["host"], h["condition"], h.get("drained") is None,
            *[(g["state"], g["uuid"]) for g in h["gpus"]],
        )
        for h in fleet["hosts"]
    )  # fmt: skip


def still_lines(fleet: FleetView) -> tuple[Line, Line]:
    """The lab's totals now, and the free GPUs of each model, without values of single GPUs."""
    return fits_line(fleet), models_line(fleet)


def fits_line(fleet: FleetView) -> Line:
    """The most GPUs that one host can provide now, and the host; then the next larger number."""
    spans: list[Span] = [(" fits now:", "title")]
    most = 0
    for size in _sizes(fleet)[:_SIZES_SHOWN]:
        count, said = _fit(fleet, size)
        if count > most or not most:
            spans += said
        most = max(most, count)
    if len(spans) == 1:
        spans.append((" no GPUs are known yet", "dim"))
    return tuple(spans)


def _sizes(fleet: FleetView) -> list[int]:
    totals = {g.get("memory_total") for h in fleet["hosts"] for g in h["gpus"]}
    return sorted({size for total in totals if (size := nominal_gib(total))}, reverse=True)


def _fit(fleet: FleetView, size: int) -> tuple[int, list[Span]]:
    """The largest count with the answer yes, and the text about it and the next larger one."""
    spans: list[Span] = []
    count, where = _most(fleet, size)
    if count:
        spans += [(f"  {count}x{size}G yes ", "good"), (f"({where})", "dim")]
    larger = next((number for number in _COUNTS if number > count), None)
    if larger is not None:
        found = _answer(fleet, larger, size)
        if not found.hopeless:
            word = "cannot tell" if found.verdict == CANNOT_TELL else "no"
            spans.append((f"  {larger}x{size}G {word}", "warn"))
    return count, spans


def _most(fleet: FleetView, size: int) -> tuple[int, str]:
    """The most GPUs of this size that one host can give now, and the host: found by halving, since
    whoever can give many can give fewer."""
    least, most, where = 0, max(len(host["gpus"]) for host in fleet["hosts"]), ""
    while least < most:
        middle = (least + most + 1) // 2
        found = _answer(fleet, middle, size)
        if found.verdict == YES:
            least, where = middle, found.picks[0][0]
        else:
            most = middle - 1
    return least, where


def _answer(fleet: FleetView, count: int, size: int) -> Answer:
    return answer(fleet, Need(count, memory=size * GIB))


def models_line(fleet: FleetView) -> Line:
    """Free GPUs of each model."""
    states: dict[str, list[str]] = {}
    for host in fleet["hosts"]:
        for gpu in host["gpus"]:
            name = model_text(gpu.get("model"), gpu.get("memory_total"))
            states.setdefault(name, []).append(str(gpu["state"]))
    spans: list[Span] = [(" free:", "title")]
    for name in sorted(states):
        text = free_text(states[name])
        spans += [(f"  {name} ", ""), (text, "dim" if text[0] in "0?" else "good")]
    return tuple(spans)


def queue_text(runs: Iterable[RunView]) -> str:
    """ "queue: 3 runs want 9 GPUs", from the stages that could start now and wait for free GPUs."""
    waiting, gpus = 0, 0
    for run in runs:
        wants = [s.gpus for s in run.stages if s.reason is not None]
        waiting += bool(wants)
        gpus += sum(wants)
    noun = "run wants" if waiting == 1 else "runs want"
    return f"queue: {waiting} {noun} {gpus} GPUs" if waiting else "queue: nothing is pending"


def view_line(order: Order, shown: int, total: int, queue: str, per_gpu: bool) -> Line:
    """The queue, and the list's filter, order and grouping."""
    spans: list[Span] = []
    if order.filter:
        spans += [(" / ", "key"), (order.filter.text, "accent"), (f" {shown} of {total}  ", "dim")]
    spans.append((f" {queue}", ""))
    if order.sort != "lab" or order.down:
        spans += [("   sort ", "dim"), (order.sort + (" (reversed)" if order.down else ""), "")]
    if order.group != "host":
        spans += [("   group ", "dim"), (order.group, "")]
    if per_gpu:
        spans.append(("   one row per GPU (x folds)", "dim"))
    return tuple(spans)


def head_lines(
    fleet: FleetView, still: tuple[Line, ...], history: FleetHistory, view: Line, width: int,
    height: int, *, filtered: bool = False,
) -> tuple[Line, ...]:  # fmt: skip
    """As many lines as fit the height; a filter is always shown."""
    lines = [counts_line(fleet, history, width), *still[: 2 if height >= 20 else 1]]
    return (*lines, view) if height >= 16 or filtered else tuple(lines)


def empty_lines() -> Sequence[Line]:
    """A lab without hosts: the next steps."""
    return (
        line(("  No hosts yet.", "title")),
        line("    hostler init              choose hosts from your SSH configuration"),
        line("    hostler doctor            check ssh, docker, NVML"),
        line("    hostler demo              look around in a simulated lab"),
    )
