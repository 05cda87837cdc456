"""What a daemon does for one plain command, and without any run: nothing that only other runs need.
`make house` counts all files; these were taken back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import hostler
from hostler.base.json_types import JsonTable
from hostler.daemon.submit import Submission
from hostler.model.hosts import Look
from hostler.model.runs import Outcome
from tests.support.daemons.simdaemon import ANA, SimDaemon, sim, told
from tests.support.daemons.simlab import small_lab

ROOT = Path(hostler.__file__).parent
OF_OTHERS = {
    "base/mount_targets.py", "base/own_gpus.py", "daemon/after.py", "daemon/environments.py",
    "daemon/host_environments.py", "daemon/mounted.py", "daemon/nested.py", "daemon/pins.py",
    "daemon/placements.py", "daemon/secrets.py", "daemon/setups.py", "daemon/standing.py",
    "daemon/strays.py", "daemon/trust.py", "daemon/usage.py", "decide/own_gpus.py",
    "decide/requeue.py", "decide/ties.py", "model/environments.py", "store/nested.py",
    "store/run_texts.py",
}  # fmt: skip
"""Secrets, mounts, images, environments, setups, nested runs, other runs, GPUs, a shared daemon, a
restored database."""
OF_RUNS = {
    "decide/fullness.py", "decide/host_capacity.py", "decide/queue.py", "decide/settle.py",
    "store/alerts.py",
}  # fmt: skip


@contextmanager
def crossed() -> Iterator[set[str]]:
    """The files of Hostler of which a function was called meanwhile, in this thread."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name != "<module>":
            found.add(code.co_filename.removeprefix(f"{ROOT}/"))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)


async def test_a_daemon_without_runs_only_looks(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1, gpus=0), tmp_path) as daemon:
        for _ in range(10):  # the first ones may see the end of the start
            found = await crossed_by_looks(daemon)
            if not found & (OF_OTHERS | OF_RUNS):
                break
        assert {"decide/plan.py", "daemon/host_monitor.py"} <= found
        assert not found & (OF_OTHERS | OF_RUNS)


async def crossed_by_looks(daemon: SimDaemon) -> set[str]:
    """What runs during three looks."""
    monitor = daemon.daemon.context.monitors["gpu1"]
    with crossed() as found:
        seen: list[Look | None] = [monitor.host.look]
        while len(seen) < 4:
            await daemon.until(lambda: monitor.host.look is not seen[-1], "no look")
            seen.append(monitor.host.look)
            daemon.daemon.context.wake()
    return found


async def test_a_plain_command_asks_for_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    command: JsonTable = {"command": ["true"], "code": "none", "env": {**sim("seconds=0.05")}}
    async with SimDaemon(small_lab(1, gpus=0), tmp_path) as daemon:
        monitor = daemon.daemon.context.monitors["gpu1"]
        await daemon.until(lambda: monitor.is_connected, "no look")
        service = daemon.daemon.service
        with crossed() as found:
            run = await service.submit(Submission(command=command), ANA)
            await service.describe_new(run)
            ended = await daemon.finished(run.run_id)
        assert ended.outcome is Outcome.SUCCEEDED, told(ended)
        assert {"daemon/submit.py", "daemon/start.py", "daemon/finish.py"} <= found
        assert not found & OF_OTHERS
