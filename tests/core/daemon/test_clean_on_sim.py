"""`hostler host clean`: what lies on a host and nothing needs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ConflictError, ForbiddenError, NotFoundError, Unreachable
from hostler.daemon.clean import Cleaner, CleanRequest
from hostler.daemon.garbage import checkpoint_keys
from hostler.model.jobs import Job
from hostler.model.records import Keep, Remainder
from hostler.model.runs import Attempt, Outcome, Phase
from hostler.ports import HostLink, Progress
from hostler.sim.host import SimHost
from hostler.sim.runtime import SimRuntime
from tests.support.daemons.simdaemon import ANA, OWNER, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)

REALLY = CleanRequest(dry_run=False)


def is_running(attempt: Attempt) -> bool:
    return attempt.phase is Phase.RUNNING


async def clean(
    daemon: SimDaemon, request: CleanRequest = REALLY, name: str = "gpu1"
) -> dict[str, Any]:
    told = await daemon.daemon.service.cleaner.clean(name, request, OWNER)
    return {each.what: each.count for each in told.found} | {"stays": list(told.stays)}


async def ended(daemon: SimDaemon) -> str:
    run_id = await daemon.submit(stage("a", gpus=1, env=sim("seconds=0.01")))
    await daemon.finished(run_id)
    await daemon.clean()
    return run_id


def leave(host: SimHost, daemon: SimDaemon, run_id: str) -> None:
    """Copies of a run that could not be removed when it ended, and a blob."""
    host.records[daemon.daemon.context.daemon_id, run_id] = ["spec", ""]
    host.blobs["d" * 64] = b"xyz"


async def test_what_nothing_needs_goes_and_a_dry_run_only_tells(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await ended(daemon)
        await daemon.until(lambda: not host.records, "copies stay")
        leave(host, daemon, run_id)
        told = await clean(daemon, CleanRequest())
        assert told == {"notes of an ended run": 1, "blob": 1, "stays": []}
        assert host.records
        assert host.blobs
        assert await clean(daemon) == told
        assert not host.records
        assert not host.blobs
        assert run_id in host.ended[daemon.daemon.context.daemon_id]
        assert await clean(daemon, CleanRequest()) == {"stays": []}
        entries = await daemon.daemon.context.store.audit()
        assert [(e.call, e.user) for e in entries if e.call == "clean"] == [("clean", "owner")]


async def test_caches_stay_while_anybody_of_the_login_works_there(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await daemon.submit(stage("a", gpus=1, env=sim("seconds=600")))
        attempt = await daemon.attempt(run_id, is_running)
        leave(host, daemon, run_id)
        spec = dict(host.records)
        await daemon.until(
            lambda: any(w.running for w in look_of(daemon).workloads), "it is not seen"
        )
        told = await clean(daemon)
        assert told == {"stays": [f"caches not removed: {attempt.attempt_id} is running"]}
        assert (host.records, len(host.blobs)) == (spec, 1)
        assert host.works[attempt.attempt_id].running
        await daemon.cancel(run_id)
        await daemon.finished(run_id)


def look_of(daemon: SimDaemon) -> Any:
    return daemon.daemon.context.monitors["gpu1"].host.look


async def test_it_is_refused_where_the_host_holds_what_the_database_does_not_know(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await ended(daemon)
        leave(host, daemon, run_id)
        ours = daemon.daemon.context.daemon_id
        host.records[ours, "rlost"] = ["spec", ""]
        for request in (CleanRequest(), REALLY):
            with pytest.raises(ConflictError, match=r"does not know \(rlost\)") as refused:
                await clean(daemon, request)
            assert "hostler daemon recover" in refused.value.remedy
        del host.records[ours, "rlost"]
        stray = await daemon.submit(stage("a", gpus=1, env=sim("seconds=600")))
        attempt = await daemon.attempt(stray, is_running)
        await daemon.until(lambda: bool(look_of(daemon).workloads), "it is not seen")
        work = host.works[attempt.attempt_id]
        host.works["rgone-a-1"] = replace(work, attempt_id="rgone-a-1", gpus=())
        await daemon.until(lambda: len(look_of(daemon).workloads) == 2, "it is not seen")
        with pytest.raises(ConflictError, match="rgone"):
            await clean(daemon)
        assert host.blobs
        del host.works["rgone-a-1"]
        await daemon.cancel(stray)
        await daemon.finished(stray)


async def test_a_host_that_keeps_files_of_very_many_known_runs_is_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those that nobody knows are counted."""
    monkeypatch.setattr("hostler.daemon.clean._MOST_UNKNOWN", 2)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        known = [await ended(daemon) for _ in range(3)]
        await daemon.until(lambda: not host.records, "copies stay")
        for run_id in known:
            leave(host, daemon, run_id)
        assert (await clean(daemon, CleanRequest()))["notes of an ended run"] == 3
        for n in range(4):
            host.records[daemon.daemon.context.daemon_id, f"rlost{n}"] = ["spec", ""]
        with pytest.raises(ConflictError, match=r"does not know \(rlost0, rlost1\)"):
            await clean(daemon, CleanRequest())


