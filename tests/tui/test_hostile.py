"""What people and hosts put into names and logs does nothing to the terminal of who looks."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.daemons.scripted_daemon import ScriptedDaemon
from tests.support.machines.desk import wait_until
from tests.support.programs.simserved import sim_served
from tests.support.programs.terminal import Terminal
from tests.support.values.hostile import found_in, poisoned

PIPELINE = """
name = "sft"
[params]
lr = 0.1
[defaults]
code = "none"
[stages.train]
image = "python:3.12-slim"
command = "python train.py"
env = { SIM = "seconds=%s exit=%s lines=20 metric.loss=0.5" }
resources = { gpus = 1 }
[stages.eval]
needs = ["train"]
image = "python:3.12-slim"
command = "python eval.py"
resources = { gpus = 1 }
[stages.big]
image = "python:3.12-slim"
command = "true"
resources = { gpus = 8, gpu_model = "H100" }
"""

SERVICE = """
name = "chat"
[defaults]
code = "none"
[stages.serve]
kind = "service"
command = "serve"
health = "/"
env = { SIM = "seconds=600" }
"""

WALK: tuple[tuple[bytes, ...], ...] = (
    (b"1", b"j", b"x", b"g", b"g", b"\x1b[C", b"?", b"\x1b", b"!", b"\x1b", b":", b"a", b"\x1b"),
    (b"1", b"\r", b"\t", b"j", b"\x1b"),
    (b"2", b"j", b"b", b"o", b"X", b"\x1b", b"R", b"\x1b", b"-", b"\x1b"),
    (b"\r", b"m", b"W", b"i", b"a", b"e", b"D", b"l", b"w", b"/", b"a", b"\r", b"n", b"&"),
    (
        b"4",
        b"j",
        b"D",
        b"\x1b",
        b"\t",
        b"j",
        b"\t",
        b" ",
        b"R",
        b"\x1b",
        b"s",
        b"\x1b",
        b"X",
        b"\x1b",
    ),
    (b"5", b" ", b" ", b"c", b"u", b"m", b"\x1b"),
    (b"6", b"j", b"e", b"j", b"e"),
)
"""Keys for every screen, sheet and dialog; each after the picture of the one before."""

SMALL: tuple[tuple[bytes, ...], ...] = (
    (b"1", b"j", b"?", b"\x1b", b"!", b"\x1b", b"\r", b"\t", b"\x1b"),
    (b"2", b"j", b"-", b"\x1b", b"\r", b"i", b"a", b"e", b"l"),
    (b"4", b"\t", b"\t"),
    (b"5", b" ", b" ", b"c", b"\x1b"),
    (b"6", b"e"),
)
"""Keys for what is laid out otherwise where there is little room; dialogs are not."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_text_from_outside_steers_the_terminal(tmp_path: Path) -> None:
    ends = threading.Event()
    with sim_served(tmp_path) as lab:
        lab.submit(PIPELINE % (0.1, 3))
        lab.submit(PIPELINE % (600, 0))
        lab.client().deploy({"pipeline": SERVICE})
        daemon = ScriptedDaemon(tmp_path / "evil.sock")
        for method in ("GET", "HEAD"):
            daemon.on(method, "/v1/*", poisoned(lab, ends))
        daemon.on("GET", "/v1/version", poisoned(lab, ends))
        try:
            walks = [
                _walk(daemon.path, tmp_path, (160, 45), WALK),
                _walk(daemon.path, tmp_path, (80, 24), SMALL),
            ]
        finally:
            ends.set()
            daemon.close()
    for output, code in walks:
        assert found_in(output) == []
        assert b"Traceback" not in output
        assert b"UFdORUQ=" in output, "no hostile text was on the screen: nothing was tested"
        assert code == 0


def _walk(
    socket: Path, folder: Path, size: tuple[int, int], walk: tuple[tuple[bytes, ...], ...]
) -> tuple[bytes, int]:
    program = "import sys; from hostler_tui.app import main; sys.exit(main())"
    env = {"HOSTLER_SOCKET": str(socket), "XDG_CACHE_HOME": str(folder / "cache"), "TMUX": ""}
    argv = [sys.executable, "-c", program]
    with Terminal(argv, columns=size[0], rows=size[1], env=env) as terminal:
        terminal.wait_for(b"atlas")
        for keys in walk:
            for key in keys:
                _press(terminal, key)
        terminal.send(b"q")
        terminal.wait_for(b"again to leave")
        return terminal.output, _left(terminal)


def _left(terminal: Terminal) -> int:
    """The exit code. The second `q` counts for a few seconds only, which may have passed where the
    screen has little of the processor."""
    for _ in range(10):
        terminal.send(b"q")
        with contextlib.suppress(AssertionError):
            return terminal.wait_end(6.0)
    return terminal.wait_end()


def _press(terminal: Terminal, key: bytes) -> None:
    """A key, until it was read, and then until the picture has been still for a moment, or 1.5 s. A
    key that is read together with Escape would be another one: Alt with that key."""
    terminal.send(key)
    wait_until(lambda: not terminal.unread, "the key is read")
    ends, seen = time.monotonic() + 1.5, -1
    while time.monotonic() < ends and seen != (seen := terminal.count):
        time.sleep(0.15 if key != b"\x1b" else 0.4)
