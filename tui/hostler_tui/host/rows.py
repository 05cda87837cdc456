"""Rows of the host screen: GPUs with their last hour, processes, containers, leases, disks, and
the findings of the check. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostler.base.gpu_models import short_model
from hostler.base.units import format_age, format_size
from hostler.model.check import Check
from hostler.model.hosts import Disk, HostFacts, Lease, Look, Machine
from hostler.model.views.gpus import GpuView, HostGpus
from hostler.show.fleet import is_stale, letter
from hostler.show.hosts import host_note
from hostler_tui.format import age_text, gib_text, percent_text, sparkline
from hostler_tui.gpus.detail import Detail, hour_lines, process_lines, use_text
from hostler_tui.gpus.holders import Holders, older
from hostler_tui.lines import Line, Span, line
from hostler_tui.table_rows import Head, Row


def heads(width: int) -> tuple[Head, ...]:
    """Columns of the GPUs; charts share the remaining width."""
    chart = max(8, min(30, (width - 84) // 2))
    return (
        Head("GPU", 3, right=True), Head("STATE", 11), Head("OWNER", 8, drop=3),
        Head("RUN / PROCESS", 10, flex=True, drop=5), Head("UTIL", 5, right=True),
        Head("LAST HOUR", chart, drop=2), Head("MEMORY GiB", 11, right=True, drop=1),
        Head("LAST HOUR", chart, drop=6), Head("TEMP", 4, right=True, drop=4),
        Head("POWER", 5, right=True, drop=4),
    )  # fmt: skip


def rows(entry: HostGpus, held: Holders, detail: Detail, columns: Sequence[Head]) -> list[Row]:
    """One row per GPU. `entry` is the host in the fleet's object."""
    return [_row(entry, gpu, held, detail, columns[5].width) for gpu in entry["gpus"]]


def _row(entry: HostGpus, gpu: GpuView, held: Holders, detail: Detail, chart: int) -> Row:
    state, uuid = str(gpu["state"]), str(gpu["uuid"])
    memory = f"{gib_text(gpu.get('memory_used'))}/{gib_text(gpu.get('memory_total'))}"
    total = gpu.get("memory_total")
    cells: tuple[str | Span | Line, ...] = (
        f":{gpu['index']}",
        (f"{letter(state)} {state}", state),
        " ".join(map(str, gpu.get("owners") or ())) or "-",
        use_text(str(entry["host"]), gpu, held),
        percent_text(gpu.get("utilization")),
        (sparkline(detail.of_gpu(uuid).utilization, chart, 100.0), "accent"),
        memory,
        (sparkline(detail.of_gpu(uuid).memory_used, chart, total), "accent"),
        _number(gpu.get("temperature"), "C"),
        _number(gpu.get("power"), "W"),
    )
    return Row(str(gpu["index"]), cells)


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f}{unit}"


def title_lines(entry: HostGpus, detail: Detail, now: float, old: float = 0.0) -> tuple[Line, ...]:
    """The host's name, state, and problems or special properties. `old`: seconds since the last
    data of the fleet."""
    host = detail.host
    condition = str(entry["condition"])
    lasts = f" for {format_age(now - host.since)}" if host else ""
    models = ", ".join(_model_counts(entry)) or "no GPUs"
    role = "good" if condition == "up" else "dim" if condition == "connecting" else "bad"
    first = line((f" {entry['host']}", "title"), f"  {entry['transport']}  ",
                 (f"{condition}{lasts}", role), f"  {models}",
                 (_old_text(entry, old), "warn"))  # fmt: skip
    note = host_note(host, now) if host else str(entry.get("problem") or "-")
    return (first,) if note == "-" else (first, line((f"   {note}", "warn")))


def _old_text(entry: HostGpus, old: float) -> str:
    age = entry.get("age_s")
    stale = is_stale(older(entry, old))
    if not stale:
        return ""
    return "  no answer yet" if age is None else f"  values are {age_text(age + old)} old~"


def _model_counts(entry: HostGpus) -> Iterable[str]:
    names = [short_model(g.get("model"), g.get("memory_total")) for g in entry["gpus"]]
    for name in dict.fromkeys(names):
        yield f"{names.count(name)} x {name}"


def work_lines(entry: HostGpus, gpu: GpuView | None, detail: Detail, width: int) -> list[Line]:
    """The selected GPU's last hour, then processes, containers and jobs, leases."""
    look = detail.host.look if detail.host else None
    lines: list[Line] = []
    if gpu is not None:
        lines += [_section(f"GPU :{gpu['index']}, THE LAST HOUR"), *hour_lines(gpu, detail, width)]
    if look is None:
        return [*lines, line(("   this host was not checked yet", "dim"))]
    indices = {gpu.uuid: f":{gpu.index}" for gpu in look.gpus}
    lines += [_section("PROCESSES ON GPUS"), *_processes(look)]
    lines += [_section("CONTAINERS AND JOBS"), *_workloads(look, indices)]
    return [*lines, _section("LEASES"), *_leases(look, indices)]


