"""A daemon that is told to stop ends soon, whatever hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

HANGING = """
import asyncio, sys, threading
from functools import partial
from pathlib import Path
from hostler.daemon.serve import end_within, serve
from hostler.sim import outside
from hostler.sim.link import SimLink
from tests.support.daemons.simlab import small_lab

async def close(link):
    await asyncio.Event().wait()

async def api(service, path, *, group, ready):
    asyncio.ensure_future(asyncio.to_thread(threading.Event().wait))  # a disk that hangs
    print("ready", flush=True)
    await asyncio.Event().wait()

SimLink.close = close
lab = small_lab(1)
state = Path(sys.argv[1])
ending = partial(end_within, float(sys.argv[2]))
serve(lab.config(), state, state / "s", api, outside(lab), lab.clock, ending=ending)
"""


def test_a_daemon_ends_though_a_host_and_a_disk_hang(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGING, str(tmp_path / "state"), "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == "ready\n"
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(timeout=60) == 0  # what hangs would hold it up without end
        finally:
            daemon.kill()
