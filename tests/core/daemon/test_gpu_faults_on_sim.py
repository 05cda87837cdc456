"""XIDs: the card's own take it out of placement until a probe, those of programs do not."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.daemon.overlay import FaultOverlay
from hostler.model.hosts import Gpu, GpuProcess, Look
from hostler.model.runs import Outcome, Phase
from hostler.model.xids import APPLICATION, FATAL, is_well
from tests.support.daemons.simdaemon import FAST, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage
from tests.support.values.stored import last_events

WATCHING = replace(FAST, alerts_every=0.05)
GPU = Gpu(uuid="GPU-1", index=0, memory_used=0, ecc_errors=0)


def look(at: float, gpu: Gpu = GPU) -> Look:
    return Look(asked_at=at, boot_id="b", gpus=(gpu,))


def problem(ill: FaultOverlay, at: float, gpu: Gpu = GPU) -> str | None:
    return ill.apply(look(at, gpu), 10.0).gpus[0].problem


def test_a_gpu_is_ill_until_looks_find_it_well_for_long_enough() -> None:
    ill = FaultOverlay()
    ill.add("GPU-1", "XID 48", 100.0)
    assert problem(ill, 99.0) == "XID 48"  # a look of before the fault proves nothing
    busy = replace(GPU, processes=(GpuProcess(pid=1, kind="compute"),))
    assert problem(ill, 101.0) == "XID 48"
    assert problem(ill, 105.0, busy) == "XID 48"
    assert problem(ill, 106.0) == "XID 48"
    assert problem(ill, 115.0) == "XID 48"
    assert problem(ill, 116.5) is None
    assert problem(ill, 117.0) is None


@pytest.mark.parametrize(
    ("gpu", "well"),
    [
        (GPU, True),
        (replace(GPU, ecc_errors=None), True),
        (replace(GPU, ecc_errors=2), False),
        (replace(GPU, memory_used=None), False),
        (replace(GPU, problem="lost"), False),
        (replace(GPU, processes=(GpuProcess(pid=1, kind="compute"),)), False),
        (replace(GPU, processes=(GpuProcess(pid=1, kind="graphics"),)), True),
    ],
)
def test_the_probe(gpu: Gpu, well: bool) -> None:
    assert is_well(gpu) is well


def test_no_xid_is_both_the_programs_and_the_cards() -> None:
    assert frozenset({13, 31, 43, 45}) == APPLICATION
    assert not APPLICATION & FATAL


async def test_a_failing_gpu_gets_no_work_and_is_back_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(FAST, gpu_healthy_for=60.0)
    async with SimDaemon(small_lab(1, gpus=2), tmp_path, timings=slow) as daemon:
        await daemon.until(lambda: _looked(daemon), "no look")
        faults_on(daemon.lab, "gpu1").tell_xid(0, 48)
        await daemon.until(lambda: _problems(daemon)[0] == "XID 48", "it is not out of placement")
        run_id = await daemon.submit(*(stage(n, gpus=1, env=sim("seconds=0.01")) for n in "abc"))
        ill = daemon.lab.host("gpu1").gpus[0].uuid
        run = await daemon.finished(run_id)
        assert _problems(daemon)[0] == "XID 48"
        assert len(run.attempts) == 3
        assert all(ill not in a.gpus for a in run.attempts)
        daemon.set_timings(gpu_healthy_for=0.2)
        await daemon.until(lambda: _problems(daemon)[0] is None, "it does not come back")
        both = await daemon.finished(
            await daemon.submit(stage("both", gpus=2, env=sim("seconds=0.01")))
        )
        assert both.outcome is Outcome.SUCCEEDED


async def test_neither_a_restart_nor_a_changed_config_makes_a_failing_gpu_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(FAST, gpu_healthy_for=60.0, alerts_every=0.05)
    async with SimDaemon(small_lab(1, gpus=2), tmp_path, timings=slow) as daemon:
        await daemon.until(lambda: _looked(daemon), "no look")
        faults_on(daemon.lab, "gpu1").tell_xid(0, 48)
        await daemon.until(lambda: _problems(daemon)[0] == "XID 48", "it is not out of placement")
        await _told(daemon, "gpu.fault")
        await daemon.stop()
        await daemon.begin()
        await daemon.until(lambda: _looked(daemon), "no look")
        assert _problems(daemon) == ["XID 48", None]
        slower = replace(daemon.config.daemon, look_interval=0.06)
        await daemon.daemon.fleet.apply(replace(daemon.config, daemon=slower))
        await daemon.until(lambda: _looked(daemon), "no look")
        assert _problems(daemon) == ["XID 48", None]
        daemon.set_timings(gpu_healthy_for=0.1)
        await _told(daemon, "gpu.healthy")
        daemon.set_timings(gpu_healthy_for=60.0)
        await daemon.stop()
        await daemon.begin()
        await daemon.until(lambda: _looked(daemon), "no look")
        assert _problems(daemon) == [None, None]


async def test_a_gpu_that_was_well_again_is_told_whoever_listens(tmp_path: Path) -> None:
    """Else it would be taken for failed at the next start, as where its alert ended otherwise."""
    async with SimDaemon(small_lab(1, gpus=1), tmp_path) as daemon:
        await daemon.until(lambda: _looked(daemon), "no look")
        faults_on(daemon.lab, "gpu1").tell_xid(0, 48)
        await _told(daemon, "gpu.healthy")  # alerts are not watched so soon
        assert await daemon.daemon.context.store.gpu_faults() == {}


@pytest.mark.parametrize("xid", sorted(APPLICATION))
async def test_a_programs_fault_costs_the_gpu_nothing(tmp_path: Path, xid: int) -> None:
    async with SimDaemon(small_lab(1, gpus=1), tmp_path) as daemon:
        await daemon.until(lambda: _looked(daemon), "no look")
        faults_on(daemon.lab, "gpu1").tell_xid(0, xid)
        run = await daemon.finished(await daemon.submit(stage(gpus=1, env=sim("seconds=0.01"))))
        assert run.outcome is Outcome.SUCCEEDED
        events = await last_events(daemon.daemon.context.store)
        (told,) = [e for e in events if e.kind.startswith("gpu.")]
        assert (told.kind, told.severity) == ("gpu.xid", "warning")


def _looked(daemon: SimDaemon) -> bool:
    monitor = daemon.daemon.context.monitors["gpu1"]
    return monitor.is_connected and monitor.host.look is not None


def _problems(daemon: SimDaemon) -> list[str | None]:
    seen = daemon.daemon.context.monitors["gpu1"].host.look
    return [gpu.problem for gpu in seen.gpus] if seen is not None else []


def test_the_protocol_names_the_same_xids() -> None:
    text = (Path(__file__).parents[3] / "docs/protocol.md").read_text(encoding="utf-8")
    about = text.partition("a GPU fault, from NVML's event set")[2].partition("(Both lists")[0]
    own, _, cards = about.partition("are application errors")
    assert {int(n) for n in re.findall(r"\d+", own)} == APPLICATION
    numbers = cards.partition("are faults of")[0]
    assert {int(n) for n in re.findall(r"\d+", numbers)} == FATAL


async def test_a_contested_gpu_is_told_and_named_in_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1, gpus=1), tmp_path, timings=WATCHING) as daemon:
        run_id = await daemon.submit(stage(gpus=1, env=sim("seconds=1.5 exit=1")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        pid = faults_on(daemon.lab, "gpu1").start_by_hand(0, user="bob")
        (failed,) = (await daemon.finished(run_id)).attempts
        assert failed.phase is Phase.FAILED
        assert "contested" in failed.detail
        assert "bob" in failed.detail
        assert str(pid) in failed.detail
        events = await last_events(daemon.daemon.context.store)
        (told,) = [e for e in events if e.kind == "gpu.contested"]
        assert "bob" in told.message
        assert "ana" in told.message or run_id in told.message
        assert pid in daemon.lab.host("gpu1").by_hand, "what is not ours was touched"


async def test_a_stage_that_lost_its_way_to_its_gpu_is_told_once_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1, gpus=2), tmp_path, timings=WATCHING) as daemon:
        lasts = sim("seconds=600")
        run_id = await daemon.submit(
            *(stage(n, gpus=1, image="x", runtime="docker", env=lasts) for n in ("one", "two"))
        )
        await daemon.until(lambda: len(_works(daemon)) == 2, "the workloads are not seen")
        # One that is only created by then would not be cut off.
        await daemon.until(lambda: len(daemon.lab.running()) == 2, "they do not run")
        faults_on(daemon.lab, "gpu1").cut_off_from_gpus()
        await _told(daemon, "attempt.gpu_cut_off", 2)
        service = daemon.daemon.service
        for told in (
            (await service.describe(run_id)).stages[0].trouble,
            (await service.why(run_id, None)).stages[0].sentence,
        ):
            assert "hostler doctor gpu1" in str(told)
        await daemon.stop()
        await daemon.begin()
        await daemon.until(lambda: len(_works(daemon)) == 2, "the workloads are not seen")
        for _ in range(2):
            await daemon.daemon.service.alerts.watch()
        assert (await daemon.kinds(run_id)).count("attempt.gpu_cut_off") == 2
        assert await _cut_off(daemon) == [("critical", run_id)] * 2
        assert len(daemon.lab.running()) == 2
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        await _told(daemon, "attempt.gpu_cut_off_over", 2)
        assert await _cut_off(daemon) == []


async def _cut_off(daemon: SimDaemon) -> list[tuple[str, str | None]]:
    listed = await daemon.daemon.service.alerts.list(open_only=True, limit=10)
    return [(a.severity, a.run_id) for a in listed.alerts if "runs on" in a.what]


def _works(daemon: SimDaemon) -> list[str]:
    seen = daemon.daemon.context.monitors["gpu1"].host.look
    return [work.ref for work in seen.workloads] if seen is not None else []


async def _told(daemon: SimDaemon, kind: str, times: int = 1) -> None:
    store = daemon.daemon.context.store
    async with asyncio.timeout(60):
        while sum(event.kind == kind for event in await last_events(store)) < times:
            await asyncio.sleep(0.02)
