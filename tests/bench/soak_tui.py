"""Half an hour of the screen with somebody at the keys: `python -m tests.bench.soak_tui [MINUTES]`.

Opens the demo, presses keys that lead through all screens, sheets and dialogs in a random order
(the seed is printed), and follows the resident memory: it has to be flat after the first sixth.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.support.programs.terminal import Terminal

KEYS = [
    b"1", b"2", b"3", b"5", b"6", b"j", b"k", b"j", b"k", b"\r", b"\x1b", b"\x1b", b"x", b"g",
    b"o", b"\x1b", b"?", b"\x1b", b"!", b"\x1b", b"m", b"l", b"e", b"i", b"W", b"T", b"\t", b"w",
    b" ", b"c", b"\x1b", b"p", b"p", b"\x1b[C", b"\x1b[D", b"\x1b[6~", b"\x1b[5~", b"X", b"\x1b",
    b"/", b"a", b"\x1b", b":", b"t", b"\x1b",
]  # fmt: skip
SIZES = ((160, 45), (80, 24), (200, 60), (40, 12))
EVERY_S = 0.3
GROWTH = 1.15
"""The most that memory may grow after the first sixth."""


def main(minutes: float) -> int:
    """Press and measure; 1 where memory grew or the screen ended."""
    seed = int(os.environ.get("SOAK_SEED", time.time_ns() % 10**6))
    chance, samples = random.Random(seed), []
    print(f"seed {seed}, {minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory() as home, contextlib.chdir(home):  # logs may be saved there
        env = {"HOME": home, "TMUX": "", "HOSTLER_CLIPBOARD": "off"}
        argv = [sys.executable, "-m", "hostler", "demo"]
        with Terminal(argv, columns=160, rows=45, env=env) as terminal:
            terminal.wait_for(b"atlas", 60)
            begun = looked = time.monotonic()
            while (passed := time.monotonic() - begun) < minutes * 60:
                terminal.send(chance.choice(KEYS))
                if chance.random() < 0.01:
                    terminal.resize(*chance.choice(SIZES))
                time.sleep(EVERY_S)
                if time.monotonic() - looked >= min(30, minutes * 2):
                    looked = time.monotonic()
                    samples.append((passed, terminal.memory()))
                    print(f"{passed:6.0f} s  {samples[-1][1] / 2**20:6.1f} MiB", flush=True)
                    terminal.forget()
                if not Path(f"/proc/{terminal.pid}/stat").exists() or terminal.has_ended():
                    print(f"the screen ended:\n{terminal.output[-3000:]!r}")
                    return 1
    early = next(size for passed, size in samples if passed > minutes * 10)
    ratio = samples[-1][1] / early
    print(f"memory at the end / after a sixth: {ratio:.3f} (bar <= {GROWTH})")
    return int(ratio > GROWTH)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
