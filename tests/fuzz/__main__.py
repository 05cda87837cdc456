"""All areas with their full numbers, on all cores: `make fuzz`.

python -m tests.fuzz [AREA ...] [--seed N] [--only TRIAL]; HOSTLER_FUZZ_<AREA>=N sets a number.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.chaos.figures import FUZZ, note
from tests.fuzz import agents, archives, names, toml
from tests.fuzz.trial import MEMORY_BOUND, Area, Result, count_of_environment, run
from tests.fuzz.trial import seed_of_environment as fresh_seed

AREAS = {each.AREA.name: each.AREA for each in (names, toml, archives, agents)}


def main() -> int:
    """Make the trials, print what they showed; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--seed", type=int, default=fresh_seed())
    parser.add_argument("--only", type=int, metavar="TRIAL")
    args = parser.parse_args()
    unknown = set(args.areas) - set(AREAS)
    if unknown:
        parser.error(f"there is no area {', '.join(sorted(unknown))}")
    print(f"seed {args.seed}", flush=True)
    chosen = [AREAS[name] for name in args.areas or AREAS]
    return 1 if sum(_area(area, args.seed, args.only) for area in chosen) else 0


def _area(area: Area, seed: int, only: int | None) -> int:
    begun = time.monotonic()
    workers = os.cpu_count() or 1
    count = count_of_environment(area, area.many)
    shares = (
        [range(only, only + 1)]
        if only is not None
        else [range(first, count, workers) for first in range(workers)]
    )
    with ProcessPoolExecutor(workers) as pool:
        results = list(pool.map(_share, [area.name] * len(shares), [seed] * len(shares), shares))
    return _report(area, results, time.monotonic() - begun)


def _share(name: str, seed: int, numbers: range) -> Result:
    with tempfile.TemporaryDirectory(prefix="hostler-fuzz-") as folder:
        return run(AREAS[name], seed, numbers, Path(folder))


def _report(area: Area, results: list[Result], took: float) -> int:
    slowest = max(results, key=lambda result: result.slowest_s)
    memory = max(result.memory for result in results)
    failures = [failure for result in results for failure in result.failures]
    if memory > MEMORY_BOUND:
        failures.append(f"{area.name}: a process grew to {memory / 1024**2:.0f} MiB")
    trials = sum(result.trials for result in results)
    note(FUZZ, f"{len(failures)} failures of {trials:,}", f"make fuzz: {area.name}")
    print(
        f"{area.name}: {trials:,} trials in {took:.0f} s, "
        f"slowest {slowest.slowest_s:.2f} s (trial {slowest.slowest}), "
        f"largest process {memory / 1024**2:.0f} MiB, {len(failures)} failures",
        flush=True,
    )
    print("\n\n".join(failures), end="\n" if failures else "", file=sys.stderr)
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
