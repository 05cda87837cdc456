"""Two changes of one run or attempt at the same time: none takes the other back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ConflictError
from hostler.daemon.copy_reading import read_copy
from hostler.decide.merging import UNKNOWN_END, closed
from hostler.model.hosts import Workload
from hostler.model.pipelines import Cause
from hostler.model.plans import Record, Stop
from hostler.model.runs import Outcome, Phase
from tests.support.daemons.simdaemon import ANA, OWNER, SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)


class Gate:
    """Holds the first call of one method up until it is opened: once it has done its work, or
    before."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, before: bool = False
    ) -> None:
        self._before = before
        self.arrived, self._open = asyncio.Event(), asyncio.Event()
        self._method: Callable[..., Awaitable[Any]] = getattr(owner, name)
        self._patch, self._owner, self._name = monkeypatch, owner, name
        monkeypatch.setattr(owner, name, self._call)

    async def _call(self, *args: Any, **fields: Any) -> Any:
        self._patch.setattr(self._owner, self._name, self._method)  # only the first is held up
        if self._before:
            await self._wait()
            return await self._method(*args, **fields)
        done = await self._method(*args, **fields)
        await self._wait()
        return done

    async def _wait(self) -> None:
        self.arrived.set()
        await self._open.wait()

    def open(self) -> None:
        self._open.set()


async def running(daemon: SimDaemon) -> str:
    run_id = await daemon.submit(stage("a", gpus=1, env=sim("seconds=30")))
    await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
    return run_id


async def waiting(daemon: SimDaemon) -> str:
    """A run that nothing happens to by itself."""
    return await daemon.submit(stage("a", gpus=99))


async def test_a_cancel_is_not_lost_beside_a_lower_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        context, service = daemon.daemon.context, daemon.daemon.service
        gate = Gate(monkeypatch, context.store, "lower_priority")
        lowering = asyncio.create_task(service.lower(run_id, -3, ANA))
        await gate.arrived.wait()
        await context.store.request_cancel(run_id, "bo")
        context.run_cache.change(run_id, cancelled_by="bo")
        gate.open()
        await lowering
        run = context.run_cache.find(run_id)
        assert run is None or (run.cancelled_by, run.priority) == ("bo", -3)
        assert (await daemon.finished(run_id)).outcome is Outcome.CANCELLED


async def test_of_two_lowered_priorities_the_lower_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await waiting(daemon)
        context, service = daemon.daemon.context, daemon.daemon.service
        gate = Gate(monkeypatch, context.store, "lower_priority", before=True)
        higher = asyncio.create_task(service.lower(run_id, -1, ANA))
        await gate.arrived.wait()
        await service.lower(run_id, -5, ANA)
        gate.open()
        await higher
        assert context.run_cache.run(run_id).priority == -5
        assert (await context.store.get_run(run_id)).priority == -5


@pytest.mark.parametrize("what", ["cancel", "lower"])
async def test_a_run_that_ends_meanwhile_is_a_conflict_and_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        context, service = daemon.daemon.context, daemon.daemon.service
        name = "request_cancel" if what == "cancel" else "lower_priority"
        gate = Gate(monkeypatch, context.store, name, before=True)
        asked = service.cancel(run_id, ANA) if what == "cancel" else service.lower(run_id, -1, ANA)
        acting = asyncio.create_task(asked)
        await gate.arrived.wait()
        await service.cancel(run_id, ANA)
        await daemon.finished(run_id)
        await daemon.until(lambda: context.run_cache.find(run_id) is None, "it stays open")
        gate.open()
        with pytest.raises(ConflictError):
            await acting


@pytest.mark.parametrize("name", ["request_cancel", "lower_priority"])
async def test_a_run_that_ends_right_after_the_write_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        context, service = daemon.daemon.context, daemon.daemon.service
        gate = Gate(monkeypatch, context.store, name)
        asked = service.lower(run_id, -1, ANA) if "lower" in name else service.cancel(run_id, ANA)
        acting = asyncio.create_task(asked)
        await gate.arrived.wait()
        for host in daemon.lab.hosts.values():
            for work in list(host.works.values()):
                host.signal(work.attempt_id, 9)
        await daemon.until(lambda: context.run_cache.find(run_id) is None, "it stays open")
        gate.open()
        assert await acting == run_id


