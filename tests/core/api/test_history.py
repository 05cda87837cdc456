"""What the daemon says about the past: measurements."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hostler.base.errors import InputError, NotFoundError
from hostler.base.units import GIB
from hostler.client import Client
from hostler.client.call import Call, as_object
from hostler.daemon.assemble import SystemClock
from hostler.model.codec import to_json
from hostler.model.records import GpuSample, MetricPoint
from hostler.model.runs import Outcome, Phase, Source
from hostler.model.views.history import HistoryPage
from hostler.store.database import Store
from tests.support.daemons.served import Served, served
from tests.support.values import stored

T = TypeVar("T")


MINUTE = 1_764_000_000.0
NOW = MINUTE + 30


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """One for which time stands still."""
    monkeypatch.setattr(SystemClock, "now", lambda _clock: NOW)
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def client(daemon: Served) -> Client:
    return Client(daemon.socket_path, timeout=60)  # it answers late on a busy machine


def put(daemon: Served, work: Coroutine[Any, Any, T]) -> T:
    """Let the daemon's own loop do it."""
    return asyncio.run_coroutine_threadsafe(work, daemon.loop).result(60)


def store_of(daemon: Served) -> Store:
    return daemon.service.context.store


def sample(gpu: str, at: float, busy: float | None) -> GpuSample:
    return GpuSample("nowhere", gpu, at, busy, 2 * GIB, 100.0, 40.0)


def test_the_history_of_a_host_has_a_value_a_minute(daemon: Served, client: Client) -> None:
    samples = [
        sample(gpu, NOW - 60 * ago, busy)
        for ago in (2, 0)
        for gpu, busy in (("GPU-a", 80.0), ("GPU-b", None))
    ]
    put(daemon, store_of(daemon).metrics.add_gpu_samples(samples))
    found = client.host_history("nowhere", 5)
    assert (found.schema, found.host) == ("hostler.history/1", "nowhere")
    assert (found.begin, found.step_s) == (MINUTE - 240, 60.0)
    assert to_json(found.gpus["GPU-a"]) == {
        "utilization": [None, None, 80.0, None, 80.0],
        "memory_used": [None, None, 2 * GIB, None, 2 * GIB],
        "power": [None, None, 100.0, None, 100.0],
        "temperature": [None, None, 40, None, 40],
    }
    assert found.gpus["GPU-b"].utilization == (None,) * 5
    with pytest.raises(NotFoundError, match="no host 'gone'"):
        client.host_history("gone")
    with pytest.raises(InputError):
        client.host_history("nowhere", 0)


def test_the_history_of_the_fleet_is_of_fixed_length(daemon: Served, client: Client) -> None:
    for at in (NOW - 120, NOW):
        given = [sample(f"GPU-{n}", at, 50.0 * n) for n in range(3)]
        put(daemon, store_of(daemon).metrics.add_gpu_samples(given))
    found = client.fleet_history(4)
    assert to_json(found) == {
        "from": MINUTE - 180,
        "step_s": 60.0,
        "utilization": [None, 50.0, None, 50.0],
        "power": [None, 300.0, None, 300.0],
    }
    assert len(client.fleet_history().power) == 60


def finished(daemon: Served, life_s: float, **more: Any) -> None:
    """Store a run whose one attempt lived so long, until now."""
    ended = stored.attempt(
        started_at=NOW - life_s,
        finished_at=NOW,
        usage={"gpu_seconds_allocated": life_s, "gpu_memory_peak": 5.0},
        phase=Phase.SUCCEEDED,
        host="nowhere",
        **more,
    )
    put(daemon, store_of(daemon).create_run(stored.run(), "", []))
    put(daemon, store_of(daemon).add_attempt(stored.attempt(host="nowhere")))
    put(daemon, stored.put_attempt(store_of(daemon), ended))
    put(daemon, store_of(daemon).end_run("raaaaaa", Outcome.SUCCEEDED, NOW))


def test_a_short_attempt_is_shown_by_its_samples(daemon: Served, client: Client) -> None:
    samples = [sample("GPU-1", NOW - 20 + at, 5.0 * at) for at in range(0, 20, 2)]
    put(daemon, store_of(daemon).metrics.add_gpu_samples(samples))
    finished(daemon, 20.0)
    found = client.usage("raaaaaa", "train")
    assert to_json(found.attempts) == [
        {
            "attempt_id": "raaaaaa-train-1",
            "gpu_seconds_allocated": 20.0,
            "gpu_seconds_busy": None,
            "peak_memory": 5.0,
            "mean_utilization": None,
            "energy_wh": None,
        }
    ]
    assert (found.begin, found.step_s) == (NOW - 20, 5.0)
    assert found.gpus["GPU-1"].utilization == (10.0, 35.0, 60.0, 85.0)
    with pytest.raises(NotFoundError, match="no stage"):
        client.usage("raaaaaa", "nope")


def test_an_attempt_whose_samples_are_pruned_is_shown_by_minutes(
    daemon: Served, client: Client
) -> None:
    metrics = store_of(daemon).metrics
    samples = [sample("GPU-1", NOW - 600 + at, 50.0) for at in range(0, 700, 2)]
    put(daemon, metrics.add_gpu_samples(samples))
    put(daemon, metrics.prune(NOW, 0.0))
    finished(daemon, 300.0)
    found = client.usage("raaaaaa", "train")
    assert found.step_s == 60.0
    assert found.gpus["GPU-1"].utilization == (50.0,) * 6


