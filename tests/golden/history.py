"""A small lab with a short past, the same each time: what the answers in files/ are about.

Three simulated hosts of two GPUs. On gpu2 somebody works by hand, gpu3 loses a GPU and is cut off.
Runs: two of a pipeline (one kept), one that failed, one cancelled, one that runs, one that waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostler.client import Client
from hostler.sim import SimLab
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.programs.simserved import SimServed, sim_served

LOST, CUT = "lost", "cut"
"""Files of these names in the lab's folder: gpu3 loses a GPU; it is cut off."""

PIPELINE = """
name = "digits"
title = "learns digits"

[params]
lr = 0.1

[stages.prepare]
command = ["python3", "prepare.py"]
env = { SIM = "seconds=0 lines=2 write=data.csv:64" }
outputs = { data = "data.csv" }
resources = { host = ["gpu2"] }

[stages.train]
command = ["python3", "train.py", "--lr", "{params.lr}"]
matrix = { seed = [1, 2] }
max_parallel = 1
env = { SIM = "seconds=0 lines=3 metric.loss=2.0:0.5 metric.accuracy=0.9 write=model.pt:32" }
inputs = { data = "prepare.data" }
outputs = { model = "model.pt" }
resources = { gpus = 1, gpu_memory = "40GiB", host = ["gpu2"] }

[stages.check]
kind = "gate"
command = ["python3", "check.py"]
needs = ["train"]
env = { SIM = "seconds=0 lines=1 metric.accuracy=0.9" }
pass = ["accuracy >= 0.8"]
resources = { host = ["gpu2"] }

[stages.report]
command = ["python3", "report.py"]
needs = ["check"]
when = "params.lr > 1"
"""

Command = Callable[..., Any]


@dataclass
class Past:
    """The lab, and its runs by what they are."""

    lab: SimServed
    folder: Path
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        """Of the lab's daemon."""
        return self.lab.client()


@contextmanager
def past(folder: Path) -> Iterator[Past]:
    """Serve the lab until the block ends; nothing has happened yet."""

    def make() -> SimLab:
        lab = small_lab(hosts=3, gpus=2)
        by_hand = lab.host("gpu2")
        by_hand.start_by_hand(by_hand.gpus[1].uuid, "bo", 8 * 1024**3, "python3 notebook.py")
        lab.scripts.append(lambda _now: _go_wrong(lab, folder))
        return lab

    # No pause of a busy machine may pass for a silent host.
    with sim_served(folder, make, look_interval=0.1, look_timeout=60.0) as lab:
        yield Past(lab, folder)


def _go_wrong(lab: SimLab, folder: Path) -> None:
    faults, card = faults_on(lab, "gpu3"), lab.host("gpu3").gpus[1]
    if (folder / LOST).exists() and card.problem is None:
        faults.lose_gpu(1)
    if (folder / CUT).exists():
        faults.cut()


def until(true: Callable[[], bool], why: str, seconds: float = 300.0) -> None:
    """Wait for a condition."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, why
        time.sleep(0.02)