def _section(title: str) -> Line:
    return line((f" {title}", "title"))


def _none() -> list[Line]:
    return [line(("   none", "dim"))]


def _processes(look: Look) -> list[Line]:
    found: list[Line] = []
    for gpu in look.gpus:
        for shown in process_lines(gpu.processes):
            found.append(((f"   :{gpu.index}", "dim"), *shown))
    return found or _none()


def _workloads(look: Look, indices: Mapping[str, str]) -> list[Line]:
    found = [
        line(f"   {_gpu_names(work.gpus, indices):<8}", f"{work.owner or '?':<9}",
             f"{work.runtime:<8}", f"{'running' if work.running else 'ended':<8}",
             work.attempt_id)
        for work in look.workloads
    ]  # fmt: skip
    found += [
        line(f"   {_gpu_names(other.gpus, indices):<8}", "not ours  ",
             f"{other.name} ({other.image})")
        for other in look.foreign_containers
    ]  # fmt: skip
    if look.docker_problem:
        found.append(line((f"   containers cannot be seen: {look.docker_problem}", "warn")))
    return found or _none()


def _gpu_names(uuids: Iterable[str], indices: Mapping[str, str]) -> str:
    return "".join(indices.get(uuid, "?") for uuid in uuids) or "-"


def _leases(look: Look, indices: Mapping[str, str]) -> list[Line]:
    found = [
        line(f"   {indices.get(lease.gpu, '?'):<8}", f"{lease.owner:<9}",
             lease.attempt_id or "by hand",
             _file_user(lease),
             ("  stale: its container or process is gone" if lease.stale else "", "warn"))
        for lease in look.leases
    ]  # fmt: skip
    if look.lease_problem:
        found.append(line((f"   no GPU can be leased: {look.lease_problem}", "warn")))
    if look.left_out:
        found.append(line((f"   too much to be shown: {look.left_out}", "warn")))
    return found or _none()


def _file_user(lease: Lease) -> str:
    """The owner of a file, if another user than its text names."""
    user = lease.user
    return f"  written by {user}" if user is not None and user != lease.owner else ""


def machine_lines(detail: Detail) -> list[Line]:
    """Machine, disks and facts."""
    host = detail.host
    facts = host.facts if host else HostFacts()
    machine = host.look.machine if host and host.look else Machine()
    load = machine.load1
    memory = f"{format_size(machine.memory_available)} of " + format_size(
        machine.memory_total or facts.memory_total
    )
    lines = [
        _section("MACHINE"),
        _fact("load", f"{'-' if load is None else f'{load:.1f}'} on {facts.cpus or '?'} CPUs"),
        _fact("memory free", memory),
        *(_disk(disk) for disk in machine.disks),
        _section("FACTS"),
    ]
    for name in ("hostname", "os", "kernel", "python", "driver", "cuda", "docker", "docker_gpu",
                 "user"):  # fmt: skip
        lines.append(_fact(name.replace("_", " "), str(getattr(facts, name) or "-")))
    lines.append(_fact("runtimes", " ".join(host.runtimes if host else ()) or "-"))
    labels = host.labels if host else {}
    if labels:
        lines.append(_fact("labels", " ".join(f"{k}={v}" for k, v in labels.items())))
    return lines


def _fact(name: str, value: str) -> Line:
    return line((f"   {name:<12}", "dim"), value)


def _disk(disk: Disk) -> Line:
    return line((f"   disk {disk.path:<7}", "dim"),
                f" {format_size(disk.free)} of {format_size(disk.total)} free")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of `hostler doctor` for the host."""

    is_running: bool = False
    checks: tuple[Check, ...] = ()
    error: str = ""


def doctor_lines(found: Findings) -> list[Line]:
    """The worst first, each with its remedy."""
    lines = [_section("DOCTOR")]
    if found.is_running:
        return [*lines, line(("   checking ...", "dim"))]
    if found.error:
        return [*lines, line((f"   {found.error}", "bad"))]
    if not found.checks:
        return [*lines, line(("   d checks this host", "dim"))]
    order = {"fail": 0, "warn": 1, "skip": 2, "ok": 3}
    for check in sorted(found.checks, key=lambda check: order.get(check.state, 4)):
        lines += _check(check)
    return lines


def _check(check: Check) -> list[Line]:
    state = check.state
    role = {"fail": "bad", "warn": "warn", "ok": "good"}.get(state, "dim")
    word = "FAIL" if state == "fail" else state
    lines = [line((f"   {word:<5}", role), (f"{check.name:<16} ", "dim"), check.message)]
    if check.remedy and state in ("fail", "warn"):
        lines.append(line((f"        fix: {check.remedy}", "")))
    return lines