def test_a_long_attempt_has_no_more_points_than_a_chart(daemon: Served, client: Client) -> None:
    finished(daemon, 86_400.0)
    found = client.usage("raaaaaa", "train")
    assert found.step_s == 600.0
    assert 144 <= len(found.gpus["GPU-1"].utilization) <= 146


def test_what_runs_now_is_told_so_far(daemon: Served, client: Client) -> None:
    context = daemon.service.context
    running = stored.attempt(phase=Phase.RUNNING, started_at=NOW - 40, gpus=("GPU-1", "GPU-2"))
    run = stored.run(attempts=(running,))
    daemon.loop.call_soon_threadsafe(context.run_cache.add, run)
    found = client.usage("raaaaaa", "train")
    assert found.attempts[0].gpu_seconds_allocated == 80.0
    daemon.loop.call_soon_threadsafe(context.run_cache.drop, run.run_id, Outcome.SUCCEEDED)


def test_runs_are_searched_by_what_they_were_given_and_what_came_out(
    daemon: Served, client: Client
) -> None:
    finished(daemon, 7200.0, metrics={"accuracy": 0.9, "loss": math.nan})
    found = client.history(metric=["accuracy>=0.9", "accuracy<1"], sort="-accuracy", text="digits")
    assert found.total == 1
    (run,) = found.runs
    assert run.took_s == 7200.0
    assert (run.gpu_hours, run.energy_wh, run.failed_stage) == (2.0, None, None)
    assert (run.metrics, run.params, run.hosts) == (
        {"accuracy": 0.9, "loss": None}, {}, ("nowhere",),
    )  # fmt: skip
    rows = [MetricPoint("loss", math.nan, 1.0), MetricPoint("loss", math.inf, 2.0)]
    put(daemon, store_of(daemon).put_stage_metrics("raaaaaa-train-1", rows))
    assert [row.value for row in client.metrics("raaaaaa", "train")] == [None, None]
    assert client.history(metric=["accuracy>=0.9", "accuracy>1"]) == HistoryPage()
    with pytest.raises(InputError, match="has no operator"):
        client.history(param=["lr"])
    with pytest.raises(InputError, match="no run can have the state"):
        client.history(state="odd")


def test_numbers_come_in_pages_or_thinned_and_keep_nobody_waiting(
    daemon: Served, client: Client
) -> None:
    """Half a million rows once took seven seconds of everybody's."""
    finished(daemon, 7200.0)
    rows = [MetricPoint("loss", float(at), float(at), at) for at in range(12_000)]
    put(daemon, store_of(daemon).put_stage_metrics("raaaaaa-train-1", rows))
    page = client.request(Call("GET", "/v1/runs/raaaaaa/metrics/train", as_object))
    assert (len(page["metrics"]), page["next"]) == (5000, "0.5000")
    assert [row.step for row in client.metrics("raaaaaa", "train")] == list(range(12_000))
    few = client.metrics("raaaaaa", "train", points=100)
    assert 90 <= len(few) <= 101
    assert few[-1].step == 11_999
    for query in ("after=x", "after=-1.0", "points=1", "after=0.99999999999999999999"):
        with pytest.raises(InputError):
            client.request(Call("GET", f"/v1/runs/raaaaaa/metrics/train?{query}", as_object))
    late = Call("GET", "/v1/runs/raaaaaa/metrics/train?after=7.0", as_object)
    assert client.request(late)["metrics"] == []


def test_runs_are_compared_with_their_curves(daemon: Served, client: Client) -> None:
    finished(daemon, 7200.0, metrics={"accuracy": 0.9})
    put(daemon, store_of(daemon).create_run(stored.run("rbbbbbb", params={"lr": 0.1}), "", []))
    rows = [MetricPoint("accuracy", at / 1000, float(at), at) for at in range(1000)]
    put(daemon, store_of(daemon).put_stage_metrics("raaaaaa-train-1", rows))
    found = client.compare(["raaa", "rbbbbbb"])
    assert [run.run_id for run in found.runs] == ["raaaaaa", "rbbbbbb"]
    by_name = {row.name: row for row in found.rows}
    assert to_json(by_name["lr"]) == {
        "section": "parameters", "name": "lr", "values": [None, 0.1], "differs": True,
        "better": None,
    }  # fmt: skip
    assert by_name["took_s"].values == (7200.0, None)
    curve, none = found.series["accuracy"]
    assert none == ()
    assert (curve[0], curve[-1]) == ((0.0, 0.0), (999.0, 0.999))
    assert 200 < len(curve) <= 241
    with pytest.raises(NotFoundError):
        client.compare(["raaa", "rzzz"])
    with pytest.raises(InputError):
        client.compare([])


def test_the_source_of_a_run_has_its_patch_and_the_run_has_not(
    daemon: Served, client: Client
) -> None:
    source = Source(git_commit="c1", git_branch="main", git_dirty=True, git_diff="+x\n")
    put(daemon, store_of(daemon).create_run(stored.run(source=source), "", []))
    assert to_json(client.source("raaa")) == {
        "digest": None, "path": None, "git_commit": "c1", "git_branch": "main",
        "git_dirty": True, "git_diff": "+x\n", "include": [], "origins": {},
    }  # fmt: skip
    assert "git_diff" not in to_json(client.show("raaa").source)
    with pytest.raises(NotFoundError):
        client.source("rzzz")
