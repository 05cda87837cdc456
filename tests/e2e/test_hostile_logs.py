"""Logs that are too long, too wide, or not meant for reading: real stages, a real terminal.

HOSTLER_FUZZ_LOG is the size of the large one in MiB (`make fuzz`: 1024).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.chaos.figures import LOG, note
from tests.support.machines.desk import Desk, stage
from tests.support.programs.terminal import Terminal
from tests.support.values.hostile import EVIL, found_in

MIB = 1024**2
SIZE = int(os.environ.get("HOSTLER_FUZZ_LOG", "40"))
BOUND = 200
"""MiB that daemon and client may have had at their largest."""


def peak_mib(pid: int) -> float:
    """The largest that a process was."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1]) / 1024


def submit(desk: Desk, program: str) -> str:
    """A stage that is a Python program."""
    (desk.work / "say.py").write_text(program)
    command = json.dumps([sys.executable, "say.py"])
    return desk.submit(f'name = "l"\n[stages.a]\ncommand = {command}\n')


@pytest.fixture(scope="module")
def hostile_run(shared_alone: Desk) -> str:
    """A run whose log is hostile; it has ended."""
    shared_alone.start_daemon()
    program = f"""
import os, sys
out = sys.stdout.buffer
out.write({EVIL!r}.encode() + b"\\n" + b"10%\\r20%\\r" + bytes(range(256)) * 4 + b"\\n")
out.write(os.urandom(100_000) + b"\\n" + b"[bold]x[/bold]\\n" + b"L" * 10_000_000 + b"\\n")
out.write(b"\\x1b]0;TITLE" + b"x" * 5000 + b"\\nthe end\\n")
"""
    run_id = submit(shared_alone, program)
    shared_alone.ended(run_id)
    return run_id


@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_a_hostile_log_does_nothing_to_a_terminal(
    shared_alone: Desk, hostile_run: str, follow: list[str]
) -> None:
    argv = [sys.executable, "-m", "hostler", "logs", hostile_run, *follow]
    with Terminal(argv, env=shared_alone.env) as terminal:
        code = terminal.wait_end()
        output = terminal.output
    assert code == 0
    assert b"the end" in output
    assert b"[bold]x[/bold]" in output
    assert output.count(b"L") >= 10_000_000
    assert [bad for bad in found_in(output) if bad != b"\x9b"] == []
    rest = re.sub(rb"\x1b\[[0-9;:]*m|\r\x1b\[K|\r\n", b"", output).decode()
    assert not set(rest) & set("\x1b\r\x07\x08\x9b\u202e")


def test_a_huge_log_costs_bounded_memory_and_what_is_left_out_is_noted(alone: Desk) -> None:
    alone.config.write_text(f'[limits]\nlog_size = "{SIZE // 2}MiB"\n' + alone.config.read_text())
    alone.cold = True  # memory of its own
    alone.ok("daemon", "start")
    alone.cold = False
    run_id = submit(
        alone,
        f"import sys\nline = b'x' * 99 + b'\\n'\nfor _ in range({SIZE * MIB // 100_000}):\n"
        "    sys.stdout.buffer.write(line * 1000)\nsys.stdout.buffer.write(b'y' * 10_000_000)\n",
    )
    argv = [sys.executable, "-m", "hostler", "logs", "-f", run_id]
    alone.until(run_id, lambda run: bool(stage(run, "a")["attempt"]))
    reader = subprocess.Popen(argv, env=alone.env, cwd=alone.work, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    ends, peaks = threading.Event(), [0.0]

    def watch() -> None:
        while not ends.is_set():
            try:
                peaks.append(peak_mib(reader.pid))
            except (OSError, AssertionError):
                return  # it has ended
            time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    size, notes = 0, 0
    while piece := reader.stdout.read(MIB):
        size, notes = size + len(piece), notes + piece.count(b"[hostler")
    ends.set()
    watching.join()
    reader.stdout.close()
    assert reader.wait(30) == 0
    assert alone.ended(run_id)["outcome"] == "succeeded"
    # Where following keeps up, the end is left out; where the stage is faster, what came before.
    assert SIZE // 4 * MIB <= size < SIZE // 2 * MIB + 1000 * notes
    assert notes
    daemon = peak_mib(alone.daemon_pid())
    assert max(peaks) < BOUND
    assert daemon < BOUND
    told = f"daemon {daemon:.0f} MiB, client {max(peaks):.0f} MiB, of a log of {SIZE:,} MiB"
    note(LOG, told, "make fuzz")
