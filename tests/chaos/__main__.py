"""All fault tests with their full numbers, a race of two daemons, the nemesis of a lab and the one
of services: `make chaos`.

As root, on Linux. HOSTLER_CHAOS_SEED (the time) is that of all, HOSTLER_CHAOS_PLACEMENTS (10,000)
the race's, HOSTLER_CHAOS_MINUTES (60) and HOSTLER_CHAOS_SIM_MINUTES (10) theirs. The histories stay
in .chaos; `make chaos-report` makes the table of them. Exit 1 if a promise was broken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

KEEP = Path(".chaos")
TESTS = ("tests/chaos", "tests/e2e/test_lab_cuts.py", "tests/e2e/test_lab_faults.py")
FULL = {
    "HOSTLER_CHAOS_ROUNDS": "20", "HOSTLER_CHAOS_KILLS": "500", "HOSTLER_CHAOS_STOP_S": "120",
    "HOSTLER_CHAOS_CLIENTS": "50", "HOSTLER_CHAOS_SUBMITS": "20", "HOSTLER_CHAOS_CUT_S": "600",
    "HOSTLER_CHAOS_AWAY_S": "60", "HOSTLER_CHAOS_FROZEN_S": "60", "HOSTLER_CHAOS_LOUD": "8",
    "HOSTLER_CHAOS_OUTPUT_MIB": "30",
    "HOSTLER_TEST_CUT_S": "60", "HOSTLER_TEST_OUTPUT_MIB": "1024", "HOSTLER_TEST_PLACEMENTS": "200",
}  # fmt: skip


def main() -> int:
    """Run all; what is set in the environment goes before the full numbers."""
    seed = os.environ.get("HOSTLER_CHAOS_SEED", str(int(time.time())))
    print(f"seed {seed}", flush=True)
    env = FULL | os.environ | {
        "HOSTLER_CHAOS_SEED": seed, "HOSTLER_CHAOS_KEEP": str(KEEP.resolve()),
        "HOSTLER_LAB": "require",
    }  # fmt: skip
    KEEP.mkdir(exist_ok=True)
    tests = [sys.executable, "-m", "pytest", "-q", "-m", "lab", *TESTS]
    race = [
        sys.executable, "-m", "tests.chaos.race", "--seed", seed, "--keep", str(KEEP),
        "--placements", os.environ.get("HOSTLER_CHAOS_PLACEMENTS", "10000"),
    ]  # fmt: skip
    nemesis = [
        sys.executable, "-m", "tests.chaos.nemesis", "--seed", seed, "--keep", str(KEEP),
        "--minutes", os.environ.get("HOSTLER_CHAOS_MINUTES", "60"),
    ]  # fmt: skip
    services = [
        sys.executable, "-m", "tests.chaos.simnemesis", "--seed", seed,
        "--minutes", os.environ.get("HOSTLER_CHAOS_SIM_MINUTES", "10"),
    ]  # fmt: skip
    ends = [subprocess.run(words, env=env).returncode for words in (tests, race, nemesis, services)]
    return int(any(ends))


if __name__ == "__main__":
    sys.exit(main())
