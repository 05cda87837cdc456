"""Puts a look together from what the parts of the agent know."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Optional, Tuple

from hostler_agent.claims import Sight
from hostler_agent.containers import Containers, Running
from hostler_agent.grants import resolve
from hostler_agent.http import HttpError
from hostler_agent.jobs import Jobs
from hostler_agent.leases import Leases, Live
from hostler_agent.machine import Machine
from hostler_agent.nvml import Device
from hostler_agent.processes import Processes
from hostler_agent.sampler import Sampler

_LEASES_EVERY = 30.0
_MOST = 4000
"""Items of one kind: the daemon refuses a look that holds more than 4096."""
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
    ) -> None:
        self._boot = boot
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
        self._foreign_of: Tuple[Any, ...] = ()
        self._foreign: List[Dict[str, Any]] = []

    def sections(self) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
        """The sections, unchanged ones as the same objects, and workloads that just ended."""
        devices = self._sampler.devices
        jobs, ended = self._jobs.table.list()
        self._processes.set_jobs(self._jobs.table.pids())
        listed = []
        for device in devices:
            last = device.last
            compute = last.compute if last is not None and device.stuck_since is None else None
            listed.append((device.uuid, (compute or ()) + device.slow.graphics))
        docker = self._containers.work
        return {
            "boot": self._boot,
            "names": self._renew("_names", [_name_row(d) for d in devices]),
            "g": [_value_row(d) for d in devices],
            "slow": self._renew("_slow", [_slow_row(d) for d in devices]),
            "procs": self._processes.section(listed),
            "work": (docker + jobs)[:_MOST] if docker and jobs else docker or jobs,
            "foreign": self._foreign_section(devices),
            "leases": self._lease_section(),
            "machine": self._machine.section(),
            "trouble": self._renew(
                "_trouble", {"gpu": self._sampler.problem, "docker": self._containers.problem}
            ),
        }, ended

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
                    "container_id": c.container_id, "name": c.name, "image": c.image,
                    "gpus": resolve(c.grants, pairs),
                }
                for c in self._containers.foreign[:_MOST]
            ]  # fmt: skip
        return self._foreign

    def _lease_section(self) -> List[Dict[str, Any]]:
        now = time.monotonic()
        try:
            stamp: Optional[int] = os.stat(self._leases.folder).st_mtime_ns
        except OSError:
            stamp = None
        if stamp != self._lease_stamp or now >= self._lease_due:
            self._lease_stamp, self._lease_due = stamp, now + _LEASES_EVERY
            found = [f.lease for f in self._leases.list(self._live_by_look())][:_MOST]
            if found != self._lease_list:
                self._lease_list = found
        return self._lease_list

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
