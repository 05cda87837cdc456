"""Metrics files of stages that run, on a simulated lab: all are read, a few at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.daemon import follow
from hostler.runtimes import metrics
from hostler.runtimes.metrics import MetricsReader
from tests.support.daemons.simdaemon import FAST, SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage

_STAGES = 8
TIMINGS = replace(FAST, metrics_first=0.0, metrics_tick=0.01)
"""All files are due in every tick."""


async def test_many_files_are_read_in_turn_and_few_in_one_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_turn: list[str] = []
    under_way, most = set[str](), 0

    async def read(reader: MetricsReader, *_asked: object, **_how: object) -> bool:
        nonlocal most
        attempt_id = reader._attempt_id
        under_way.add(attempt_id)
        most = max(most, len(under_way))
        await asyncio.sleep(0)
        under_way.discard(attempt_id)
        in_turn.append(attempt_id)
        return False

    monkeypatch.setattr(MetricsReader, "read", read)
    async with SimDaemon(small_lab(2), tmp_path, timings=TIMINGS) as daemon:
        run_id = await daemon.submit(
            *(stage(f"s{n}", cpus=1, env=sim("seconds=30")) for n in range(_STAGES))
        )
        await daemon.until(lambda: len(set(in_turn)) == _STAGES, "not all files are read")
        assert most == follow._METRICS_AT_ONCE < _STAGES
        await daemon.cancel(run_id)
        await daemon.finished(run_id)


async def test_a_file_is_read_on_and_not_again_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def parse(text: str, *how: Any) -> metrics.Metrics:
        parsed.append(text)
        return real(text, *how)

    real = metrics.parse_metrics
    monkeypatch.setattr(metrics, "parse_metrics", parse)
    async with SimDaemon(small_lab(1), tmp_path, timings=TIMINGS) as daemon:
        run_id = await daemon.submit(
            stage("train", cpus=1, env=sim("seconds=1 lines=40 metric.loss=1"))
        )
        run = await daemon.finished(run_id)
        assert len(parsed) > 2
        (attempt,) = run.attempts
        stored, _ = await daemon.daemon.context.store.metrics.page_of_metrics(
            attempt.attempt_id, 0, 1000
        )
        assert "".join(parsed).count("\n") == len({point.step for point in stored}) > 30
        assert attempt.metrics["loss"] == stored[-1].value
