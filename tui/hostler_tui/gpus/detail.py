"""Details of the selected host or GPU, in a strip below the list or a pane beside it: charts of
the last hour, processes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hostler.base.gpu_models import short_model
from hostler.base.units import format_size
from hostler.model.hosts import GpuProcess
from hostler.model.views.gpus import FleetView, GpuView, HostGpus
from hostler.model.views.history import GpuColumns, HostHistory
from hostler.model.views.hosts import HostView
from hostler.show.fleet import is_stale, letter
from hostler.show.gpus import owners_text
from hostler_tui.format import age_text, gib_text, percent_text, sparkline
from hostler_tui.gpus.holders import Holders
from hostler_tui.lines import Line, line

Pick = tuple[str, int | None]
"""A host, and one of its GPUs."""


@dataclass(frozen=True, slots=True)
class Detail:
    """Data of one host: the daemon's host object, and its last hour."""

    name: str = ""
    host: HostView | None = None
    hour: HostHistory = field(default_factory=HostHistory)
    at: float = 0.0
    """Wall clock, s."""

    def of_gpu(self, uuid: str) -> GpuColumns:
        """A GPU's values over the last hour, the oldest first."""
        return self.hour.gpus.get(uuid) or GpuColumns()

    def processes(self, uuid: str) -> Sequence[GpuProcess]:
        """The processes on a GPU at the last look."""
        look = self.host.look if self.host else None
        return next((gpu.processes for gpu in look.gpus if gpu.uuid == uuid), ()) if look else ()


def find(fleet: FleetView, pick: Pick | None) -> tuple[HostGpus | None, GpuView | None]:
    """The selected host and GPU, if they still exist."""
    for host in fleet["hosts"] if pick is not None else ():
        if pick is not None and host["host"] == pick[0]:
            gpus = [gpu for gpu in host["gpus"] if gpu["index"] == pick[1]]
            return host, gpus[0] if gpus else None
    return None, None


def strip_lines(
    host: HostGpus, gpu: GpuView | None, held: Holders, at: float, detail: Detail
) -> tuple[Line, ...]:
    """Three lines for the bottom of small screens."""
    if gpu is None:
        return _host_strip(host, at)
    return (_title(host, gpu, held, at), _numbers(gpu, detail), _because(host, gpu, held))


def _host_strip(host: HostGpus, at: float) -> tuple[Line, ...]:
    name = str(host["host"])
    where = "" if host["transport"] == "ssh" else f" ({host['transport']})"
    return (
        line((f" {name}{where}", "title"), f"  {host['condition']}  ", owners_text(host, at)),
        line((f"   {host.get('problem') or 'enter opens it; left and right go over its GPUs'}",
              "warn" if host.get("problem") else "dim")),
    )  # fmt: skip


def _title(host: HostGpus, gpu: GpuView, held: Holders, at: float) -> Line:
    state, since = str(gpu["state"]), gpu.get("since")
    owners = " ".join(map(str, gpu.get("owners") or ()))
    name = short_model(gpu.get("model"), gpu.get("memory_total"))
    lasts = "" if since is None else f"  for {age_text(at - since)}"
    old = f"  values are {age_text(host.get('age_s'))} old~" if is_stale(host) else ""
    return line(
        (f" {host['host']}:{gpu['index']}", "title"),
        f"  {name}  ",
        (f"{letter(state)} {state}", state),
        f"  {owners}{lasts}",
        (old, "warn"),
    )


def _numbers(gpu: GpuView, detail: Detail) -> Line:
    util = detail.of_gpu(gpu["uuid"]).utilization
    hour = sparkline(util, 20, 100.0) if util else ""
    return line(
        f"   util {percent_text(gpu.get('utilization')):>4} ",
        (hour, "accent"),
        f"  mem {_memory_text(gpu)}  {_one(gpu['temperature'], 'C')}  {_one(gpu['power'], 'W')}",
    )


