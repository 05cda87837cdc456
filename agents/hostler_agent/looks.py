"""Composes a look from the parts of the agent: how often leases are read, which processes and
troubles are shown, and why a GPU counts as faulty."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Collection, Dict, List, Optional, Sequence, Tuple

from hostler_agent import budget, keeping, secretfiles
from hostler_agent.budget import Shown
from hostler_agent.claims import Sight
from hostler_agent.containers import Containers, Running
from hostler_agent.folders import Refusal
from hostler_agent.grants import resolve
from hostler_agent.http import HttpError
from hostler_agent.jobs import Jobs
from hostler_agent.json_values import Outgoing
from hostler_agent.leases import Found, Leases, Live
from hostler_agent.look_sections import (
    ClockRow,
    Foreign,
    GpuName,
    GpuProcess,
    GpuSlow,
    GpuValues,
    HealthRow,
    KeptRow,
    Sections,
    SeenLease,
    Trouble,
    Workload,
)
from hostler_agent.machine import Machine
from hostler_agent.nvml import Device
from hostler_agent.probed import Probed
from hostler_agent.processes import Processes
from hostler_agent.sampler import Sampler
from hostler_agent.stray_use import StrayUses

if TYPE_CHECKING:
    from hostler_agent.probes import Prober

_LEASES_EVERY = 30.0
_SWEEP_EVERY = 60.0
_MAX_NAME = 255
"""Longest name of a container or image in a look, in characters."""
_FEWEST = 32
"""The limit of processes shown for one GPU is at least this, however many GPUs there are."""
_STUCK_STEP = 10
_PROCESSES_SIZE = budget.PROCESSES.size


class Looks:
    """All sections of a look. Used from the main loop; `sight` also from other threads."""

    def __init__(
        self,
        boot: str,
        sampler: Sampler,
        containers: Containers,
        jobs: Jobs,
        leases: Leases,
        machine: Machine,
        processes: Processes,
        daemon_id: str = "",
        notes: Optional[keeping.Notes] = None,
    ) -> None:
        self._boot = boot
        self._daemon_id = daemon_id
        self._notes = notes
        self._sampler = sampler
        self._containers = containers
        self._jobs = jobs
        self._leases = leases
        self._machine = machine
        self._processes = processes
        self._stray_uses = StrayUses(processes)
        self._work = Shown("workloads", budget.WORK, self._is_own)
        self._others = Shown[Foreign]("containers", budget.FOREIGN)
        self._held = Shown("leases", budget.LEASES, _is_mine)
        self._lease_stamp: Optional[Tuple[Optional[int], List[str]]] = None
        self._lease_due = 0.0
        self._sweep_due = 0.0
        self._lease_list: List[SeenLease] = []
        self._lease_problem: Optional[str] = None
        self._procs_of: Optional[Dict[str, List[GpuProcess]]] = None
        self._procs: Dict[str, List[Outgoing]] = {}
        self._cut_commands: Optional[str] = None
        self._cut_processes: Optional[str] = None
        self._foreign_of: Optional[Tuple[List[Running], List[Tuple[int, str]]]] = None
        self._foreign: List[Foreign] = []
        self._prober: Optional[Prober] = None

    def sections(self) -> Tuple[Sections, List[Workload]]:
        """All sections, and workloads that just ended."""
        devices = self._sampler.devices
        jobs, ended = self._jobs.table.list()
        self._processes.set_jobs(self._jobs.table.pids())
        docker = self._containers.work
        self._sweep_secrets(docker, jobs)
        found: Sections = {
            "boot": self._boot,
            "names": [_name_row(d) for d in devices],
            "g": [_value_row(d) for d in devices],
            "slow": [_slow_row(d) for d in devices],
            "procs": self._procs_section(devices, jobs),
            "work": self._work.of(docker + jobs if docker and jobs else docker or jobs),
            "foreign": self._foreign_section(devices),
            "leases": self._lease_section(devices),
            "machine": self._machine.section(),
            "clock": _clock(),
            "kept": self._kept_total(),
            "trouble": self._troubles(),  # the last: it reports what the others left out
        }
        services = self._containers.services + self._jobs.table.services
        if services or self._prober is not None:
            found["health"] = self._health(services)
        return found, ended

    def _health(self, services: List[Probed]) -> List[HealthRow]:
        if self._prober is None:
            from hostler_agent.probes import Prober  # few hosts have services

            self._prober = Prober()
        return self._prober.rows([s for s in services if s.daemon_id == self._daemon_id])

    def _sweep_secrets(self, docker: List[Workload], jobs: List[Workload]) -> None:
        now = time.monotonic()
        if now >= self._sweep_due and self._containers.problem is None:
            self._sweep_due = now + _SWEEP_EVERY
            alive = {w["attempt_id"] for w in docker + jobs if w.get("exit_code") is None}
            secretfiles.sweep(alive)
            self._jobs.sweep(alive)

    def _kept_total(self) -> KeptRow:
        notes = list(self._notes.by_ref().values()) if self._notes is not None else []
        return keeping.total(self._jobs.table.kept() + notes, self._daemon_id)

    def _troubles(self) -> Trouble:
        left_out = (
            self._cut_commands, self._cut_processes, self._work.left_out, self._others.left_out,
            self._held.left_out,
        )  # fmt: skip
        return {
            "gpu": budget.short(self._sampler.problem),
            "docker": budget.short(self._containers.problem),
            "leases": budget.short(self._lease_problem),
            "lists": budget.short("; ".join(text for text in left_out if text) or None),
        }

    def _is_own(self, workload: Workload) -> bool:
        return workload["daemon_id"] == self._daemon_id

    def _procs_section(
        self, devices: Sequence[Device], jobs: Sequence[Workload]
    ) -> Dict[str, List[Outgoing]]:
        most = max(_FEWEST, budget.PROCESSES.items // max(1, len(devices)))
        listed, over = [], 0
        for device in devices:
            last = device.last
            compute = last.compute if last is not None and device.stuck_since is None else None
            every = (compute or ()) + device.slow.graphics
            over += max(0, len(every) - most)
            listed.append((device.uuid, every[:most]))
        section = self._stray_uses.marked(self._processes.section(listed), devices, jobs)
        if self._procs_of is not section:
            self._procs_of, self._procs = section, _told(section)
            self._cut_commands = None
            if sum(budget.size(p) for told in self._procs.values() for p in told) > _PROCESSES_SIZE:
                self._procs = _told(section, commands=False)
                self._cut_commands = "the command lines of processes on GPUs are not shown"
        self._cut_processes = "%d processes on GPUs are not shown" % over if over else None
        return self._procs

    def _foreign_section(self, devices: List[Device]) -> List[Foreign]:
        pairs = [(d.index, d.uuid) for d in devices]
        key = (self._containers.foreign, pairs)
        if key != self._foreign_of:
            self._foreign_of = key
            self._foreign = [
                {
                    "container_id": c.container_id, "name": c.name[:_MAX_NAME],
                    "image": c.image[:_MAX_NAME], "gpus": resolve(c.grants, pairs),
                }
                for c in self._containers.foreign
            ]  # fmt: skip
        return self._others.of(self._foreign)

    def _lease_section(self, devices: Sequence[Device]) -> List[SeenLease]:
        now = time.monotonic()
        uuids = [device.uuid for device in devices]
        stamp = (self._leases.stamp(), uuids)
        if stamp != self._lease_stamp or now >= self._lease_due:
            self._lease_stamp, self._lease_due = stamp, now + _LEASES_EVERY
            self._lease_problem = self._leases.problem()
            try:
                found = self._leases.list(self._live_by_look(), uuids)
            except (Refusal, OSError) as error:
                self._lease_problem, found = str(error), []
            self._lease_list = [self._lease(one) for one in found]
        return self._held.of(self._lease_list)

    def _lease(self, found: Found) -> SeenLease:
        user = self._processes.users.name(found.uid)
        lease: SeenLease = {**found.lease, "stale": found.stale, "uid": found.uid, "user": user}
        if found.uid != os.getuid() and lease["daemon_id"] == self._daemon_id:
            # Other users may write this daemon's id into their lease files; it must not count as
            # ours.
            lease["daemon_id"] = "uid%d" % found.uid
        return lease

    def _live_by_look(self) -> Live:
        """The functions that judge leases by the container lists of the last looks."""
        known = self._containers.problem is None
        running = {w["ref"] for w in self._containers.work if w["running"]}
        running |= {c.container_id for c in self._containers.foreign}
        return self._live(running, known)

    def _live(self, running: Collection[str], known: bool) -> Live:
        def container(ref: str) -> Optional[bool]:
            return True if ref in running else False if known else None

        return Live(self._boot, self._processes.proc.same, container)

    def sight(self) -> Sight:
        """The functions by which a claim checks the machine."""
        containers = self._containers

        def running() -> List[Running]:
            try:
                return containers.running()
            except HttpError:
                # A login without access to Docker cannot know its containers. With access but no
                # answer, the result is unknown, so the error is raised.
                if containers.usable():
                    raise
                return []

        def live(found: Sequence[Running]) -> Live:
            return self._live({c.container_id for c in found}, containers.usable())

        return Sight(
            devices=lambda: self._sampler.devices,
            read=self._sampler.read_now,
            containers=running,
            describe=self._processes.once,
            programs=self._processes.proc.program,
            live=live,
            gpu_problem=lambda: self._sampler.problem,
        )


def _clock() -> ClockRow:
    """The wall clock, and the clock since boot, which also counts the time that the machine
    sleeps."""
    up = getattr(time, "CLOCK_BOOTTIME", None)
    since_boot = round(time.clock_gettime(up), 3) if up is not None else None
    return ClockRow(round(time.time(), 3), since_boot)


def _is_mine(lease: SeenLease) -> bool:
    return lease["uid"] == os.getuid()


def _told(section: Dict[str, List[GpuProcess]], commands: bool = True) -> Dict[str, List[Outgoing]]:
    """The processes as they are sent. If `commands` is false, without their command lines, which
    other users can make long."""
    return {
        uuid: [(one if commands else one._replace(command=None)).to_json() for one in found]
        for uuid, found in section.items()
    }


def _name_row(device: Device) -> GpuName:
    total = device.memory_total
    return GpuName(device.uuid, device.index, device.name, total, device.slow.power_limit)


def _value_row(device: Device) -> GpuValues:
    if device.last is None or device.stuck_since is not None:
        return GpuValues()
    return device.last.values


def _slow_row(device: Device) -> GpuSlow:
    return device.slow.values._replace(problem=problem_of(device))


def problem_of(device: Device) -> Optional[str]:
    """Why a GPU cannot take work, as text for people; None if it is healthy."""
    since = device.stuck_since
    if since is not None:
        # In steps, so that a hanging GPU does not change every look.
        seconds = int(time.monotonic() - since) // _STUCK_STEP * _STUCK_STEP
        return "does not answer" + (" for %d s" % seconds if seconds else "")
    if device.last is None:
        return "has not answered yet"
    return device.last.problem or device.slow.values.problem
