"""Every benchmark, one after another: `make bench`, or `python -m tests.bench [NAME ...]`.

Each prints floor, peer and product of the same run, and exits 1 when a bar is missed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main(names: list[str]) -> int:
    """Run the named benchmarks (all without names); how many missed a bar or failed."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    unknown = [name for name in names if f"bench_{name}" not in found]
    if unknown:
        known = ", ".join(stem.removeprefix("bench_") for stem in found)
        print(f"no benchmark called {', '.join(unknown)}; there are: {known}", file=sys.stderr)
        return 2
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    missed = []
    for stem in found:
        if names and stem.removeprefix("bench_") not in names:
            continue
        print(f"\n=== {stem.removeprefix('bench_')}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.bench.{stem}"], env=env).returncode:
            missed.append(stem)
    print(f"\nmissed or failed: {', '.join(missed)}" if missed else "\nall bars held")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
