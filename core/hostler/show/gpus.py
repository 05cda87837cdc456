"""The table of `hostler gpus`: columns, colours, owners, the star of use without a lease, the
summary line, and the output forms of -o. Pure."""

from __future__ import annotations

import json

from hostler.base.gpu_models import short_model
from hostler.base.table import Column, render_table, render_tsv, style
from hostler.base.text import clean
from hostler.base.units import format_age, format_duration, format_size
from hostler.show.fleet import is_stale, letter
from hostler.show.need import free_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostler.model.views.gpus import FleetView, GpuView, HostGpus

_STYLES = {
    ".": "green", "i": "cyan", "F": "yellow", "C": "magenta", "D": "dim", "E": "red", "?": "dim",
}  # fmt: skip


SIMULATED = "sim"
"""The transport of hosts that do not exist."""


def is_simulated(fleet: FleetView) -> bool:
    """Whether any host is simulated."""
    return any(host.get("transport") == SIMULATED for host in fleet["hosts"])


def paint_letters(text: str) -> str:
    """State letters, each in the colour of its state."""
    return "".join(style(c, _STYLES[c]) if c in _STYLES else c for c in text)


def paint_state(text: str) -> str:
    """A state's word in the colour of the state."""
    name = _STYLES.get(letter(text.strip())) if text.strip() else None
    return style(text, name) if name else text


HOST_COLUMNS = (
    Column("HOST", flex=True, least=10),
    Column("MODEL", flex=True, least=9),
    Column("GPUS", paint=paint_letters, flex=True, least=8),
    Column("FREE", right=True),
    Column("FREE MEM", flex=True, least=8),
    Column("OWNERS", flex=True, least=12),
    Column("AGE", right=True),
)

GPU_COLUMNS = (
    Column("HOST", flex=True, least=10),
    Column("GPU", right=True),
    Column("MODEL", flex=True, least=9),
    Column("STATE", paint=paint_state),
    Column("USED", right=True),
    Column("MEMORY", right=True),
    Column("UTIL", right=True),
    Column("TEMP", right=True),
    Column("POWER", right=True),
    Column("OWNERS", flex=True, least=10),
    Column("SINCE", right=True),
    Column("WHY", flex=True, least=12),
)


def host_rows(fleet: FleetView) -> list[list[str]]:
    """One row a host, in the order of the fleet."""
    return [_host_row(host, float(fleet["at"])) for host in fleet["hosts"]]


def _host_row(host: HostGpus, at: float) -> list[str]:
    gpus = host["gpus"]
    states = [gpu["state"] for gpu in gpus]
    free = [gpu for gpu in gpus if gpu["state"] == "free"]
    known = any(state != "unknown" for state in states)
    mark = "SIM " if host.get("transport") == SIMULATED else ""
    count = f"{len(free)}/{len(gpus)}" if known else f"?/{len(gpus)}"
    return [
        f"{host['host']}~" if is_stale(host) else str(host["host"]),
        _models(gpus),
        "".join(map(letter, states)) or "-",
        count if gpus else "-",
        _free_memory(free),
        mark + owners_text(host, at),
        _age(host),
    ]


def _models(gpus: Sequence[GpuView]) -> str:
    names: list[str] = []
    for gpu in gpus:
        name = short_model(gpu.get("model"), gpu.get("memory_total"))
        if name not in names:
            names.append(name)
    return ",".join(names) or "-"


def _free_memory(free: Sequence[GpuView]) -> str:
    sizes: dict[str, int] = {}
    for gpu in free:
        text = format_size(free_memory(gpu)).replace(" ", "")
        sizes[text] = sizes.get(text, 0) + 1
    if len(sizes) > 2:
        known = [size for gpu in free if (size := free_memory(gpu)) is not None]
        return f"{len(free)} x >={format_size(min(known)).replace(' ', '')}" if known else "-"
    return ", ".join(f"{count} x {text}" for text, count in sizes.items()) or "-"


def _age(host: HostGpus) -> str:
    age = host.get("age_s")
    return "-" if age is None else format_duration(max(0, round(age)))


def owners_text(host: HostGpus, at: float) -> str:
    """Who uses the host and what is wrong with it, the most important first.

    A `*` marks use without a lease.
    """
    notes = []
    if host.get("drained") is not None:
        notes.append(f"drained: {host['drained']}" if host["drained"] else "drained")
    if host.get("condition") != "up":
        notes.append(_trouble(host))
    elif host.get("problem"):
        notes.append(str(host["problem"]))
    elif not host["gpus"]:
        notes.append("no GPUs")
    elif is_stale(host):
        notes.append("stale")
    notes += _owners(host["gpus"], at)
    notes += [
        f":{gpu['index']} {gpu.get('why') or 'unhealthy'}"
        for gpu in host["gpus"]
        if gpu["state"] == "unhealthy"
    ]
    return " ".join(notes) or "-"


