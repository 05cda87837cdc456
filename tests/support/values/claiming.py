"""What a claim sees of a machine, as a test makes it up, and claims and leases there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hostler_agent.claims import Claim, Sight, read_claim
from hostler_agent.containers import Running
from hostler_agent.leases import Live
from hostler_agent.look_sections import GpuProcess, GpuValues
from hostler_agent.nvml import Device, Reading

GPU = "GPU-0000"
OTHER = "GPU-1111"
CONTAINER = "c" * 64
BOOT = "boot-1"


class Scene:
    """What a claim sees."""

    def __init__(self) -> None:
        self.containers: list[Running] = []
        self.readings: dict[str, Reading | None] = {
            uuid: Reading(GpuValues(0, 0, 30, 50.0, 210, 1593), (), None, True)
            for uuid in (GPU, OTHER)
        }
        self.described: dict[int, dict[str, Any]] = {}
        self.programs: dict[int, tuple[str, ...]] = {}
        self.alive: set[tuple[int, int]] = set()
        self.devices = [Device(0, None, GPU, "A100"), Device(1, None, OTHER, "A100")]

    def put(self, uuid: str, *processes: tuple[int, int], used: int = 0) -> None:
        """Processes (PID, MiB) on a GPU."""
        compute = tuple((pid, mib << 20, "compute") for pid, mib in processes)
        self.readings[uuid] = Reading(GpuValues(used, 0, 30, 50.0, 210, 1593), compute, None, True)

    def live(self, found: Sequence[Running], boot: str = BOOT) -> Live:
        running = {c.container_id for c in found}
        return Live(boot, lambda pid, ticks: (pid, ticks) in self.alive, lambda ref: ref in running)

    def sight(self) -> Sight:
        return Sight(
            devices=lambda: self.devices,
            read=lambda devices: {d.uuid: self.readings[d.uuid] for d in devices},
            containers=lambda: self.containers,
            describe=lambda p: GpuProcess(
                **{"pid": p[0], "memory": p[1], "kind": p[2], **self.described.get(p[0], {})}
            ),
            programs=lambda pid: self.programs.get(pid, ()),
            live=self.live,
            gpu_problem=lambda: None,
        )  # fmt: skip


def claim(*gpus: str, attempt: str | None = "a-1", daemon: str = "d1", **more: Any) -> Claim:
    """Alice's, of `GPU` where none is named."""
    fields: dict[str, Any] = {
        "gpus": list(gpus or (GPU,)), "attempt_id": attempt, "daemon_id": daemon, "owner": "alice",
        "memory_floor": 1024**3, "ignore": ["Xorg"], "until": None, **more,
    }  # fmt: skip
    return read_claim(fields)


def a_lease(**more: Any) -> Any:
    """Bob's, of a GPU that is not bound yet."""
    return {
        "lease_id": f"{GPU}.{os.getuid()}.{'0' * 12}", "gpu": GPU, "daemon_id": "d9",
        "owner": "bob", "attempt_id": "z-1", "claimed_at": 1000.0, "until": None, "boot_id": BOOT,
        "workload": None, **more,
    }  # fmt: skip
