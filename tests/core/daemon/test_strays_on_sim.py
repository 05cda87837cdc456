"""Stages that compute on GPUs that they were not given, on a simulated lab: reported and ended.

A host's clock since its boot is moved on instead of waiting for ten seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from hostler.daemon.strays import Strays
from hostler.model.config import Config
from hostler.model.events import EventKind
from hostler.model.hosts import GpuProcess, Look, StrayUse
from hostler.model.pipelines import Cause, Retries
from hostler.model.records import NewEvent
from hostler.model.runs import Attempt, Outcome, Phase
from tests.support.daemons.simdaemon import FAST, SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage
from tests.support.values.stored import last_events

WATCHFUL = replace(FAST, alerts_every=0.05)
SENTENCE = (
    "on GPU 1 of gpu1, which it was not given (given: GPU 0): it sets CUDA_VISIBLE_DEVICES=1; "
    "remove that"
)


def running(attempt: Attempt) -> bool:
    return attempt.phase is Phase.RUNNING


def only_tell(config: Config) -> Config:
    return replace(config, policy=replace(config.policy, strays="tell"))


async def seen_for_long(daemon: SimDaemon) -> None:
    """Let the next look show it after more than ten seconds."""
    monitor = daemon.daemon.context.monitors["gpu1"]

    def shows() -> bool:
        gpus = monitor.host.look.gpus if monitor.host.look is not None else ()
        return any(process.stray for gpu in gpus for process in gpu.processes)

    await daemon.until(shows, "no look shows it")
    daemon.lab.hosts["gpu1"].booted_at -= 11.0


async def reported(daemon: SimDaemon) -> list[tuple[str, str]]:
    events = await last_events(daemon.daemon.context.store)
    return [(e.severity, e.message) for e in events if e.kind == EventKind.ATTEMPT_STRAY]


async def eventually(daemon: SimDaemon, wanted: list[tuple[str, str]]) -> None:
    """Until these are the open alerts about strays, with their runs."""
    alerts, hub = daemon.daemon.service.alerts, daemon.daemon.context.hub
    async with asyncio.timeout(30):
        while True:
            found = (await alerts.list(open_only=True, limit=9)).alerts
            if [(a.what, a.run_id) for a in found if "computes" in a.what] == wanted:
                return
            await hub.wait(hub.version, 0.05)


async def test_a_stray_is_reported_and_ended_with_its_cause_and_not_tried_again(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=WATCHFUL) as daemon:
        run_id = await daemon.submit(
            stage(
                gpus=1,
                retries=Retries(max=3),
                env=sim("seconds=600 term=0.05 stray=1"),
            )
        )
        await daemon.attempt(run_id, running)
        await seen_for_long(daemon)
        run = await daemon.finished(run_id)
        (attempt,) = run.attempts
        assert (run.outcome, attempt.phase) == (Outcome.FAILED, Phase.FAILED)
        assert (attempt.cause, attempt.detail) == (Cause.WRONG_GPU, f"computed {SENTENCE}")
        async with asyncio.timeout(30):
            while not (told := await reported(daemon)):  # written beside all else
                await asyncio.sleep(0.01)
        assert told == [("error", f"stage train computes {SENTENCE}")]
        assert "attempt.stopping" in await daemon.kinds(run_id)
        service = daemon.daemon.service
        (line,) = (await service.why(run_id, None)).stages
        assert line.sentence == f"failed on gpu1, wrong GPU: computed {SENTENCE}"
        await daemon.clean()


async def test_told_only_it_runs_on_and_the_alert_ends_with_it(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, change=only_tell, timings=WATCHFUL) as daemon:
        run_id = await daemon.submit(stage(gpus=1, env=sim("seconds=600 stray=1")))
        await daemon.attempt(run_id, running)
        await seen_for_long(daemon)
        service = daemon.daemon.service
        strays = daemon.daemon.context.strays
        await daemon.until(lambda: bool(strays), "it is not told")
        shown = (await service.describe(run_id)).stages[0]
        assert shown.trouble == f"it computes {SENTENCE}"
        await eventually(daemon, [(f"stage train computes {SENTENCE}", run_id)])
        await daemon.next_plan()
        assert (await daemon.attempt(run_id)).stop_reason is None
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED
        await daemon.until(lambda: not strays, "it is still known")
        await eventually(daemon, [])


async def test_a_gpu_of_the_same_person_is_used_as_they_like(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=WATCHFUL) as daemon:
        own = await daemon.submit(stage(gpus=1, env=sim("seconds=600")))
        first = await daemon.attempt(own, running)
        index = int(first.gpus[0][-1])
        run_id = await daemon.submit(stage(gpus=1, env=sim(f"seconds=600 stray={index}")))
        await daemon.attempt(run_id, running)
        await seen_for_long(daemon)
        await daemon.next_plan()
        assert daemon.daemon.context.strays == {}
        await daemon.cancel(own)
        await daemon.finished(own)
        await seen_for_long(daemon)
        run = await daemon.finished(run_id)
        assert run.attempts[0].cause is Cause.WRONG_GPU


async def test_a_daemon_that_was_killed_sees_it_again(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=WATCHFUL) as daemon:
        run_id = await daemon.submit(stage(gpus=0, env=sim("seconds=600 stray=0")))
        await daemon.attempt(run_id, running)
        await seen_for_long(daemon)
        await daemon.until(lambda: bool(daemon.daemon.context.strays), "it is not seen")
        await daemon.kill()
        await daemon.begin()
        await seen_for_long(daemon)
        (attempt,) = (await daemon.finished(run_id)).attempts
        assert attempt.cause is Cause.WRONG_GPU
        assert "(given: none): it sets CUDA_VISIBLE_DEVICES=0; request GPUs" in attempt.detail


async def test_a_host_that_lies_ends_only_its_own_stages(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path, change=only_tell, timings=WATCHFUL) as daemon:
        run_id = await daemon.submit(stage(gpus=1, env=sim("seconds=600")))
        attempt = await daemon.attempt(run_id, running)
        context = daemon.daemon.context
        notes: list[NewEvent] = []
        strays = Strays(context, notes.append)
        other = {"gpu1": "gpu2", "gpu2": "gpu1"}[attempt.host]
        monitor = context.monitors[other]
        await daemon.until(lambda: monitor.host.look is not None, "it is not seen")
        for up in (100.0, 111.0):
            look = forged(monitor.host.look, attempt.attempt_id, up)
            strays.saw(replace(monitor.host, look=look), look)
        assert (notes, context.strays) == ([], {})
        own = context.monitors[attempt.host].host
        for up in (100.0, 111.0):
            look = forged(own.look, attempt.attempt_id, up, but=attempt.gpus)
            strays.saw(replace(own, look=look), look)
        assert [note.attempt_id for note in notes] == [attempt.attempt_id]
        assert len(notes[0].message) < 250
        assert "\x1b" not in notes[0].message
        await daemon.cancel(run_id)
        await daemon.finished(run_id)


def forged(look: Look | None, attempt_id: str, up: float, but: tuple[str, ...] = ()) -> Look:
    """A look that shows the attempt at work on every GPU."""
    assert look is not None
    use = StrayUse(in_tree=True, load=99, visible="\x1b[31m" + "9," * 5000)
    process = GpuProcess(7, "compute", "x", attempt_id=attempt_id, stray=use)
    gpus = tuple(
        gpu if gpu.uuid in but else replace(gpu, processes=(process,)) for gpu in look.gpus
    )
    return replace(look, gpus=gpus, up=up)
