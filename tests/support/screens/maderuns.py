"""Runs that were made up for pictures and tests of screens, and a client that knows them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from hostler.base.errors import HostlerError
from hostler.model.codec import from_answer
from hostler.model.views.alerts import EventView, StreamLine
from hostler.model.views.files import ArtifactView
from hostler.model.views.history import MetricView, StageUsage
from hostler.model.views.plans import WhyStage, WhyView
from hostler.model.views.runs import NewRun, RunDetail, RunSource, RunView
from tests.support.daemons.stored_log import StoredLog
from tests.support.values.run_objects import NOW, attempt, run, stage

WHY = {
    "sentence": "no host has 8 GPUs of 79 GiB free: the nearest is gpu-02 with 7",
    "hosts": [
        {"host": "gpu-02", "sentence": "7 of 8 free; bo's r81bc-train-1 holds gpu 3 since 40m"},
        {"host": "gpu-01", "sentence": "3 of 8 free"},
        {"host": "gpu-03", "sentence": "drained: PSU replacement"},
    ],
    "remedies": [],
    "nearest": "7 GPUs on gpu-02",
}


def training(**more: Any) -> RunDetail:
    """Six stages: two done, two that run (one in its second try), two that wait."""
    first = attempt("failed", 1, attempt_id="r7f3a2k-tokenize-1", stage="tokenize", gpus=[],
                    duration=41.0, cause="host lost", detail="gpu-04 does not answer")  # fmt: skip
    second = attempt("running", 2, attempt_id="r7f3a2k-tokenize-2", stage="tokenize", gpus=[])
    done: dict[str, Any] = {"gpus": [], "duration": 41.0, "finished_at": NOW - 50, "host": "gpu-01"}
    return run(
        stage("fetch", "succeeded", gpus=0, attempt=attempt("succeeded", **done),
              attempts=[attempt("succeeded", **done)]),
        stage("clean", "succeeded", gpus=0, needs=["fetch"], attempt=attempt("succeeded", **done),
              attempts=[attempt("succeeded", **done)]),
        stage("tokenize", "running", gpus=0, needs=["clean"], attempt=second,
              attempts=[first, second]),
        stage("stats", "running", gpus=2, needs=["clean"]),
        stage("train", gpus=8, needs=["tokenize", "stats"], reason=WHY),
        stage("eval", gpus=1, needs=["train"],
              reason={"sentence": "waits for train (waiting)", "hosts": [], "nearest": None}),
        **{"run_id": "r7f3a2k", "pipeline": "llm-sft", "params": {"lr": 0.00003, "batch": 512},
           "source": {"digest": "d1", "path": "/home/ana/sft", "git_commit": "4f2c91a" * 5,
                      "git_branch": "main", "git_dirty": True}, **more},
    )  # fmt: skip


@cache
def grid() -> RunDetail:
    """A matrix of 10 x 100 cells, three of which run. Always the same, since it takes long."""
    cells = [
        stage(f"train.{n}", "running" if n < 3 else "waiting", label=f"train.{n} (seed={n})",
              needs=["prepare"],
              reason=None if n < 3 else {"sentence": "999 stages wait before it", "hosts": [],
                                         "nearest": None})
        for n in range(1000)
    ]  # fmt: skip
    names = [cell.name for cell in cells]
    return run(
        stage("prepare", "succeeded", gpus=0), *cells, stage("select", gpus=0, needs=names),
        run_id="r9grid0", pipeline="sweep", owner="bo", uid=4242,
    )  # fmt: skip


EVENTS = [
    EventView(n + 1, NOW - 190 + 20 * n, "x", message, severity)
    for n, (message, severity) in enumerate([
        ("ana submitted llm-sft", "info"), ("fetch succeeded on gpu-01", "info"),
        ("tokenize: host lost, tried again", "warning"), ("tokenize runs on gpu1", "info"),
    ])
]  # fmt: skip

METRICS = [
    {"attempt_id": "r7f3a2k-tokenize-2", "name": name, "value": value, "at": NOW - 100 + n,
     "step": n}
    for n in range(100)
    for name, value in (("loss", 0.4 + 2.2 * math.exp(-n / 25)), ("tokens_s", 411_000.0 + 90 * n))
]  # fmt: skip

USAGE = {
    "attempts": [{"attempt_id": "r7f3a2k-stats-1", "gpu_seconds_allocated": 200.0,
                  "gpu_seconds_busy": 150.0, "peak_memory": 40 * 1024**3,
                  "mean_utilization": 75.0, "energy_wh": 12.5}],
    "from": NOW - 100, "step_s": 10,
    "gpus": {"GPU-gpu1-0": {"utilization": [50.0, 60.0, None, None, 90.0, 95.0],
                            "memory_used": [1024**3 * n for n in (1, 10, 30, 40, 40, 40)]}},
}  # fmt: skip

SOURCE = {
    "git_commit": "4f2c91a" * 5, "git_branch": "main", "git_dirty": True, "digest": "d1",
    "path": "/home/ana/sft",
    "git_diff": "diff --git a/t.py b/t.py\n--- a/t.py\n+++ b/t.py\n@@ -1 +1 @@\n-lr = 1\n+lr = 2\n",
}  # fmt: skip

ARTIFACTS = [
    {"run_id": "r7f3a2k", "stage": "clean", "name": "tokens", "digest": "9c1e" * 16,
     "size": 44239421440, "files": 41, "attempt_id": "r7f3a2k-clean-1", "collected_at": NOW - 50},
]  # fmt: skip


class StoredRuns(StoredLog):
    """Stands where `AsyncClient` does: knows some runs, and notes what it is asked to do."""

    def __init__(self, *runs: RunView) -> None:
        super().__init__(b"".join(b"12:00:%02d INFO step=%d\n" % (n, n) for n in range(60)))
        self.known = {one.run_id: one for one in runs}
        self.done: list[tuple[Any, ...]] = []
        self.refusal: HostlerError | None = None
        """What every wish is answered with."""
        self.answers: dict[str, Any] = {
            "metrics": METRICS, "usage": USAGE, "source": SOURCE, "artifacts": ARTIFACTS,
        }  # fmt: skip

    async def run_events(
        self, run_id: str, *, after: int | None = None, follow: bool = False
    ) -> AsyncIterator[StreamLine]:
        """What happened, then the run; for ever while it is open."""
        for event in EVENTS:
            if event.seq > (after or 0):
                yield StreamLine(event=event)
        yield StreamLine(run=self.known[run_id])
        while follow and self.known[run_id].outcome is None:
            before = self.known[run_id]
            await self.wait()
            if self.known[run_id] is not before:
                yield StreamLine(run=self.known[run_id])

    async def runs(self, *, limit: int) -> list[RunView]:
        """The newest of them."""
        return list(self.known.values())[-limit:]

    def change(self, run_id: str, run: RunView) -> None:
        """The run is different now."""
        self.known[run_id] = run
        self._tell()

    async def metrics(self, run_id: str, stage: str, *, points: int | None = None) -> Any:
        """As the daemon's."""
        return [from_answer(MetricView, row) for row in self.answers["metrics"]]

    async def usage(self, run_id: str, stage: str) -> Any:
        """As the daemon's."""
        return from_answer(StageUsage, self.answers["usage"])

    async def source(self, run_id: str) -> Any:
        """As the daemon's."""
        return from_answer(RunSource, self.answers["source"])

    async def why(self, run_id: str) -> Any:
        """As the daemon's."""
        stages = [
            WhyStage(
                name=s.name, base=s.base, label=s.label, status=s.status, reason=s.reason,
                sentence=s.reason.sentence if s.reason else f"{s.status} on gpu1",
            )
            for s in self.known[run_id].stages
        ]  # fmt: skip
        return WhyView(run_id=run_id, stages=tuple(stages))

    async def artifacts(self, run_id: str) -> Any:
        """As the daemon's."""
        return tuple(from_answer(ArtifactView, each) for each in self.answers["artifacts"])

    async def cancel(self, run_id: str) -> Any:
        """A wish."""
        return self._wish("cancel", run_id)

    async def retry(self, run_id: str) -> Any:
        """A wish."""
        return self._wish("retry", run_id)

    async def priority(self, run_id: str, priority: int) -> Any:
        """A wish."""
        return self._wish("priority", run_id, priority)

    def _wish(self, *what: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.done.append(what)
        return NewRun(run_id="rnew000")
