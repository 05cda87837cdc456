"""Columns and rows of the fleet screen: GPU cells with memory in percent, equal neighbours as
one row, power and memory texts. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

from hostler.base.text import clean
from hostler.base.units import GIB
from hostler.model.views.gpus import FleetView, GpuView, HostGpus
from hostler.show.fleet import is_stale, letter
from hostler.show.gpus import owners_text
from hostler_tui.fleet.order import Block, Group, indices_text, model_of
from hostler_tui.format import age_text, gib_text, percent_text
from hostler_tui.gpus.detail import Pick, use_text
from hostler_tui.gpus.holders import Holders
from hostler_tui.lines import Line, Span
from hostler_tui.table_rows import Cells, Head, Late, Row

_CELL = 4
"""Cells of a GPU in a host's row, with the gap."""
_BESIDE_CELLS = 45
"""The least width of the other columns of a host's row."""


def pick_of(key: str | None) -> Pick | None:
    """The host and GPU of a row's key."""
    if key is None or key.count("\t") != 2:
        return None
    _, host, index = key.split("\t")
    return host, int(index) if index else None


def host_of(key: str) -> str:
    """The host of a row, by the row's key."""
    pick = pick_of(key)
    return key if pick is None else pick[0]


def has_room_for_cells(most: int, width: int) -> bool:
    """Whether `most` GPUs fit with their memory, not only with their letter."""
    return width >= _BESIDE_CELLS + _CELL * most


def most_gpus(fleet: FleetView | None) -> int:
    """The most GPUs of one host: the width of the columns, whatever the filter."""
    return max((len(host["gpus"]) for host in fleet["hosts"]), default=1) if fleet else 1


def host_heads(fleet: FleetView | None, width: int) -> tuple[Head, ...]:
    """The columns of hosts' rows."""
    most = max(1, most_gpus(fleet))
    wide = has_room_for_cells(most, width)
    names = [str(host["host"]) for host in fleet["hosts"]] if fleet else []
    title = "".join(f"{n:>2}  " for n in range(most)).rstrip() if wide else "GPUS"
    name = max((len(clean(name)) + 1 for name in names), default=4)
    return (
        Head("HOST", max(6, min(16, name))), Head("MODEL", 9, drop=3),
        Head(title, _CELL * most - 1 if wide else max(4, most)), Head("FREE", 5, right=True),
        Head("OWNERS", 14, flex=True, drop=2) if width >= 60 else Head("OWNERS", 5, True, drop=5),
        Head("POWER", 6, right=True, drop=5),
        Head("UTIL", 5, right=True, drop=6), Head("AGE", 5, right=True, drop=4),
    )  # fmt: skip


def host_rows(
    groups: Sequence[Group], fleet: FleetView, width: int, chosen: Pick | None = None
) -> list[Row]:
    """One row per host; the selected GPU is highlighted in it."""
    wide = has_room_for_cells(most_gpus(fleet), width)
    rows = []
    for group in groups:
        rows += _heading(group)
        for block in group.blocks:
            here = chosen[1] if chosen is not None and chosen[0] == block.name else None
            rows.append(_host_row(group, block, float(fleet["at"]), wide, here))
    return rows


def _heading(group: Group) -> list[Row]:
    if not group.title:
        return []
    text = f"-- {group.title} --"
    return [Row(f"{group.key}\t", (((text, "title"),),), selectable=False, whole=True)]


def _host_row(group: Group, block: Block, at: float, wide: bool, chosen: int | None) -> Row:
    stale = is_stale(block.host)
    cells = Late(partial(_host_cells, block, at, wide, chosen, stale))
    return Row(f"{group.key}\t{block.name}\t", cells, "dim" if stale else "")


def _host_cells(block: Block, at: float, wide: bool, chosen: int | None, stale: bool) -> Cells:
    host = block.host
    return (
        f"{block.name}~" if stale else block.name,
        model_of(block),
        _gpu_cells(block, wide, chosen),
        _free_text(block),
        owners_text({**host, "gpus": [*block.gpus]}, at),
        _sum_text([gpu.get("power") for gpu in block.gpus]),
        percent_text(_mean([gpu.get("utilization") for gpu in block.gpus])),
        age_text(host.get("age_s")),
    )


def _free_text(block: Block) -> str:
    states = [gpu["state"] for gpu in block.gpus]
    if not states:
        return "-"
    return free_text(states)


def free_text(states: Sequence[str]) -> str:
    """ "2/4"; "?/4" if none is known to be free, and an unknown one might be."""
    free = states.count("free")
    return f"{'?' if not free and 'unknown' in states else free}/{len(states)}"


def _gpu_cells(block: Block, wide: bool, chosen: int | None) -> Line:
    shown = {gpu["index"] for gpu in block.gpus}
    spans: list[Span] = []
    for gpu in block.host["gpus"]:
        text = gpu_cell(gpu, wide) if gpu["index"] in shown else ("   " if wide else " ")
        role = "bar" if gpu["index"] == chosen else str(gpu["state"])
        spans.append((text, role))
        if wide:
            spans.append((" ", ""))
    return tuple(spans) or (("-", ""), ("", ""), ("", ""))


def gpu_cell(gpu: GpuView, wide: bool) -> str:
    """ "L74": the letter, and the percentage of its used memory if it is in use."""
    mark = letter(str(gpu["state"]))
    if not wide:
        return mark
    if gpu["state"] in ("free", "drained", "unknown"):
        return f" {mark} "
    part = memory_part(gpu)
    return f"{mark}--" if part is None else f"{mark}{min(99, round(100 * part)):02d}"


