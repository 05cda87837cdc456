"""A backup of before, restored beside work that went on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, ConflictError
from hostler.daemon import copy_reading, merge
from hostler.daemon.copy_format import Signer, encode_end
from hostler.daemon.standing import mark
from hostler.daemon.submit import Submission
from hostler.daemon.views import generation_view
from hostler.decide.merging import End
from hostler.model.generations import Generation
from hostler.model.hosts import HostCondition
from hostler.model.pipelines import Retries
from hostler.model.plans import Snapshot
from hostler.model.runs import Attempt, Outcome, Phase
from hostler.store.copy_key import ended_runs
from tests.support.daemons.restoring import back_up, restored
from tests.support.daemons.simdaemon import ANA, OWNER, SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)


def is_running(attempt: Attempt) -> bool:
    return attempt.phase is Phase.RUNNING


def end(daemon: SimDaemon, attempt_id: str, code: int = 0) -> None:
    """A workload ends by itself."""
    (host,) = [h for h in daemon.lab.hosts.values() if attempt_id in h.works]
    host.end(host.works[attempt_id], host.clock.now(), code)


async def merged(daemon: SimDaemon) -> None:
    context = daemon.daemon.context
    await daemon.until(
        lambda: not context.standing.unmerged(context.monitors), "its hosts are not merged"
    )


def waits(daemon: SimDaemon, run_id: str, name: str) -> str:
    """Why a stage waits, by the latest plan."""
    reason = daemon.daemon.controller.plan.reasons.get((run_id, name))
    return reason.sentence if reason is not None else ""


async def why(daemon: SimDaemon, run_id: str) -> str:
    return " | ".join(
        str(line.sentence) for line in (await daemon.daemon.service.why(run_id, None)).stages
    )


async def test_a_run_newer_than_the_backup_comes_back_and_goes_on(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        file = await back_up(old)
        run_id = await old.submit(
            stage("first", env=sim("seconds=0.02")),
            stage("second", needs=("first",), gpus=1, env=sim("seconds=600")),
            stage("third", needs=("second",), env=sim("seconds=0.02")),
            owner="cleo",
        )
        before = await old.attempt(run_id, lambda a: (a.stage, a.phase) == ("second", "running"))
        await old.kill()
        async with restored(old, file) as new:
            await merged(new)
            end(new, before.attempt_id)
            run = await new.finished(run_id)
            assert (run.outcome, run.owner) == (Outcome.SUCCEEDED, "cleo"), told(run)
            assert sorted(a.attempt_id for a in run.attempts) == [
                f"{run_id}-{name}-1" for name in ("first", "second", "third")
            ]
            second = next(a for a in run.attempts if a.stage == "second")
            assert (second.host, second.gpus) == (before.host, before.gpus)
            assert "run.recovered" in await new.kinds(run_id)
            assert {"host.merged"} <= {e.kind for e in await new.daemon.context.store.events()}
            await new.clean()


async def test_an_attempt_that_was_begun_and_one_that_ended_after_the_backup_count(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path / "old") as old:
        run_id = await old.submit(
            stage("first", gpus=1, env=sim("seconds=600")),
            stage("second", needs=("first",), gpus=1, env=sim("seconds=600")),
        )
        await old.attempt(run_id, is_running)
        file = await back_up(old)
        end(old, f"{run_id}-first-1")
        await old.attempt(run_id, lambda a: a.stage == "second" and is_running(a))
        ended = (await old.run(run_id)).attempts[0]
        await old.kill()
        async with restored(old, file) as new:
            await merged(new)
            known = {a.stage: a for a in new.daemon.context.run_cache.run(run_id).attempts}
            assert known["first"].phase is Phase.SUCCEEDED
            assert known["first"].finished_at == ended.finished_at
            end(new, f"{run_id}-second-1")
            run = await new.finished(run_id)
            assert [a.number for a in run.attempts] == [1, 1], told(run)
            assert run.outcome is Outcome.SUCCEEDED
            await new.clean()


async def test_a_run_that_ended_after_the_backup_is_not_begun_again(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path / "old") as old:
        (host,) = old.lab.hosts.values()
        good = await old.submit(stage("a", gpus=1, env=sim("seconds=600")))
        bad = await old.submit(stage("a", gpus=1, env=sim("seconds=600")))
        for run_id in (good, bad):
            await old.attempt(run_id, is_running)
        file = await back_up(old)
        end(old, f"{good}-a-1")
        end(old, f"{bad}-a-1", 3)
        outcomes = {run_id: (await old.finished(run_id)).outcome for run_id in (good, bad)}
        assert outcomes == {good: Outcome.SUCCEEDED, bad: Outcome.FAILED}
        await old.until(lambda: not host.records, "the copies stay after the end")
        await old.kill()
        begun = dict(host.referee.starts)
        async with restored(old, file) as new:
            await merged(new)
            for run_id, outcome in outcomes.items():
                run = await new.run(run_id)
                assert run.outcome is outcome
                assert [a.phase.is_final for a in run.attempts] == [True]
            assert {good, bad} <= ended_runs(new.state)
            assert not new.daemon.context.run_cache.runs()
        assert dict(host.referee.starts) == begun


async def test_the_old_daemon_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        run_id = await old.submit(
            stage("a", gpus=1, env=sim("seconds=600")),
            stage("b", needs=("a",), env=sim("seconds=0.02")),
        )
        await old.attempt(run_id, is_running)
        file = await back_up(old)
        late = await old.submit(stage("a", gpus=99), stage("b", gpus=1, env=sim("seconds=600")))
        async with restored(old, file) as new:
            await merged(new)
            standing = old.daemon.context.standing
            await old.until(lambda: bool(standing.halted()), "the old daemon goes on")
            said = "a newer generation of this daemon is running"
            await old.until(lambda: said in waits(old, late, "a"), "it does not say why")
            assert old.daemon.controller.plan.actions == ()
            assert "hostler daemon stop" in standing.halted()
            assert said in await why(old, late)
            with pytest.raises(ConflictError, match="a newer generation") as refused:
                await old.daemon.service.submit(
                    Submission(pipeline=None, command={"command": ["true"]}), ANA
                )
            assert "hostler daemon restore" in refused.value.remedy
            with pytest.raises(ConflictError, match="a newer generation"):
                await old.daemon.service.collect_garbage(dry_run=False, who=OWNER)
            kinds = [event.kind for event in await old.daemon.context.store.events()]
            assert kinds.count("daemon.superseded") == 1
            end(new, f"{run_id}-a-1")
            run = await new.finished(run_id)
            assert run.outcome is Outcome.SUCCEEDED, told(run)
            assert [a.number for a in run.attempts] == [1, 1]
            assert not any(map(old.daemon.context.may_clean, old.lab.hosts))
            await old.stop()
            await old.begin()  # it remembers, before any host has told it again
            assert old.daemon.context.standing.halted()
            assert old.daemon.controller.step().actions == ()


async def test_an_old_daemon_whose_machine_comes_back_touches_nothing(tmp_path: Path) -> None:
    """It was down when the backup was restored; what it remembers is cancelled and gone."""
    async with SimDaemon(small_lab(1), tmp_path / "old") as old:
        (host,) = old.lab.hosts.values()
        run_id = await old.submit(stage("a", gpus=1, env=sim("seconds=600")))
        await old.attempt(run_id, is_running)
        file = await back_up(old)
        await old.kill()
        async with restored(old, file) as new:
            await merged(new)
            newer = await new.submit(stage("a", gpus=1, env=sim("seconds=600")))
            await new.attempt(newer, is_running)
            works, leases = set(host.works), set(host.leases)
            await old.begin()
            await old.until(
                lambda: bool(old.daemon.context.standing.halted()), "the old daemon goes on"
            )
            await old.until(lambda: not old.daemon.controller.plan.actions, "it plans")
            assert (set(host.works), set(host.leases)) == (works, leases)
            assert not host.referee.stops
            assert all(host.works[f"{run}-a-1"].running for run in (run_id, newer))
            await old.stop()
            for run in (run_id, newer):
                await new.cancel(run)
                await new.finished(run)


async def test_a_host_cannot_make_a_newer_generation_up(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        good, evil = old.lab.hosts.values()
        context = old.daemon.context
        stranger = Signer(context.daemon_id, b"x" * 32)
        number = 10**15
        for forged in ("", "zz", "00", mark(number, stranger), mark(number - 1, context.signer)):
            evil.generations[context.daemon_id] = Generation(number, forged)
            await old.until(
                lambda: context.monitors[evil.name].host.condition is HostCondition.REFUSED,
                "the host is still used",
            )
            monitor = context.monitors[evil.name]
            await old.until(
                lambda: "has not signed" in (monitor.host.problem or ""),  # noqa: B023
                "it does not say what to do",
            )
            assert f"runs/{context.daemon_id}.generation" in (monitor.host.problem or "")
            assert not context.standing.halted()
            del evil.generations[context.daemon_id]
            context.monitors[evil.name].retry_now()
            await old.until(lambda: context.monitors[evil.name].is_connected, "not again")
        run_id = await old.submit(stage("a", hosts=(good.name,), env=sim("seconds=0.02")))
        assert (await old.finished(run_id)).outcome is Outcome.SUCCEEDED


async def test_what_may_lie_on_a_silent_host_waits_and_other_work_goes_on(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        run_id = await old.submit(
            stage("a", gpus=1, hosts=("gpu1",), env=sim("seconds=600")),
            stage("b", needs=("a",), gpus=1, env=sim("seconds=600")),
        )
        await old.attempt(run_id, is_running)
        file = await back_up(old)
        # The second stage begins on the host that will be silent.
        await old.daemon.service.drain("gpu1", "full", OWNER)
        end(old, f"{run_id}-a-1")
        begun = await old.attempt(run_id, lambda a: a.stage == "b" and is_running(a))
        assert begun.host == "gpu2"
        await old.kill()
        faults_on(old.lab, "gpu2").cut()
        async with restored(old, file) as new:
            standing = new.daemon.context.standing
            await new.until(lambda: standing.unmerged(["gpu1", "gpu2"]) == ["gpu2"], "not merged")
            await new.attempt(run_id, lambda a: a.stage == "a" and a.phase is Phase.SUCCEEDED)
            await new.until(
                lambda: "may have started on gpu2 since the backup" in waits(new, run_id, "b"),
                "it does not say why",
            )
            assert "may have started on gpu2 since the backup" in await why(new, run_id)
            pinned = await new.submit(stage("c", gpus=1, env=sim("seconds=0.02")))
            assert (await new.finished(pinned)).attempts[0].host == "gpu1"
            with pytest.raises(ConflictError, match="the notes of gpu2 since the backup"):
                await new.daemon.service.collect_garbage(dry_run=False, who=OWNER)
            with pytest.raises(ConflictError, match="the notes of gpu2 since the backup"):
                await new.daemon.service.garbage.collect_unasked()
            assert [a.stage for a in new.daemon.context.run_cache.run(run_id).attempts] == ["a"]
            faults_on(old.lab, "gpu2").heal()
            end(new, begun.attempt_id)
            run = await new.finished(run_id)
            assert [(a.attempt_id, a.host) for a in run.attempts] == [
                (f"{run_id}-a-1", "gpu1"),
                (f"{run_id}-b-1", "gpu2"),
            ]
            assert run.outcome is Outcome.SUCCEEDED, told(run)


async def test_a_host_that_is_gone_for_good_is_taken_out_of_the_config(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        run_id = await old.submit(stage("a", gpus=99), stage("b", gpus=1, env=sim("seconds=0.02")))
        await old.finished(await old.submit(stage("c", env=sim("seconds=0.01"))))
        file = await back_up(old)
        await old.kill()
        faults_on(old.lab, "gpu2").cut()
        old.config = replace(old.config, hosts=old.config.hosts[:1])
        async with restored(old, file) as new:
            await merged(new)
            assert (await new.run(run_id)).outcome is None


async def test_until_its_notes_are_read_nothing_is_ended_or_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path / "old") as old:
        (host,) = old.lab.hosts.values()
        gone = await old.submit(stage("a", gpus=1, env=sim("seconds=600")))
        stays = await old.submit(stage("a", gpus=1, env=sim("seconds=600")))
        for run_id in (gone, stays):
            await old.attempt(run_id, is_running)
        file = await back_up(old)
        newer = await old.submit(stage("a", env=sim("seconds=600")))
        await old.attempt(newer, is_running)
        await old.kill()
        read, asked = copy_reading.read_ends, asyncio.Event()
        may = asyncio.Event()

        async def unreadable(*given: Any) -> Any:
            asked.set()
            if not may.is_set():
                raise AgentError("gpu1", "its disk hangs")
            return await read(*given)

        monkeypatch.setattr(merge, "read_ends", unreadable)
        works, leases = set(host.works), set(host.leases)
        async with restored(old, file) as new:
            await asyncio.wait_for(asked.wait(), 30)
            monitor = new.daemon.context.monitors["gpu1"]
            look = monitor.host.look
            assert look is not None
            await new.until(
                lambda: (seen := monitor.host.look) is not None and seen.asked_at > look.asked_at,
                "it is not looked at",
            )
            end(new, f"{gone}-a-1")
            before = monitor.host.look
            await new.until(lambda: monitor.host.look is not before, "it is not looked at")
            assert set(host.works) == works
            assert set(host.leases) == leases
            assert not host.referee.stops
            standing = generation_view(new.daemon.context.standing, ["gpu1"])
            assert standing.unmerged == ("gpu1",)
            assert "its disk hangs" in standing.problems["gpu1"]
            assert "since the backup are not merged yet" in await why(new, stays)
            assert not new.daemon.context.may_clean("gpu1")
            may.set()
            await merged(new)
            end(new, f"{stays}-a-1")
            for run_id in (gone, stays):
                assert (await new.finished(run_id)).outcome is Outcome.SUCCEEDED
            assert not host.referee.stops
            await new.cancel(newer)
            await new.finished(newer)
            await new.clean()


async def test_a_stage_that_was_tried_again_after_the_backup(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        run_id = await old.submit(
            stage("a", gpus=1, retries=Retries(3, backoff=0.01), env=sim("seconds=600"))
        )
        first = await old.attempt(run_id, is_running)
        file = await back_up(old)
        old.lab.host(first.host).signal(first.attempt_id, 9)
        second = await old.attempt(run_id, lambda a: a.number == 2 and is_running(a))
        await old.kill()
        # The newer attempt's host answers first, or alone.
        if first.host != second.host:
            faults_on(old.lab, first.host).cut()
        async with restored(old, file) as new:
            standing = new.daemon.context.standing
            await new.until(lambda: second.host in standing.merged, "not merged")
            known = {a.number: a for a in new.daemon.context.run_cache.run(run_id).attempts}
            assert known[1].phase.is_final
            assert known[2].attempt_id == second.attempt_id
            assert not known[2].phase.is_final
            faults_on(old.lab, first.host).heal()
            await merged(new)
            await new.cancel(run_id)
            run = await new.finished(run_id)
            assert [a.number for a in run.attempts] == [1, 2], told(run)
            await new.clean()


async def test_a_merge_that_is_cut_off_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path / "old") as old:
        file = await back_up(old)
        run_id = await old.submit(stage("a", gpus=1, env=sim("seconds=600")))
        await old.attempt(run_id, is_running)
        await old.kill()
        add, failed = merge.Merger._add, asyncio.Event()

        async def cut_off(self: merge.Merger, *given: Any) -> None:
            if not failed.is_set():
                failed.set()
                raise AgentError("gpu1", "cut off")
            await add(self, *given)

        monkeypatch.setattr(merge.Merger, "_add", cut_off)
        async with restored(old, file) as new:
            await merged(new)
            assert failed.is_set()
            await new.attempt(run_id, is_running)
            assert not new.lab.host("gpu1").referee.stops
            await new.stop()
            await new.begin()
            assert new.daemon.context.standing.merged == {"gpu1"}
            await new.cancel(run_id)
            await new.finished(run_id)


async def test_what_is_not_signed_is_left_to_a_person(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path / "old") as old:
        (host,) = old.lab.hosts.values()
        file = await back_up(old)
        run_id = await old.submit(stage("a", gpus=1, env=sim("seconds=600")))
        await old.attempt(run_id, is_running)
        await old.kill()
        ((key, copy),) = host.records.items()
        host.records[key] = [copy[0], copy[1].replace('"signature":"', '"signature":"00')]
        forged = encode_end(End(run_id, Outcome.SUCCEEDED, 1.0), Signer(key[0], b"x" * 32))
        host.ended[key[0]] = forged + "\nnonsense\n" + "ab" * 32 + " [1]\n"
        async with restored(old, file) as new:
            await merged(new)
            left = new.daemon.context.left_behind
            await new.until(lambda: bool(left.unknown.get("gpu1")), "it is not told")
            assert left.unknown["gpu1"] == [run_id]
            assert not new.daemon.context.run_cache.runs()
            events = await new.daemon.context.store.events()
            (event,) = [event for event in events if event.kind == "host.merged"]
            assert "1 unsigned runs ignored" in event.message
            assert host.works[f"{run_id}-a-1"].running
            assert not host.referee.stops


def test_a_daemon_that_was_never_restored_waits_for_nothing() -> None:
    snapshot = Snapshot(now=1.0, daemon_id="d", hosts=(), runs=())
    assert (snapshot.restored, snapshot.unsure, snapshot.halted) == (frozenset(), frozenset(), "")
