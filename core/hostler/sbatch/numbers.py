"""Numbers of jobs, as scripts of Slurm expect them: made from the ids of runs."""

from __future__ import annotations

import functools

_POLYNOMIAL = 0x04C11DB7


def job_number(name: str) -> int:
    """The number of a run's id, or of "RUN/CELL": what `cksum` of POSIX makes of it, which the
    command of a batch script uses for its own SLURM_JOB_ID."""
    data = name.encode()
    length = len(data)
    tail = length.to_bytes((length.bit_length() + 7) // 8, "little")
    crc = 0
    for byte in data + tail:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _table()[crc >> 24 ^ byte]
    return crc ^ 0xFFFFFFFF


@functools.cache
def _table() -> tuple[int, ...]:
    return tuple(map(_remainder, range(256)))


def _remainder(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1 ^ (_POLYNOMIAL if value >> 31 else 0)) & 0xFFFFFFFF
    return value