async def test_who_may_not_is_refused_and_may_look(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        cleaner = daemon.daemon.service.cleaner
        await daemon.until(lambda: daemon.daemon.context.monitors["gpu1"].is_connected, "no host")
        assert (await cleaner.clean("gpu1", CleanRequest(), ANA)).dry_run is True
        with pytest.raises(ForbiddenError, match="cleaning a host is for"):
            await cleaner.clean("gpu1", REALLY, ANA)
        with pytest.raises(NotFoundError, match="known hosts: gpu1, gpu2"):
            await cleaner.clean("gpu9", REALLY, OWNER)
        faults_on(daemon.lab, "gpu2").cut()
        await daemon.until(
            lambda: not daemon.daemon.context.monitors["gpu2"].is_connected, "still there"
        )
        with pytest.raises(Unreachable):
            await cleaner.clean("gpu2", REALLY, OWNER)


async def test_nothing_is_known_of_a_host_whose_docker_is_silent(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        await daemon.until(lambda: daemon.daemon.context.monitors["gpu1"].is_connected, "no host")
        faults_on(daemon.lab, "gpu1").docker_down()
        await daemon.until(lambda: look_of(daemon).docker_problem is not None, "it is not seen")
        with pytest.raises(ConflictError, match="containers there cannot be listed"):
            await clean(daemon)


async def test_after_a_restore_a_host_is_cleaned_once_it_is_merged(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        await daemon.until(lambda: daemon.daemon.context.monitors["gpu1"].is_connected, "no host")
        monitor = daemon.daemon.context.monitors["gpu1"]
        monitor.host = replace(monitor.host, unmerged=True)
        with pytest.raises(ConflictError, match="since the backup are not merged yet"):
            await clean(daemon)


async def test_kept_files_go_when_named_and_never_those_of_a_run_that_a_person_keeps(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        store, service = daemon.daemon.context.store, daemon.daemon.service
        lefts = {}
        for what in ("kept by a person", "fetched now", "free"):
            lefts[what] = await remaining(daemon)
        await store.keep_run(Keep(lefts["kept by a person"].run_id, by="ana", at=1.0))
        assert "kept folder" not in await clean(daemon)
        assert len(await store.remainders()) == 3
        request = CleanRequest(dry_run=False, kept=True)
        with service.expirer.fetching(lefts["fetched now"].attempt_id):
            told = await clean(daemon, replace(request, dry_run=True))
            assert len(await store.remainders()) == 3
            assert await clean(daemon, request) == told
        assert told["kept folder"] == 1
        assert sorted(said.rpartition(": ")[2] for said in told["stays"]) == [
            "being fetched", "kept by ana",
        ]  # fmt: skip
        there = {left.attempt_id for left in await store.remainders()}
        assert there == {lefts[what].attempt_id for what in ("kept by a person", "fetched now")}
        events = await store.events(0, lefts["free"].run_id)
        (event,) = [event for event in events if event.kind == "files.removed"]
        assert "owner cleaned gpu1" in event.message


async def remaining(daemon: SimDaemon) -> Remainder:
    """Of a run that has ended."""
    run_id = await ended(daemon)
    left = Remainder(
        attempt_id=f"{run_id}-a-1", run_id=run_id, stage="a", host="gpu1",
        runtime="process", ref=f"{run_id}-a-1", path="/x", files=1, size=100,
        since=1.0, until=daemon.lab.clock.now() + 9e5, names=("model.pt",),
    )  # fmt: skip
    await daemon.daemon.context.store.add_remainder(left)
    return left


async def test_what_came_after_a_person_was_asked_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People think at the question, and runs end meanwhile."""
    kept_keys: list[frozenset[str]] = []

    async def sweep(_r: object, _l: object, _d: str, keep: frozenset[str], dry_run: bool) -> int:
        kept_keys.append(keep)
        return 0

    monkeypatch.setattr(SimRuntime, "sweep", sweep)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        context = daemon.daemon.context
        shown = await remaining(daemon)
        open_then = await daemon.submit(stage("a", gpus=1, checkpoint="c", env=sim("seconds=600")))
        await daemon.attempt(open_then, is_running)
        request = CleanRequest(checkpoints=True, kept=True)
        told = await daemon.daemon.service.cleaner.clean("gpu1", request, OWNER)
        await daemon.cancel(open_then)
        over = await daemon.finished(open_then)
        await daemon.clean()
        await context.store.add_remainder(
            replace(shown, attempt_id=f"{open_then}-a-1", run_id=open_then, since=1.0)
        )
        late = await remaining(daemon)
        done = await clean(daemon, replace(request, dry_run=False, shown_at=told.at))
        assert done["kept folder"] == 1
        assert [said.rpartition(": ")[2] for said in done["stays"]] == [
            "not in the list that was confirmed"
        ] * 2
        left = {each.run_id for each in await context.store.remainders()}
        assert left == {open_then, late.run_id}
        assert set(kept_keys[2:]) == {checkpoint_keys(context.daemon_id, [over])}


async def test_who_keeps_a_run_while_others_are_removed_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = SimRuntime.remove, list[asyncio.Task[Any]]()
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        lefts = [await remaining(daemon) for _ in range(3)]
        service = daemon.daemon.service
        run = await service.run(lefts[2].run_id)

        async def remove(self: SimRuntime, link: Any, workload: Any) -> None:
            if not asked:
                asked.append(asyncio.create_task(service.keeping.keep(run, None, OWNER)))
                await asyncio.sleep(0)
            await real(self, link, workload)

        monkeypatch.setattr(SimRuntime, "remove", remove)
        told = await clean(daemon, CleanRequest(dry_run=False, kept=True))
        (keeping,) = asked
        assert (await keeping).by == "owner"
        assert [left.run_id for left in await daemon.daemon.context.store.remainders()] == [
            lefts[2].run_id
        ]
        assert (told["kept folder"], len(told["stays"])) == (2, 1)


async def test_checkpoints_go_when_named_and_never_those_that_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[frozenset[str], bool]] = []

    async def sweep(
        _runtime: object, _link: object, _daemon: str, keep: frozenset[str], dry_run: bool
    ) -> int:
        asked.append((keep, dry_run))
        return 1

    monkeypatch.setattr(SimRuntime, "sweep", sweep)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        resumable = stage("a", gpus=1, checkpoint="ckpt", env=sim("seconds=0.01"))
        over = await daemon.submit(resumable)
        await daemon.finished(over)
        await daemon.clean()
        still = await daemon.submit(stage("a", gpus=99, checkpoint="ckpt"))
        assert "checkpoint" not in await clean(daemon)
        assert not asked
        told = await clean(daemon, CleanRequest(dry_run=True, checkpoints=True))
        assert told["checkpoint"] == len(asked)
        ours = daemon.daemon.context.daemon_id
        needed = checkpoint_keys(ours, [daemon.daemon.context.run_cache.run(still)])
        assert set(asked) == {(needed, True)}


async def test_kept_files_of_a_run_that_came_and_ended_after_the_backup_go_too(
    tmp_path: Path,
) -> None:
    """The restored database knows that it ended, and nothing of its attempts."""
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await daemon.submit(stage("a", gpus=1, env=sim("seconds=600")))
        attempt = await daemon.attempt(run_id, is_running)
        left = replace(host.works[attempt.attempt_id], attempt_id="rended-a-1", gpus=())
        left.ref, left.ended_at, left.kept_until = "rended-a-1", host.clock.now(), 9e9
        host.works["rended-a-1"] = left
        request = CleanRequest(dry_run=False, kept=True)
        with pytest.raises(ConflictError, match="rended"):
            await clean(daemon, request)
        daemon.daemon.context.standing.ended.add("rended")
        assert "kept folder" not in await clean(daemon)
        assert (await clean(daemon, replace(request, dry_run=True)))["kept folder"] == 1
        assert "rended-a-1" in host.works
        assert (await clean(daemon, request))["kept folder"] == 1
        assert set(host.works) == {attempt.attempt_id}
        await daemon.cancel(run_id)
        await daemon.finished(run_id)


class Gate:
    """A place at which a test holds somebody."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.open.wait()


async def test_who_keeps_a_run_while_checkpoints_are_removed_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    async def sweep(*_given: object) -> int:
        await gate.pass_through()
        return 1

    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run = await daemon.daemon.service.run(await ended(daemon))
        monkeypatch.setattr(SimRuntime, "sweep", sweep)
        for dry_run in (True, False):
            gate = Gate()
            cleaning = asyncio.create_task(
                clean(daemon, CleanRequest(dry_run=dry_run, checkpoints=True))
            )
            await gate.reached.wait()
            keeping = asyncio.create_task(daemon.daemon.service.keeping.keep(run, None, OWNER))
            done, _ = await asyncio.wait((keeping,), timeout=60 if dry_run else 0.1)
            assert bool(done) is dry_run
            gate.open.set()
            await asyncio.gather(cleaning, keeping)


async def test_a_stage_that_starts_while_caches_are_removed_waits_with_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its source is found in the cache, and removed before it is placed: the stage fails."""
    gate, create, made = Gate(), SimRuntime.create, list[str]()

    async def cleaned(_cleaner: Cleaner, _made: object) -> str:
        await gate.pass_through()
        return ""

    async def recorded(self: SimRuntime, link: HostLink, job: Job, progress: Progress) -> str:
        made.append(job.attempt_id)
        return await create(self, link, job, progress)

    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        context = daemon.daemon.context
        await daemon.until(lambda: context.monitors["gpu1"].is_connected, "no host")
        monkeypatch.setattr(Cleaner, "_cleaned", cleaned)
        monkeypatch.setattr(SimRuntime, "create", recorded)
        cleaning = asyncio.create_task(clean(daemon))
        await gate.reached.wait()
        run_id = await daemon.submit(stage("a", env=sim("seconds=0.01")))
        starter = daemon.daemon.applier.starter
        await daemon.until(lambda: bool(starter.preparing), "it is not begun")
        await asyncio.sleep(0)
        assert not made
        gate.open.set()
        await cleaning
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED
        assert made == [f"{run_id}-a-1"]


async def test_who_only_looks_delays_no_cleaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every member may look, and a host may take long to answer."""
    gate, check = Gate(), Cleaner._check_known

    async def slow(self: Cleaner, name: str, look: Any) -> None:
        if not gate.reached.is_set():
            await gate.pass_through()
        await check(self, name, look)

    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        await daemon.until(lambda: daemon.daemon.context.monitors["gpu1"].is_connected, "no host")
        monkeypatch.setattr(Cleaner, "_check_known", slow)
        looking = asyncio.create_task(
            daemon.daemon.service.cleaner.clean("gpu1", CleanRequest(), ANA)
        )
        await gate.reached.wait()
        async with asyncio.timeout(30):
            assert await clean(daemon) == {"stays": []}
        gate.open.set()
        await looking
