"""A lab that was made up for pictures: always the same, with one of everything."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from textual.pilot import Pilot

from hostler.model.codec import from_answer, to_json
from hostler.model.views.runs import RunView
from hostler_tui.app import HostlerApp
from hostler_tui.messages import FleetSeen, RunsSeen
from tests.support.screens.screen import no_daemon
from tests.support.values.fleets import A100, GIB, NOW, RTX3090, fleet, gpu, host
from tests.support.values.run_objects import attempt

H100 = ("NVIDIA H100 80GB HBM3", 85520809984)


def made_fleet() -> Any:
    """Six hosts: in use, free, drained, stale, without GPUs, and one with an error."""
    used = [
        _leased(0, 98.0, 70.6), _leased(1, 97.0, 70.6), _leased(2, 45.0, 70.6),
        gpu(3, "."), gpu(4, "."),
        gpu(5, "F", owners=["carol"], why="carol's python (48213, 9.8 GiB)", since=NOW - 480,
            memory_used=int(9.8 * GIB), utilization=97.0, temperature=71.0, power=312.0),
        gpu(6, "i", owners=["dmitri"], why="dmitri's lease by hand", since=NOW - 21600,
            memory_used=int(48.8 * GIB), temperature=41.0, power=71.0),
        gpu(7, "C", owners=["ana", "mallory"], why="mallory's blender beside ana's run",
            since=NOW - 60, memory_used=int(12 * GIB), utilization=61.0),
    ]  # fmt: skip
    broken = [gpu(n, ".", RTX3090) for n in range(4)]
    broken[2] = gpu(2, "E", RTX3090, why="fell off the bus", memory_used=None, utilization=None,
                    temperature=None, power=None)  # fmt: skip
    return fleet(
        {**host("gpu-01", "........"), "gpus": _named("gpu-01", used)},
        host("gpu-02", "........", H100),
        host("gpu-03", "DDDD", RTX3090, drained="PSU replacement"),
        {**host("gpu-04", "...."), "gpus": _named("gpu-04", broken)},
        host("gpu-05", "????", A100, condition="unreachable", age_s=184.0,
             problem="connection reset by peer"),
        host("login", "", age_s=0.4),
    )  # fmt: skip


def _leased(index: int, utilization: float, used: float) -> dict[str, Any]:
    found: dict[str, Any] = gpu(
        index, "L", owners=["ana"], why="ana's r7f3a2k-train-1", since=NOW - 11520,
        memory_used=int(used * GIB), utilization=utilization, temperature=66.0, power=398.0,
    )  # fmt: skip
    return found


def _named(name: str, gpus: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**entry, "uuid": f"GPU-{name}-{entry['index']}"} for entry in gpus]


def made_run() -> RunView:
    """A run on the first three GPUs of gpu-01, and a stage that waits for eight."""
    gpus = [f"GPU-gpu-01-{n}" for n in range(3)]
    first = attempt(attempt_id="r7f3a2k-train-1", host="gpu-01", gpus=gpus)
    told = {
        "run_id": "r7f3a2k", "pipeline": "llm-sft", "owner": "ana", "state": "running",
        "title": "", "submitted_at": NOW - 11600, "outcome": None, "priority": 0, "params": {},
        "stages": [
            {"name": "train", "label": "train", "gpus": 3, "status": "running", "reason": None,
             "attempt": first, "attempts": [first], "needs": [], "kind": "task"},
            {"name": "eval", "label": "eval", "gpus": 8, "status": "waiting", "attempt": None,
             "reason": {"sentence": "no room"}, "attempts": [], "needs": [], "kind": "task"},
        ],
    }  # fmt: skip
    return from_answer(RunView, to_json(told))


class Shown:
    """An app without a daemon whose model is filled by hand."""

    def __init__(self, monkeypatch: Any, tmp_path: Any) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr("time.time", lambda: NOW + 1)
        self.app = HostlerApp(find=no_daemon)
        monkeypatch.setattr(self.app, "_connect", lambda: None)

    def run(self, columns: int, rows: int) -> AbstractAsyncContextManager[Pilot[int]]:
        """With a screen of this size."""
        return self.app.run_test(size=(columns, rows))

    async def see(self, pilot: Pilot[int], told: Any = None, *runs: Any) -> None:
        """Let the app see a fleet and runs, and draw."""
        self.app.post_message(FleetSeen(told or made_fleet(), NOW))
        self.app.post_message(RunsSeen(runs or (made_run(),)))
        await pilot.pause()
        await pilot.pause()
        self.app._tick()
        await pilot.pause()
