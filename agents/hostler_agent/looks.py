"""Puts a look together from what the parts of the agent know."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from hostler_agent import budget, keeping
from hostler_agent.budget import Budget
from hostler_agent.claims import Sight
from hostler_agent.containers import Containers, Running
from hostler_agent.folders import Refusal
from hostler_agent.grants import resolve
from hostler_agent.http import HttpError
from hostler_agent.jobs import Jobs
from hostler_agent.leases import Found, Leases, Live
from hostler_agent.machine import Machine
from hostler_agent.nvml import Device
from hostler_agent.processes import Processes
from hostler_agent.sampler import Sampler

_LEASES_EVERY = 30.0
_MAX_NAME = 255
"""Characters of a container's name, and of its image's."""
_FEWEST = 32
"""Processes of a GPU that are shown however many GPUs there are."""
_STUCK_STEP = 10
_NOTHING = [None] * 6


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
        self._kept: List[int] = [0, 0]
        self._sampler = sampler
        self._containers = containers
        self._jobs = jobs
        self._leases = leases
        self._machine = machine
        self._processes = processes
        self._names: List[List[Any]] = []
        self._slow: List[List[Any]] = []
        self._trouble: Dict[str, Any] = {}
        self._lease_stamp: Any = None
        self._lease_due = 0.0
        self._lease_list: List[Dict[str, Any]] = []
        self._lease_problem: Optional[str] = None
        self._fitted: Dict[str, Tuple[Any, List[Dict[str, Any]], int]] = {}
        """Kind -> its items, those of them that are shown, and how many are not."""
        self._procs: Tuple[Any, Any] = (None, None)
        self._unlisted: Dict[str, str] = {}
        """Kind -> a sentence about what is left out of it."""
        self._foreign_of: Tuple[Any, ...] = ()
        self._foreign: List[Dict[str, Any]] = []

    def sections(self) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
        """The sections, unchanged ones as the same objects, and workloads that just ended."""
        devices = self._sampler.devices
        jobs, ended = self._jobs.table.list()
        self._processes.set_jobs(self._jobs.table.pids())
        docker = self._containers.work
        work = docker + jobs if docker and jobs else docker or jobs
        found = {
            "boot": self._boot,
            "names": self._renew("_names", [_name_row(d) for d in devices]),
            "g": [_value_row(d) for d in devices],
            "slow": self._renew("_slow", [_slow_row(d) for d in devices]),
            "procs": self._procs_section(devices),
            "work": self._fit("workloads", work, budget.WORK, self._is_own),
            "foreign": self._foreign_section(devices),
            "leases": self._lease_section(devices),
            "machine": self._machine.section(),
            "clock": _clock(),
            "kept": self._renew("_kept", self._kept_total()),
        }
        # The last: what the others had to leave out is told here.
        found["trouble"] = self._renew("_trouble", self._troubles())
        return found, ended

    def _kept_total(self) -> List[int]:
        notes = list(self._notes.by_ref().values()) if self._notes is not None else []
        return keeping.total(self._jobs.table.kept() + notes, self._daemon_id)

    def _troubles(self) -> Dict[str, Any]:
        texts = {
            "gpu": self._sampler.problem, "docker": self._containers.problem,
            "leases": self._lease_problem, "lists": "; ".join(self._unlisted.values()) or None,
        }  # fmt: skip
        return {name: budget.short(text) for name, text in texts.items()}

    def _is_own(self, workload: Dict[str, Any]) -> bool:
        return bool(workload["daemon_id"] == self._daemon_id)

    def _fit(
        self,
        kind: str,
        items: List[Dict[str, Any]],
        limit: Budget,
        first: Callable[[Dict[str, Any]], bool],
    ) -> List[Dict[str, Any]]:
        """Those of the items that a look has room for; the same object while they are equal."""
        known = self._fitted.get(kind)
        if known is None or (known[0] is not items and known[0] != items):
            known = self._fitted[kind] = (items, *budget.within(items, limit, first))
        self._say(kind, known[2] and "%d of %d %s are not shown" % (known[2], len(items), kind))
        return known[1]

    def _say(self, kind: str, text: Any) -> None:
        self._unlisted.pop(kind, None)
        if text:
            self._unlisted[kind] = text

    def _procs_section(self, devices: Sequence[Device]) -> Dict[str, Any]:
        most = max(_FEWEST, budget.PROCESSES.items // max(1, len(devices)))
        listed, over = [], 0
        for device in devices:
            last = device.last
            compute = last.compute if last is not None and device.stuck_since is None else None
            every = (compute or ()) + device.slow.graphics
            over += max(0, len(every) - most)
            listed.append((device.uuid, every[:most]))
        section = self._processes.section(listed)
        if self._procs[0] is not section:
            self._procs = (section, _without_commands(section))
        cut = self._procs[1] is not section
        self._say("commands", cut and "the command lines of processes on GPUs are not shown")
        self._say("processes", over and "%d processes on GPUs are not shown" % over)
        return self._procs[1]  # type: ignore[no-any-return]

    def _renew(self, name: str, fresh: Any) -> Any:
        """The object that was there before, if the fresh one equals it."""
        before = getattr(self, name)
        if before == fresh:
            return before
        setattr(self, name, fresh)
        return fresh

    def _foreign_section(self, devices: List[Device]) -> List[Dict[str, Any]]:
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
        return self._fit("containers", self._foreign, budget.FOREIGN, lambda item: False)

    def _lease_section(self, devices: Sequence[Device]) -> List[Dict[str, Any]]:
        now = time.monotonic()
        stamp = (self._leases.stamp(), [device.uuid for device in devices])
        if stamp != self._lease_stamp or now >= self._lease_due:
            self._lease_stamp, self._lease_due = stamp, now + _LEASES_EVERY
            self._lease_problem = self._leases.problem()
            try:
                found = self._leases.list(self._live_by_look(), stamp[1])
            except (Refusal, OSError) as error:
                self._lease_problem, found = str(error), []
            self._lease_list = [self._lease(one) for one in found]
        return self._fit("leases", self._lease_list, budget.LEASES, _is_mine)

    def _lease(self, found: Found) -> Dict[str, Any]:
        lease = {**found.lease, "uid": found.uid, "user": self._processes.users.name(found.uid)}
        if found.uid != os.getuid() and lease["daemon_id"] == self._daemon_id:
            # Whoever names this daemon in a file of theirs must not have it taken for its own.
            lease["daemon_id"] = "uid%d" % found.uid
        return lease

    def _live_by_look(self) -> Live:
        """Judges leases by the container lists of the last looks."""
        known = self._containers.problem is None
        running = {w["ref"] for w in self._containers.work if w["running"]}
        running |= {c.container_id for c in self._containers.foreign}
        return self._live(running, known)

    def _live(self, running: Any, known: bool) -> Live:
        def container(ref: str) -> Optional[bool]:
            return True if ref in running else False if known else None

        return Live(self._boot, self._processes.proc.same, container)

    def sight(self) -> Sight:
        """What a claim needs to look by itself."""
        containers = self._containers

        def running() -> List[Running]:
            try:
                return containers.running()
            except HttpError:
                # Who may not use Docker cannot know; who may, but hears nothing, must not guess.
                if containers.usable():
                    raise
                return []

        def live(found: Any) -> Live:
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


def _clock() -> List[Optional[float]]:
    """The wall clock, and the one since boot, which also counts while the machine sleeps."""
    up = getattr(time, "CLOCK_BOOTTIME", None)
    since_boot = round(time.clock_gettime(up), 3) if up is not None else None
    return [round(time.time(), 3), since_boot]


def _is_mine(lease: Dict[str, Any]) -> bool:
    return bool(lease["uid"] == os.getuid())


def _without_commands(section: Dict[str, Any]) -> Dict[str, Any]:
    """The processes as they are, or without what their users can make long."""
    if (
        sum(budget.size(item) for items in section.values() for item in items)
        <= budget.PROCESSES.size
    ):
        return section
    return {
        uuid: [{k: v for k, v in item.items() if k != "command"} for item in items]
        for uuid, items in section.items()
    }


def _name_row(device: Device) -> List[Any]:
    total = device.memory_total
    return [device.uuid, device.index, device.name, total, device.slow.power_limit]


def _value_row(device: Device) -> List[Any]:
    if device.last is None or device.stuck_since is not None:
        return _NOTHING
    return device.last.values


def _slow_row(device: Device) -> List[Any]:
    slow = device.slow
    return [slow.ecc_errors, list(slow.throttle), slow.mig, slow.energy, problem_of(device)]


def problem_of(device: Device) -> Optional[str]:
    """Why a GPU cannot be trusted with work, for people; None: healthy."""
    since = device.stuck_since
    if since is not None:
        # In steps, so that a GPU that hangs is not told anew at every look.
        seconds = int(time.monotonic() - since) // _STUCK_STEP * _STUCK_STEP
        return "does not answer" + (" for %d s" % seconds if seconds else "")
    if device.last is None:
        return "has not answered yet"
    return device.last.problem or device.slow.fault
