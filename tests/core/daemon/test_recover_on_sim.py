"""A database that is lost entirely, and what the hosts still know of its runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import StateError
from hostler.daemon import host_copies as copies
from hostler.daemon.host_copies import HostCopies
from hostler.daemon.recover import Survey, known_identity, restore, survey, with_own_address
from hostler.decide.recovery import Kept, Note, Rebuilt, noted_artifacts, rebuild
from hostler.model.files import Artifact
from hostler.model.hosts import Look, Workload
from hostler.model.pipelines import Cause, OnLost, Retries
from hostler.model.runs import Outcome, Phase, Run
from hostler.sim import outside
from hostler.store.database import Store
from tests.support.daemons.restoring import back_up, put_back
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values import planning
from tests.support.values.planning import attempt, stage

pytestmark = pytest.mark.timeout(60)


def lose_database(state: Path) -> None:
    for path in state.glob("*.db*"):
        path.unlink()


async def look_around(daemon: SimDaemon) -> Survey:
    identity = known_identity(daemon.state)
    reached = outside(daemon.lab)(lambda digest: daemon.state / digest)
    return await survey(daemon.config.hosts, daemon.state, identity, reached, daemon.timings)


async def test_a_run_goes_on_with_its_done_running_and_unstarted_stages(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("first", env=sim("seconds=0.02")),
            stage("second", needs=("first",), gpus=1, env=sim("seconds=1.5")),
            stage("third", needs=("second",), env=sim("seconds=0.02")),
            owner="cleo",
        )
        before = await daemon.attempt(run_id, lambda a: (a.stage, a.phase) == ("second", "running"))
        await daemon.kill()
        lose_database(tmp_path)
        told = await look_around(daemon)
        (found,) = told.recovery.runs
        assert (found.run.run_id, found.run.owner) == (run_id, "cleo")
        assert [s.name for s in found.run.stages] == ["first", "second", "third"]
        assert found.running == ("second",)
        assert {a.stage: a.phase for a in found.run.attempts} == {
            "first": Phase.SUCCEEDED,
            "second": Phase.STARTING,
        }
        assert not (tmp_path / "hostler.db").exists()
        await restore(tmp_path, told.recovery.runs, "ana")
        await daemon.begin()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED
        assert sorted(a.attempt_id for a in run.attempts) == [
            f"{run_id}-{name}-1" for name in ("first", "second", "third")
        ]
        second = next(a for a in run.attempts if a.stage == "second")
        assert (second.host, second.gpus) == (before.host, before.gpus)
        assert "run.recovered" in await daemon.kinds(run_id)
        await daemon.clean()
        await daemon.until(
            lambda: not any(h.records for h in daemon.lab.hosts.values()), "copies stay"
        )


async def test_a_docker_that_is_silent_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs is not told as something to be begun; where it stays silent, that is told."""
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (name,) = daemon.lab.hosts
        faults = faults_on(daemon.lab, name)
        run_id = await daemon.submit(
            stage("a", gpus=1, runtime="docker", image="i", env=sim("seconds=9"))
        )
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.kill()
        lose_database(tmp_path)
        faults.docker_down()
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, faults.docker_up)
        told = await look_around(daemon)
        assert told.recovery.runs[0].running == ("a",)
        assert told.problems == ()
        faults.docker_down()
        daemon.set_timings(recover_docker=0.05)
        told = await look_around(daemon)
        assert "Docker daemon does not answer: its containers are unknown" in told.problems[0]
        faults.docker_up()
        await restore(tmp_path, told.recovery.runs, "ana")
        await daemon.begin()
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)


