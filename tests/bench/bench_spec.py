"""A pipeline of 10,000 stages, read and checked: at most 2 s and 300 MB.

Floor: the standard library's TOML reader on the same text. Seconds are of this process alone, since
whatever else the machine does is no property of the reader.
"""

from __future__ import annotations

import resource
import sys
import time
import tomllib

from hostler.spec.pipeline import read_pipeline
from tests.chaos.figures import DAG, note

SECONDS, MEGABYTES = 2.0, 300
STAGES = 10_000


def chain() -> str:
    """One stage after the other, each with a table of its own."""
    tables = (
        f'[stages.s{n:05}]\ncommand = "python step.py --n {n}"\n'
        + (f'needs = ["s{n - 1:05}"]\n' if n else "")
        for n in range(STAGES)
    )
    return 'name = "chain"\n' + "".join(tables)


def matrix() -> str:
    """Two stages of 5,000 cells, paired, with a value of the cell in each command."""
    values = f"{{ i = {list(range(50))}, j = {list(range(100))} }}"
    return (
        'name = "matrix"\n'
        f'[stages.a]\ncommand = "a.py {{matrix.i}}"\nmatrix = {values}\noutputs = {{ o = "o" }}\n'
        f'[stages.b]\ncommand = "b.py {{matrix.j}}"\nmatrix = {values}\n'
        'inputs = { i = "a.@.o" }\n'
    )


def main() -> int:
    """Print floor and product for both shapes; 1 when a bar is missed."""
    missed, told = 0, []
    for name, text in (("chain", chain()), ("matrix", matrix())):
        started = time.process_time()
        tomllib.loads(text)
        floor = time.process_time() - started
        started = time.process_time()
        count = len(read_pipeline(text, file=name).stages)
        seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        held = seconds <= SECONDS and peak <= MEGABYTES and count == STAGES
        missed += not held
        told.append(f"{name} {seconds:.2f} s, {peak:.0f} MB")
        print(
            f"{name}: {count} stages in {seconds:.2f} s (tomllib alone {floor:.2f} s, bar "
            f"{SECONDS:g} s), peak {peak:.0f} MB (bar {MEGABYTES} MB): {'ok' if held else 'MISSED'}"
        )
    note(DAG, "; ".join(told), "make bench")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
