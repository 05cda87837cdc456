"""Trials of hostile input: each has a number, so that one that fails can be made again alone.

A trial may use a second of processor time (a busy machine is not the input's fault) and may not
raise; an area checks what else must hold. A process's memory may not grow past a bound.
"""

from __future__ import annotations

import os
import random
import resource
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_S = 1.0
MEMORY_BOUND = 400 * 1024**2
"""Bytes that a process may have had at its largest, after any number of trials."""


@dataclass(frozen=True, slots=True)
class Area:
    """One kind of input."""

    name: str
    few: int
    """Trials of the test suite."""
    many: int
    """Trials of `make fuzz`."""
    make: Callable[[random.Random], Any]
    """The input of a trial, from its own random numbers alone."""
    check: Callable[[Any, Path], None]
    """Gives it to the product; raises where something does not hold. Has an empty folder."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a row of trials showed."""

    trials: int
    slowest_s: float
    slowest: int
    """The number of the slowest trial."""
    failures: tuple[str, ...]
    memory: int
    """The largest that the process was, in bytes."""


def seed_of_environment() -> int:
    """HOSTLER_FUZZ_SEED, else a fresh one."""
    given = os.environ.get("HOSTLER_FUZZ_SEED")
    return int(given) if given else random.SystemRandom().randrange(2**32)


def count_of_environment(area: Area, default: int) -> int:
    """HOSTLER_FUZZ_<AREA>, else `default`."""
    return int(os.environ.get(f"HOSTLER_FUZZ_{area.name.upper()}", default))


def chance(area: Area, seed: int, number: int) -> random.Random:
    """The random numbers of one trial."""
    return random.Random(f"{area.name}:{seed}:{number}")


def run(
    area: Area, seed: int, numbers: Iterable[int], folder: Path, *, most_failures: int = 5
) -> Result:
    """Make trials; stop at the fifth that fails."""
    trials, slowest_s, slowest, failures = 0, 0.0, -1, []
    for number in numbers:
        data = area.make(chance(area, seed, number))
        place = folder / str(number)
        begun = time.process_time()
        try:
            area.check(data, place)
        except Exception:
            failures.append(_told(area, seed, number, data, traceback.format_exc()))
        spent = time.process_time() - begun
        trials += 1
        if spent > slowest_s:
            slowest_s, slowest = spent, number
        if spent > LONGEST_S:
            failures.append(_told(area, seed, number, data, f"took {spent:.2f} s"))
        if len(failures) >= most_failures:
            break
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Result(trials, slowest_s, slowest, tuple(failures), memory)


def _told(area: Area, seed: int, number: int, data: object, what: str) -> str:
    shown = repr(data)
    return (
        f"{area.name}: trial {number} of seed {seed}: {what}\n"
        f"input: {shown[:2000]}{' ...' if len(shown) > 2000 else ''}\n"
        f"again: python -m tests.fuzz {area.name} --seed {seed} --only {number}"
    )
