"""Work that outlives its daemon: stages that wait, at no cost, until a test lets them end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.support.machines.desk import Desk, wait_until
from tests.support.programs.fake_nvml import FakeNvml, build

GPUS = 8
CONFIG = """
[daemon]
look_interval = "5s"
[hosts.here]
transport = "local"
cpus = 100
"""
"""More processors than there are: the stages only wait. Looks are seldom, since they cost most."""


class Work:
    """A person whose only host is this machine, with simulated GPUs and folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder)
        self.desk.config.write_text(CONFIG)
        self.base, self.leases = folder / "host", folder / "shared" / "leases"
        self.begun = folder / "begun"
        self.desk.more_env = {
            **FakeNvml(folder / "gpus", count=GPUS).env(build()),
            "HOSTLER_FOLDER": str(self.base),
            "HOSTLER_LEASES": str(self.leases),
            "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        }

    def gate(self, name: str) -> Path:
        """A pipe that stages wait at: opening it blocks until `open_gate`."""
        path = self.desk.home / f"gate-{name}"
        os.mkfifo(path)
        return path

    def pipeline(self, gate: Path, cells: int, *, gpus: int = 0, code: int = 0) -> str:
        """Text of a pipeline whose cells say that they begin, wait at the gate and end."""
        numbers = ", ".join(str(number) for number in range(cells))
        return f"""
name = "{gate.name}"
[stages.a]
command = '''
n={{matrix.n}}
echo "begin $n $$"
echo "{gate.name} $n" >> {self.begun}
printf '{{"step": 1, "n": %s}}\\n' "$n" >> "$HOSTLER_METRICS"
: < {gate}
echo "end $n $$"
echo "made $n" > out
exit {code}
'''
shell = true
matrix = {{ n = [{numbers}] }}
fail_fast = false
outputs = {{ o = "out" }}
resources = {{ gpus = {gpus} }}
"""

    def running(self, run_id: str) -> int:
        """How many stages of a run run, as far as the daemon knows."""
        return sum(stage["status"] == "running" for stage in self.desk.show(run_id)["stages"])

    def until_running(self, run_id: str, cells: int) -> None:
        """Wait until so many stages run, and all of them wait at their gate."""
        name = self.desk.show(run_id)["pipeline"]
        wait_until(lambda: self.starts(name) == cells, f"{cells} stages of {name} begin", 300)
        # To describe so many stages costs the daemon more than to run them: seldom.
        wait_until(lambda: self.running(run_id) == cells, f"{cells} run", 300, every=1.0)

    def starts(self, name: str) -> int:
        """How often any stage of a pipeline has begun."""
        lines = self.begun.read_text().splitlines() if self.begun.exists() else []
        return sum(line.startswith(f"{name} ") for line in lines)

    def open_gate(self, gate: Path, run_id: str) -> dict[str, Any]:
        """Let the stages end; the run object when the run has ended."""
        # Readers that come later find it open, too.
        descriptor = os.open(gate, os.O_RDWR)
        try:
            return self.desk.ended(run_id)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Stop the daemon, and end the stages that a test which failed has left at their gates."""
        gates = [os.open(gate, os.O_RDWR) for gate in self.desk.home.glob("gate-*")]
        try:
            self.desk.close()
        finally:
            for gate in gates:
                os.close(gate)

    def held(self) -> list[str]:
        """Leases of GPUs that lie on the host."""
        return sorted(path.name for path in self.leases.glob("GPU-*.json"))
