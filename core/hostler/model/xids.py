"""Which NVIDIA XID error numbers take a GPU out of use, which are the program's fault, and when a
GPU is healthy again.

An XID that is the application's own fault (an illegal access, an exception in its kernel) says
nothing against the card: the program that made it ends, and the next may have the GPU at once. One
that is the card's fault takes the GPU out of placement until a probe finds it healthy.
"""

from __future__ import annotations

from hostler.model.hosts import Gpu

APPLICATION = frozenset({13, 31, 43, 45})
"""Graphics engine exception, memory page fault, the channel stopped, the program was removed."""

FATAL = frozenset({48, 62, 64, 74, 79, 94, 95, 119, 120})
"""Double-bit ECC, controller halt, a row that could not be remapped, NVLink, off the bus, ECC that
reached programs (contained or not), the system processor silent or failed."""


def is_well(gpu: Gpu) -> bool:
    """The probe after a fatal XID: NVML reads the card without errors and without uncorrectable ECC
    errors (a reset clears them), and no earlier compute process is left there."""
    if gpu.problem is not None or gpu.memory_used is None or gpu.ecc_errors:
        return False
    return all(process.kind != "compute" for process in gpu.processes)