async def test_a_stop_and_the_record_of_a_start_keep_each_others_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        context, applier = daemon.daemon.context, daemon.daemon.applier
        attempt = context.run_cache.run(run_id).attempts[0]
        monitor = context.monitors[attempt.host]

        def seen() -> list[Workload]:
            look = monitor.host.look
            return [w for w in look.workloads if w.running] if look is not None else []

        await daemon.until(lambda: bool(seen()), "it is not seen")
        (workload,) = seen()
        context.run_cache.change_attempt(
            attempt.attempt_id, phase=Phase.STARTING, launched_at=None, started_at=None
        )
        gate = Gate(monkeypatch, context.store, "change_attempt")
        stop = Stop(attempt.host, workload, Cause.TIME_LIMIT, "ran too long", 0.0)
        stopping = asyncio.create_task(applier.apply(stop))
        await gate.arrived.wait()
        record = Record(attempt.attempt_id, Phase.RUNNING, workload=workload)
        recording = asyncio.create_task(applier.apply(record))
        for _ in range(20):
            await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(stopping, recording)
        run = await daemon.finished(run_id)
        (ended,) = run.attempts
        assert (ended.cause, ended.started_at is not None) == (Cause.TIME_LIMIT, True)
        (stored,) = (await context.store.get_run(run_id)).attempts
        assert (stored.stop_reason, stored.stop_detail) == (Cause.TIME_LIMIT, "ran too long")


async def test_metrics_that_come_while_a_change_is_written_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        context = daemon.daemon.context
        attempt_id = f"{run_id}-a-1"
        gate = Gate(monkeypatch, context.store, "change_attempt")
        changing = asyncio.create_task(
            context.change_attempt(attempt_id, lambda _now: {"stop_detail": "x"})
        )
        await gate.arrived.wait()
        context.run_cache.change_attempt(attempt_id, metrics={"loss": 0.5})
        gate.open()
        await changing
        known = context.run_cache.attempt(attempt_id)
        assert known is not None
        assert (known.stop_detail, known.metrics) == ("x", {"loss": 0.5})


async def test_the_end_told_by_a_host_after_a_restore_keeps_what_was_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end was worked out from the attempt as it was before the other change."""
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        context, merger = daemon.daemon.context, daemon.daemon.merger
        attempt_id = f"{run_id}-a-1"
        before = context.run_cache.attempt(attempt_id)
        assert before is not None
        gate = Gate(monkeypatch, context.store, "change_attempt")
        pinning = asyncio.create_task(
            context.change_attempt(attempt_id, lambda _now: {"image_digest": "sha256:ab"})
        )
        await gate.arrived.wait()
        ending = asyncio.create_task(merger._change(before, closed(before, before.placed_at)))
        context.run_cache.change_attempt(attempt_id, metrics={"loss": 0.5})
        for _ in range(20):
            await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(pinning, ending)
        (stored,) = (await context.store.get_run(run_id)).attempts
        assert (stored.phase, stored.detail) == (Phase.CANCELLED, UNKNOWN_END)
        assert (stored.image_digest, stored.metrics) == ("sha256:ab", {"loss": 0.5})


async def test_a_note_that_waits_takes_back_no_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await running(daemon)
        context, copies = daemon.daemon.context, daemon.daemon.applier.copies
        attempt = context.run_cache.run(run_id).attempts[0]
        gate = Gate(monkeypatch, copies, "_saved")
        noting = asyncio.create_task(copies.note(attempt))
        await gate.arrived.wait()
        await context.change_attempt(attempt.attempt_id, lambda _now: {"stop_detail": "x"})
        await daemon.daemon.service.lower(run_id, -3, ANA)
        newer = context.run_cache.attempt(attempt.attempt_id)
        assert newer is not None
        await copies.note(newer)
        gate.open()
        await noting
        kept = await read_copy(context.link(attempt.host), run_id, context.signer)
        assert kept is not None
        assert (kept.notes[-1].attempt.stop_detail, kept.notes[-1].priority) == ("x", -3)


async def test_a_host_closed_while_the_config_changes_stays_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the change has read of the database is older than the drain."""
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        context, service = daemon.daemon.context, daemon.daemon.service
        (name,) = context.monitors
        gates = [Gate(monkeypatch, context.store, method) for method in ("gpu_faults", "drains")]
        applying = asyncio.create_task(daemon.daemon.fleet.apply(context.config))
        gates[0].open()
        reached = asyncio.create_task(gates[1].arrived.wait())
        await asyncio.wait((reached, applying), return_when=asyncio.FIRST_COMPLETED)
        await service.drain(name, "cooling", OWNER)
        gates[1].open()
        reached.cancel()
        await applying
        assert service.host(name).drained == "cooling"


@pytest.mark.parametrize("name", ["set_drain", "clear_drain"])
async def test_a_host_that_leaves_while_it_is_closed_or_opened_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        context, service = daemon.daemon.context, daemon.daemon.service
        gone = list(context.monitors)[1]
        gate = Gate(monkeypatch, context.store, name)
        acting = asyncio.create_task(
            service.undrain(gone, OWNER)
            if name == "clear_drain"
            else service.drain(gone, "", OWNER)
        )
        await gate.arrived.wait()
        config = replace(context.config, hosts=context.config.hosts[:1])
        await daemon.daemon.fleet.apply(config)
        assert gone not in context.monitors
        gate.open()
        await acting
