"""Finds processes of jobs on GPUs that their job was not given: which processes count, and what is
reported of them (CUDA_VISIBLE_DEVICES, load).

Only these processes are examined. If a GPU has any, its next readings also ask NVML how much of its
time each process uses.
"""

from __future__ import annotations

import os
import re
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from hostler_agent.look_sections import GpuProcess, StrayUse, Workload
from hostler_agent.nvml import Device
from hostler_agent.processes import Proc, Processes

_CONTROL = "/dev/nvidiactl"
_DEVICE = re.compile(r"/dev/nvidia\d")
_VARIABLE = "CUDA_VISIBLE_DEVICES"
_MOST = 32
"""Limit of examined processes on all GPUs, the busiest first: a job may start thousands."""
_MAX_VALUE = 100
"""Longest reported value of the variable, in characters."""

Section = Dict[str, List[GpuProcess]]


class StrayUses:
    """Marks strays in the processes of a look."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def marked(
        self, section: Section, devices: Sequence[Device], jobs: Sequence[Workload]
    ) -> Section:
        """Return the section with its strays marked; the same object if there are none."""
        given = {job["attempt_id"]: job["gpus"] for job in jobs if job["running"]}
        by_uuid = {device.uuid: device for device in devices}
        found: List[Tuple[int, str, int]] = []
        for device in devices:
            strays = [p for p in section.get(device.uuid, ()) if _is_stray(p, device.uuid, given)]
            device.is_watched = bool(strays)
            found += [(-(_load(p, device) or 0), device.uuid, p.pid) for p in strays]
        if not found:
            return section
        chosen = {(uuid, pid) for _, uuid, pid in sorted(found)[:_MOST]}
        return {
            uuid: [
                self._mark(one, by_uuid[uuid]) if (uuid, one.pid) in chosen else one
                for one in processes
            ]
            for uuid, processes in section.items()
        }

    def _mark(self, process: GpuProcess, device: Device) -> GpuProcess:
        pid, known = process.pid, self._processes
        visible = known.proc.environ(pid, _VARIABLE)
        use = StrayUse(
            known.job_above(pid) == process.attempt_id and _has_gpu_open(known.proc, pid),
            _load(process, device),
            None if visible is None else visible[:_MAX_VALUE],
        )
        return process._replace(stray=use)


def _load(process: GpuProcess, device: Device) -> Optional[int]:
    load = device.last.load if device.last is not None else None
    return None if load is None else load.get(process.pid, 0)


def _has_gpu_open(proc: Proc, pid: int) -> bool:
    """Whether the process has a GPU's device file open. Inside a container, an agent sees other
    PIDs than NVML, and such a PID may belong to a job by chance. If there are no device files, the
    agent trusts NVML."""
    if not os.path.exists(_CONTROL):
        return True
    return any(_DEVICE.match(name) for name in proc.open_files(pid))


def _is_stray(process: GpuProcess, uuid: str, given: Mapping[str, Sequence[str]]) -> bool:
    if process.kind != "compute" or process.container_id is not None or not process.exists:
        return False
    own = given.get(process.attempt_id or "")
    return own is not None and uuid not in own