def memory_part(gpu: GpuView) -> float | None:
    """The used part of its memory, 0 to 1."""
    total, used = gpu.get("memory_total"), gpu.get("memory_used")
    return used / total if total and used is not None else None


GPU_HEADS = (
    Head("GPU", 7), Head("STATE", 11), Head("OWNER", 9, drop=3),
    Head("RUN / PROCESS", 10, flex=True, drop=1), Head("UTIL", 14, drop=2),
    Head("MEMORY GiB", 19, drop=4), Head("TEMP", 4, right=True, drop=6),
    Head("POWER", 5, right=True, drop=7), Head("SINCE", 6, right=True, drop=5),
)  # fmt: skip
"""The columns of GPUs' rows."""


def gpu_rows(groups: Sequence[Group], fleet: FleetView, held: Holders) -> list[Row]:
    """Below a row for each host, one for each of its GPUs; equal neighbours share one.

    What stands in them is made when it is looked at: most of a lab is out of sight.
    """
    at, rows = float(fleet["at"]), []
    for group in groups:
        rows += _heading(group)
        for block in group.blocks:
            stale = is_stale(block.host)
            rows.append(_host_heading(group, block, at, stale))
            for gpus in folded(block, held):
                rows.append(_gpu_row(group, block, gpus, held, at, stale))
    return rows


def _host_heading(group: Group, block: Block, at: float, stale: bool) -> Row:
    key, role = f"{group.key}\t{block.name}\t", "dim" if stale else ""
    return Row(key, Late(partial(_heading_cells, group, block, at, stale)), role, whole=True)


def _heading_cells(group: Group, block: Block, at: float, stale: bool) -> Cells:
    host = block.host
    whole = block if group.key else Block(host, tuple(host["gpus"]))
    spans: Line = (
        (f"{block.name}{'~' if stale else ''}", "title"),
        (f"  {_free_text(whole)} free", ""),
        (f"  {model_of(block)}", "dim"),
        (f"  {_trouble(host, at)}", "warn"),
        (f"  {age_text(host.get('age_s'))}", "dim"),
    )
    return (spans,)


def _trouble(host: HostGpus, at: float) -> str:
    """The host's own problem, as in `hostler gpus`, without its GPUs' owners."""
    quiet: list[GpuView] = [{**gpu, "state": "free"} for gpu in host["gpus"]]
    said = owners_text({**host, "gpus": quiet}, at)
    return "" if said == "-" else said


def folded(block: Block, held: Holders) -> Iterator[list[GpuView]]:
    """Neighbours in the same state with the same run, or without a run."""
    name = block.name

    def alike(gpu: GpuView) -> tuple[object, ...]:
        return gpu["state"], tuple(gpu.get("owners") or ()), use_text(name, gpu, held)

    for _, gpus in itertools.groupby(block.gpus, key=alike):
        yield list(gpus)


def _gpu_row(
    group: Group, block: Block, gpus: Sequence[GpuView], held: Holders, at: float, stale: bool
) -> Row:
    key = f"{group.key}\t{block.name}\t{gpus[0]['index']}"
    return Row(key, Late(partial(_gpu_row_cells, block, gpus, held, at)), "dim" if stale else "")


def _gpu_row_cells(block: Block, gpus: Sequence[GpuView], held: Holders, at: float) -> Cells:
    first, state = gpus[0], str(gpus[0]["state"])
    owners = " ".join(map(str, first.get("owners") or ())) or ("?" if state == "foreign" else "-")
    since = first.get("since")
    return (
        " " + indices_text(tuple([gpu["index"] for gpu in gpus])),
        (f"{letter(state)} {state}", state),
        f"{owners}*" if state == "foreign" else owners,
        use_text(block.name, first, held),
        _util_cell(gpus, state),
        _memory_cell(gpus, state),
        _largest([gpu["temperature"] for gpu in gpus], "C"),
        _largest([gpu["power"] for gpu in gpus], "W"),
        "-" if since is None else age_text(at - since),
    )


_BARS = tuple("#" * filled + "." * (7 - filled) for filled in range(8))
"""Made once: hundreds of rows have one, redrawn every second."""


def _bar(part: float | None) -> str:
    return _BARS[0] if part is None else _BARS[max(0, min(7, round(part * 7)))]


def _util_cell(gpus: Sequence[GpuView], state: str) -> Line:
    known = _known([gpu["utilization"] for gpu in gpus])
    if not known:
        return ((_BARS[0], "dim"), ("     -", ""))
    low, high = round(min(known)), round(max(known))
    text = f"{high}%" if high - low < 10 else f"{low}-{high}%"
    return ((_bar(sum(known) / len(known) / 100), state), (f"{text:>7}", ""))


def _memory_cell(gpus: Sequence[GpuView], state: str) -> Line:
    known, total = _known([gpu["memory_used"] for gpu in gpus]), gpus[0].get("memory_total")
    used = sum(known) / len(known) if known else None
    text = "    -" if used is None else f"{used / GIB:5.1f}"
    part = used / total if total and used is not None else None
    return ((f"{text}/{gib_text(total):<5} ", ""), (_bar(part), state))


def _largest(values: Sequence[float | None], unit: str) -> str:
    """The largest of equal neighbours, since it is the most important."""
    known = _known(values)
    return f"{max(known):.0f}{unit}" if known else "-"


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return sum(known) / len(known) if known else None


def _sum_text(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return power_text(sum(known)) if known else "-"


def power_text(watts: float) -> str:
    """ "398W", "2.4kW"."""
    return f"{watts:.0f}W" if watts < 1000 else f"{watts / 1000:.1f}kW"