def _because(host: HostGpus, gpu: GpuView, held: Holders) -> Line:
    return line("   ", use_text(str(host["host"]), gpu, held), ("  ", ""), _why(host, gpu, held))


def _why(host: HostGpus, gpu: GpuView, held: Holders) -> tuple[str, str]:
    """The daemon's note about it, if the run does not say everything."""
    run = held.get((str(host["host"]), str(gpu["uuid"])))
    return (str(gpu.get("why") or "") if run else "", "dim")


def _memory_text(gpu: GpuView) -> str:
    return f"{gib_text(gpu.get('memory_used'))}/{gib_text(gpu.get('memory_total'))} GiB"


def _one(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f}{unit}"


def panel_lines(
    host: HostGpus, gpu: GpuView | None, held: Holders, at: float, detail: Detail, width: int
) -> tuple[Line, ...]:
    """The pane beside the list on wide screens."""
    if gpu is None:
        return (
            *_host_strip(host, at),
            line(""),
            *_machine(detail),
            *_all_gpus(host, detail, width),
        )
    uuid = str(gpu["uuid"])
    return (
        _title(host, gpu, held, at),
        line((f"   {uuid}", "dim")),
        _because(host, gpu, held),
        line(""),
        *hour_lines(gpu, detail, width),
        line(""),
        line((" PROCESSES", "title")),
        *(process_lines(detail.processes(uuid)) or [line(("   none", "dim"))]),
    )


def _machine(detail: Detail) -> Iterable[Line]:
    host = detail.host
    if host is None or host.look is None:
        return ()
    facts, machine = host.facts, host.look.machine
    load, free, total = machine.load1, machine.memory_available, machine.memory_total
    return (
        line(f"   load {'-' if load is None else f'{load:.1f}'} on {facts.cpus or '?'} CPUs"),
        line(f"   RAM  {format_size(free)} of {format_size(total)} available"),
        line(f"   drv  {facts.driver or '-'}  docker {facts.docker or '-'}"),
        line(""),
    )


def _all_gpus(host: HostGpus, detail: Detail, width: int) -> Iterable[Line]:
    """The utilization of each GPU over the last hour."""
    for gpu in host["gpus"]:
        util = detail.of_gpu(gpu["uuid"]).utilization
        chart = sparkline(util, max(8, width - 22), 100.0)
        now = percent_text(gpu.get("utilization"))
        state = str(gpu["state"])
        yield line((f"   :{gpu['index']:<2} {letter(state)} ", state), f"{now:>4} ", (chart, state))


def hour_lines(gpu: GpuView, detail: Detail, width: int) -> Iterable[Line]:
    """The last hour of a GPU: utilization, memory, temperature, power; each its value and chart."""
    hour = detail.of_gpu(gpu["uuid"])
    rows: tuple[tuple[str, Sequence[float | None], str, float | None], ...] = (
        ("util", hour.utilization, _one(gpu["utilization"], "%"), 100.0),
        ("mem", hour.memory_used, gib_text(gpu["memory_used"]) + "G", gpu["memory_total"]),
        ("temp", hour.temperature, _one(gpu["temperature"], "C"), 100.0),
        ("power", hour.power, _one(gpu["power"], "W"), None),
    )
    for title, series, shown, full in rows:
        chart = sparkline(series, max(8, width - 18), full) if series else ""
        yield line((f"   {title:<6}", "dim"), f"{shown:>7} ", (chart, "accent"))


def process_lines(processes: Sequence[GpuProcess]) -> list[Line]:
    """One line per process: PID, user, memory, command."""
    return [
        line(
            f"   {process.pid:<8}{process.user or '?':<9}{gib_text(process.memory):>5}G  ",
            process.command or "-",
            ("" if process.exists else "  (gone, still holds memory)", "warn"),
        )
        for process in processes
    ]


def use_text(host: str, gpu: GpuView, held: Holders) -> str:
    """The run and stage that hold it, else the daemon's note about it."""
    return held.get((host, str(gpu["uuid"]))) or str(gpu.get("why") or "-")