def _trouble(host: HostGpus) -> str:
    condition = str(host.get("condition", "unknown"))
    problem = host.get("problem")
    return f"{condition}: {problem}" if problem else condition


def _owners(gpus: Sequence[GpuView], at: float) -> list[str]:
    """Each owner once, with the properties of their use: idle since, no lease, contested."""
    marks: dict[str, str] = {}
    for gpu in gpus:
        state = gpu["state"]
        if state not in ("leased", "idle", "foreign", "contested"):
            continue
        names = [str(owner) for owner in gpu.get("owners") or ()] or ["?"]
        for name in names:
            mark = _mark(gpu, at)
            # Of several GPUs, what is remarkable wins over plain use.
            marks[name] = mark or marks.get(name, "")
    return [f"{name}{mark}" for name, mark in marks.items()]


def _mark(gpu: GpuView, at: float) -> str:
    state = gpu["state"]
    if state == "foreign":
        return "*"
    if state == "contested":
        return "(contested)"
    if state == "idle":
        since = gpu.get("since")
        return " (idle)" if since is None else f" (idle {format_age(at - since)})"
    return ""


def gpu_rows(fleet: FleetView) -> list[list[str]]:
    """One row per GPU; a host without GPUs has one row with its problem."""
    at = float(fleet["at"])
    rows = []
    for host in fleet["hosts"]:
        name = f"{host['host']}~" if is_stale(host) else str(host["host"])
        if not host["gpus"]:
            rows.append([name, "-", "-", "-", *["-"] * 7, owners_text(host, at)])
        rows += [[name, *_gpu_row(gpu, at)] for gpu in host["gpus"]]
    return rows


def _gpu_row(gpu: GpuView, at: float) -> list[str]:
    since = gpu.get("since")
    return [
        str(gpu["index"]),
        short_model(gpu.get("model"), gpu.get("memory_total")),
        str(gpu["state"]),
        format_size(gpu.get("memory_used")),
        format_size(gpu.get("memory_total")),
        _number(gpu.get("utilization"), "%"),
        _number(gpu.get("temperature"), "C"),
        _number(gpu.get("power"), "W"),
        " ".join(str(owner) for owner in gpu.get("owners") or ()) or "-",
        "-" if since is None else format_age(at - since),
        str(gpu.get("why") or "-"),
    ]


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f}{unit}"


def id_rows(fleet: FleetView) -> list[str]:
    """A line per host that has free GPUs: its name and their indices, for scripts."""
    lines = []
    for host in fleet["hosts"]:
        free = [str(gpu["index"]) for gpu in host["gpus"] if gpu["state"] == "free"]
        if free:
            lines.append(f"{clean(str(host['host']))} {','.join(free)}")
    return lines


def summary_line(fleet: FleetView) -> str:
    """ "3 of 8 free on 2 hosts; 1 host stale", and the legend of the star if it is used."""
    hosts = fleet["hosts"]
    heard = sum(1 for host in hosts if not is_stale(host))
    free, total = fleet["summary"]["free"], fleet["summary"]["total"]
    count = f"{free} of {total} free" if total else "no GPUs"
    mark = "SIM: " if is_simulated(fleet) else ""
    parts = [f"{mark}{count} on {heard} host{'' if heard == 1 else 's'}"]
    stale = len(hosts) - heard
    if stale:
        parts.append(f"{stale} host{'' if stale == 1 else 's'} stale")
    if any(gpu["state"] == "foreign" for host in hosts for gpu in host["gpus"]):
        parts.append("* = without a lease")
    return "; ".join(parts)


def render(fleet: FleetView, form: str, *, terminal: bool, width: int | None, color: bool) -> str:
    """The fleet in a form of `-o`: "table", "wide", "tsv", "ids", "json" or "jsonl"."""
    if form == "json":
        return json.dumps(fleet, separators=(",", ":")) + "\n"
    if form == "jsonl":
        return "".join(json.dumps(host, separators=(",", ":")) + "\n" for host in fleet["hosts"])
    if form == "ids":
        return "".join(line + "\n" for line in id_rows(fleet))
    wide = form == "wide"
    rows = gpu_rows(fleet) if wide else host_rows(fleet)
    if form == "tsv" or not terminal:
        return render_tsv(rows)
    columns = GPU_COLUMNS if wide else HOST_COLUMNS
    table = render_table(columns, rows, width=width, color=color)
    return f"{table}{clean(summary_line(fleet))}\n"
