"""The jobs of this login as looks show them: read from journals when these change, and all folders
every 5 seconds."""

from __future__ import annotations

import os
import time
from typing import Dict, List, Optional, Set, Tuple

from hostler_agent import journal, keeping
from hostler_agent.journal import Job
from hostler_agent.keeping import Mark
from hostler_agent.look_sections import Workload
from hostler_agent.probed import Probed
from hostler_agent.processes import Proc

SCAN_EVERY = 5.0
"""Seconds between readings of all journals, which find unreported ends: jobs of other agents, and
shims that were killed."""


class JobTable:
    """All jobs. Only one thread at a time may use it; `stale` may be called from any."""

    def __init__(self, folder: str, boot_id: str, proc: Proc) -> None:
        self._folder = folder
        self._boot_id = boot_id
        self._proc = proc
        self._jobs: Dict[str, Job] = {}
        self._stamps: Dict[str, Tuple[int, int]] = {}
        self._running: Dict[str, bool] = {}
        self._kept: Dict[str, Mark] = {}
        """Marks of ended jobs that stay for their files; lists omit these jobs."""
        self._over: Optional[Set[str]] = None
        self._due = 0.0
        self._stamp = 0
        self._touched: Set[str] = set()
        self._listed: List[Workload] = []
        self._pids: Dict[int, str] = {}
        self.services: List[Probed] = []
        """Running replicas of services, as of the last list."""

    def touch(self, attempt: str) -> None:
        """Note that a job changed: the next list reads its journal again."""
        self._touched.add(attempt)

    def list(self) -> Tuple[List[Workload], List[Workload]]:
        """All workloads (the same object while nothing changes), and those that just ended."""
        now = time.monotonic()
        try:
            stamp = os.stat(self._folder).st_mtime_ns
        except FileNotFoundError:
            return [], []
        touched, self._touched = self._touched, set()
        if now >= self._due or (stamp != self._stamp and not touched):
            self._due, self._stamp = now + SCAN_EVERY, stamp
            names = os.listdir(self._folder)
            gone = (self._jobs.keys() | self._kept.keys()) - set(names)
        elif touched:
            names, gone = list(touched), set()
        else:
            return self._listed, []
        for name in gone:
            self._forget(name)
        for name in names:
            self._read(name)
        return self._publish()

    def _forget(self, name: str) -> None:
        for known in (self._jobs, self._stamps, self._running, self._kept):
            known.pop(name, None)

    def _read(self, name: str) -> None:
        folder = os.path.join(self._folder, name)
        try:
            status = os.stat(os.path.join(folder, journal.NAME))
        except OSError:
            self._forget(name)  # it is being made or removed
            return
        stamp = (status.st_mtime_ns, status.st_size)
        job = self._jobs.get(name)
        if job is None or self._stamps.get(name) != stamp:
            job = journal.load(folder)
        if job is None:
            self._forget(name)
            return
        running = job.running(self._proc, self._boot_id)
        if not running and job.started is not None and job.ended is None:
            # The end may have been written after the journal was read and before the process was
            # checked.
            job = journal.load(folder) or job
        if not running and self._is_kept(name, folder):
            return
        self._jobs[name], self._stamps[name], self._running[name] = job, stamp, running

    def _is_kept(self, name: str, folder: str) -> bool:
        path = os.path.join(folder, "kept")
        if not os.path.lexists(path):
            return False
        told = self._kept.get(name) or keeping.read(path)
        if told is not None:
            self._forget(name)
            self._kept[name] = told
        return told is not None

    def kept(self) -> List[Mark]:
        """Marks of the jobs that stay for their files, as of the last list."""
        return list(self._kept.values())

    def _publish(self) -> Tuple[List[Workload], List[Workload]]:
        listed = [
            job.workload(self._running[name], self._boot_id)
            for name, job in sorted(self._jobs.items())
        ]
        over = {
            w["attempt_id"]: w for w in listed if not w["running"] and not w.get("created_only")
        }
        # The first look contains jobs that had ended before this agent; only later ends are pushed.
        ended = [] if self._over is None else [w for a, w in over.items() if a not in self._over]
        self._over = set(over)
        if listed != self._listed:
            self._listed = listed
            self.services = [*filter(None, map(self._probed, sorted(self._jobs)))]
            self._pids = self._find_pids()
        return self._listed, ended

    def _probed(self, name: str) -> Optional[Probed]:
        job = self._jobs[name]
        if job.port is None or job.created.service is None or not self._running[name]:
            return None
        asked = job.created
        return Probed(
            job.attempt_id, asked.daemon_id, job.attempt_id, job.port, job.created.service,
            os.getuid(),
        )  # fmt: skip

    def _find_pids(self) -> Dict[int, str]:
        result: Dict[int, str] = {}
        for name, job in self._jobs.items():
            if self._running[name] and job.started is not None:
                result[job.started.pid] = name
                result[job.started.shim] = name
        return result

    def pids(self) -> Dict[int, str]:
        """PID to attempt id of running jobs and their shims, as of the last list."""
        return self._pids