async def test_of_a_run_that_has_ended_nothing_is_kept(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await daemon.submit(stage("a", gpus=1, env=sim("seconds=9")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        assert [run for _, run in host.records] == [run_id]
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        await daemon.until(lambda: not host.records, "the copies stay after the end")


async def test_a_note_under_way_at_the_end_does_not_bring_the_copy_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = HostCopies._spec

    async def late(self: HostCopies, run: Run) -> str:
        await daemon.until(
            lambda: self._context.run_cache.find(run.run_id) is None, "it does not end"
        )
        return await spec(self, run)

    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        # With files to copy, a note would be written before the end, too.
        run_id = await daemon.submit(stage("a", gpus=1, keep=(), env=sim("seconds=0.4")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.stop()
        monkeypatch.setattr(HostCopies, "_spec", late)
        await daemon.begin()  # one that has not sent the specification yet, and does for the end
        await daemon.finished(run_id)
        await daemon.clean()
        await daemon.until(lambda: not host.records, "the copies stay after the end")


async def test_of_very_many_copies_some_are_asked_for_and_the_rest_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_MOST_ASKED", 1)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await daemon.submit(stage("a", env=sim("seconds=0.01")))
        await daemon.finished(run_id)
        await daemon.until(lambda: not host.records, "the copies stay after the end")
        for name in (run_id, "unknown"):
            host.records[daemon.daemon.context.daemon_id, name] = ["spec", ""]
        sweep = daemon.daemon.service.garbage._copies.sweep
        assert await sweep("gpu1") is True
        assert [run for _, run in host.records] == ["unknown"]


async def test_gc_removes_copies_of_ended_runs_and_keeps_those_of_unknown_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await daemon.submit(stage("a", env=sim("seconds=0.01")))
        await daemon.finished(run_id)
        await daemon.until(lambda: not host.records, "the copies stay after the end")
        ours = daemon.daemon.context.daemon_id
        for name in (run_id, "unknown"):
            host.records[ours, name] = ["spec", ""]
        swept: list[object] = []

        async def sweep(*asked: object) -> int:
            swept.append(asked)
            return 0

        for runtime in daemon.daemon.context.runtimes.values():
            monkeypatch.setattr(runtime, "sweep", sweep)
        await daemon.daemon.service.garbage.collect(dry_run=False)
        assert [run for _, run in host.records] == ["unknown"]
        assert not swept, "checkpoints of a run that may be recovered were looked through"
        host.records.clear()
        await daemon.daemon.service.garbage.collect(dry_run=False)
        assert swept


async def test_a_database_that_knows_the_run_is_left_as_it_is(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("a", env=sim("seconds=1")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.kill()
        assert (await look_around(daemon)).recovery.runs == ()
        await daemon.begin()
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED


async def test_a_host_that_does_not_answer_is_told(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        run_id = await daemon.submit(stage("a", env=sim("seconds=9")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.kill()
        lose_database(tmp_path)
        for name in daemon.lab.hosts:
            faults_on(daemon.lab, name).cut()
        told = await look_around(daemon)
        assert set(told.silent) == set(daemon.lab.hosts)
        assert not told.recovery.runs


def test_without_its_id_nobodys_work_is_taken_for_ours(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="id is missing"):
        known_identity(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_newest_note_of_an_attempt_counts_and_strays_are_told() -> None:
    run = planning.run("r1", stage("a"), stage("b"))
    begun = attempt("r1", "a", phase=Phase.STARTING, host="old-name")
    ended = attempt("r1", "a", phase=Phase.FAILED, host="old-name")
    other = attempt("r1", "b", phase=Phase.STARTING, host="h2")
    kept = [
        Kept("h1", run, "text", (Note(begun), Note(ended, cancelled_by="ana"))),
        Kept("h2", run, "text", (Note(other, priority=-2),)),
    ]
    stray = Workload("r9-x-1", "d" * 32, "docker", "c9", running=True)
    ours = Workload(other.attempt_id, "d" * 32, "docker", "c1", running=True)
    theirs = Workload("r8-x-1", "e" * 32, "docker", "c8", running=True)
    look = Look(asked_at=1.0, boot_id="b", workloads=(stray, ours, theirs))
    found = rebuild(kept, {"h2": look}, "d" * 32)
    (rebuilt,) = found.runs
    assert {(a.stage, a.host, a.phase) for a in rebuilt.run.attempts} == {
        ("a", "h1", Phase.FAILED),
        ("b", "h2", Phase.STARTING),
    }
    assert (rebuilt.run.cancelled_by, rebuilt.run.priority) == ("ana", -2)
    assert (rebuilt.hosts, rebuilt.running) == (("h1", "h2"), ("b",))
    assert [s.workload for s in found.strays] == [stray]
    assert rebuild(kept, {"h2": look}, "d" * 32, known={"r1", "r9"}).runs == ()
    (elsewhere,) = rebuild(kept, {"evil": look}, "d" * 32).runs
    assert elsewhere.running == ()


async def test_what_was_saved_is_found_again(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage(
                "first", outputs={"o": "out"}, keep=("*.pt",), env=sim("seconds=0.02 write=m.pt:9")
            ),
            stage("second", needs=("first",), env=sim("seconds=60")),
        )
        await daemon.attempt(run_id, lambda a: (a.stage, a.phase) == ("second", "running"))
        saved = await daemon.daemon.context.store.artifacts(run_id)
        assert [(a.kind, a.name) for a in saved] == [("output", "o"), ("files", "files")]
        await daemon.kill()
        lose_database(tmp_path)
        told = await look_around(daemon)
        await restore(tmp_path, told.recovery.runs, "ana")
        await daemon.begin()
        assert await daemon.daemon.context.store.artifacts(run_id) == saved
        await daemon.cancel(run_id)
        await daemon.finished(run_id)


def test_what_was_saved_is_believed_of_signed_notes_alone() -> None:
    made = attempt(phase=Phase.SUCCEEDED)
    artifact = Artifact("r-1", "train", made.attempt_id, "files", "a" * 64, 1, 1.0, kind="files")
    others = replace(artifact, attempt_id="r-2-train-1")
    note = Note(made, artifacts=(artifact, others))
    kept = Kept("gpu1", planning.run(), "", (note,))
    assert noted_artifacts(kept) == (artifact,)
    assert noted_artifacts(replace(kept, notes_doubt="not signed")) == ()
    assert noted_artifacts(replace(kept, spec_doubt="not signed")) == ()


def test_an_address_in_an_unsigned_note_is_believed_if_it_is_the_hosts_own_by_the_config() -> None:
    """The gateway would send requests with their users' names to any other."""

    def recovered(address: str | None, doubt: str) -> str | None:
        note = Note(attempt(phase=Phase.RUNNING, address=address))
        kept = Kept("gpu1", planning.run(), "", (note,), notes_doubt=doubt)
        return with_own_address(kept, "10.0.0.12").notes[0].attempt.address

    assert recovered("10.0.0.12", "not signed") == "10.0.0.12"
    assert recovered("10.0.0.99", "not signed") is None
    assert recovered(None, "not signed") is None
    assert recovered("10.0.0.99", "") == "10.0.0.99", "its own daemon noted it"


async def test_what_is_recovered_beside_a_restored_backup_waits_for_its_hosts_too(
    tmp_path: Path,
) -> None:
    """The previous daemon may go on starting it until the hosts have heard of the new one."""
    async with SimDaemon(small_lab(1), tmp_path / "old") as old:
        file = await back_up(old)
        run_id = await old.submit(stage("a", env=sim("seconds=600")))
        await old.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        put_back(file, tmp_path / "new")
        new = SimDaemon(old.lab, tmp_path / "new")
        new.config = old.config
        await restore(new.state, (await look_around(new)).recovery.runs, "ana")
        store = await Store.open(new.state)
        assert await store.generations.restored_runs() == {run_id}
        await store.close()


async def test_an_attempt_that_was_given_up_on_a_silent_host_is_not_in_the_way_of_its_next(
    tmp_path: Path,
) -> None:
    """Its end could not be noted there, and the database was lost before the host came back."""
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("a", gpus=1, on_lost=OnLost.RESTART, lost_after=0.7,
                  retries=Retries(3, backoff=0.01, on=(Cause.HOST_LOST,)), env=sim("seconds=600"))
        )  # fmt: skip
        first = await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.wait_silent(first.host)
        second = await daemon.attempt(run_id, lambda a: a.number == 2 and a.phase is Phase.RUNNING)
        await daemon.kill()
        lose_database(tmp_path)
        faults_on(daemon.lab, first.host).heal()
        told = await look_around(daemon)
        assert await restore(tmp_path, told.recovery.runs, "ana") == {}
        await daemon.begin()
        work = daemon.lab.host(second.host).works[second.attempt_id]
        daemon.lab.host(second.host).end(work, daemon.clock.now(), 0)
        run = await daemon.finished(run_id)
        assert [a.phase for a in run.attempts] == [Phase.LOST, Phase.SUCCEEDED]
        await daemon.clean()


async def test_runs_that_had_one_gpu_one_after_the_other_are_all_recovered(tmp_path: Path) -> None:
    """The daemon was lost after the second had begun, and before the end of the first was noted."""
    runs = []
    for number, phase in enumerate((Phase.RUNNING, Phase.RUNNING, Phase.SUCCEEDED)):
        name = f"r{number}"
        tried = attempt(name, "a", phase=phase, placed_at=100.0 + number)
        runs.append(Rebuilt(planning.run(name, stage("a"), attempts=[tried]), "", ("gpu1",)))
    made_up = attempt("r9", "a", placed_at=999.0)
    doubted = Rebuilt(planning.run("r9", stage("a"), attempts=[made_up]), "", ("gpu1",))
    await (await Store.open(tmp_path)).close()
    told = await restore(tmp_path, [*runs[::-1], replace(doubted, doubts=("unsigned",))], "ana")
    assert list(told) == ["r9"]
    store = await Store.open(tmp_path)
    phases = [a.phase for n in range(3) for a in (await store.get_run(f"r{n}")).attempts]
    assert phases == [Phase.LOST, Phase.RUNNING, Phase.SUCCEEDED]
    await store.close()
