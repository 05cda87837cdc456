"""A daemon on a simulated lab with its API on a socket, in a process of its own.

with sim_served(tmp_path) as lab:
    client = lab.client()
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostler.api.serve import serve_api
from hostler.base.errors import NoDaemonError
from hostler.client import Client
from hostler.daemon.serve import serve
from hostler.quick.socket import Found
from hostler.sim import SimLab, demo_lab, outside


@dataclass(frozen=True)
class SimServed:
    """Where it listens, and its process."""

    socket: Path
    pid: int

    @property
    def found(self) -> Found:
        """For clients."""
        return Found(str(self.socket), "flag")

    def client(self) -> Client:
        """A client."""
        return Client(found=self.found)

    def submit(self, pipeline: str) -> str:
        """Submit a pipeline's text that needs no source (`code = "none"`); the run's id."""
        return str(self.client().submit({"pipeline": pipeline}).run_id)


def _serve(make: Callable[[], SimLab], folder: Path, settings: dict[str, float]) -> None:
    os.setsid()
    lab = make()
    config = lab.config(**settings)
    serve(config, folder / "state", folder / "s", serve_api, outside(lab), lab.clock)


@contextmanager
def sim_served(
    folder: Path,
    make: Callable[[], SimLab] = demo_lab,
    *,
    look_interval: float = 2.0,
    **settings: float,
) -> Iterator[SimServed]:
    """Serve a lab until the block ends. `settings` are fields of `DaemonConfig`."""
    settings["look_interval"] = look_interval
    process = multiprocessing.get_context("fork").Process(
        target=_serve, args=(make, folder, settings)
    )
    process.start()
    assert process.pid is not None
    served = SimServed(folder / "s", process.pid)
    try:
        ends = time.monotonic() + 60
        while not _answers(served):
            assert process.is_alive(), "the daemon ended"
            assert time.monotonic() < ends, "the daemon did not come up"
            time.sleep(0.02)
        yield served
    finally:
        process.terminate()
        process.join(60)
        if process.is_alive():
            process.kill()
            process.join(5)


def _answers(served: SimServed) -> bool:
    try:
        fleet = served.client().gpus()
    except NoDaemonError:
        return False
    return all(host["age_s"] is not None for host in fleet["hosts"])
