"""Dry runs: a plan's effects at once, and where a run would go."""

from __future__ import annotations

from dataclasses import replace

from hostler.decide.advance import advance, end_workload
from hostler.decide.plan import plan
from hostler.decide.preview import preview, unplaceable
from hostler.model.plans import Snapshot
from hostler.model.runs import Phase
from tests.support.values import planning as lab


def play(snapshot: Snapshot, rounds: int = 40) -> tuple[list[str], Snapshot]:
    """Let everything that runs succeed, round by round; the starts in order, and what is left."""
    log: list[str] = []
    for _ in range(rounds):
        decided = plan(snapshot)
        log += [a.key for a in decided.actions if a.key.startswith(("start", "end"))]
        snapshot = _a_second_later(advance(snapshot, decided))
        for run in snapshot.runs:
            for attempt in run.attempts:
                if attempt.phase is Phase.RUNNING:
                    snapshot = end_workload(snapshot, attempt.attempt_id)
    return log, snapshot


def _a_second_later(snapshot: Snapshot) -> Snapshot:
    now = snapshot.now + 1
    hosts = tuple(lab.with_look(host, asked_at=now) for host in snapshot.hosts)
    return replace(snapshot, now=now, hosts=hosts)


def test_a_whole_run_in_order() -> None:
    stages = [
        lab.stage("prepare"),
        lab.stage("train", gpus=4, needs=("prepare",)),
        lab.stage("test", gpus=1, needs=("train",)),
    ]
    log, left = play(lab.snapshot(lab.host("g", 4), lab.run("r-1", *stages)))
    assert log == [
        "start:r-1-prepare-1", "start:r-1-train-1", "start:r-1-test-1", "end:r-1"
    ]  # fmt: skip
    assert left.runs == ()
    look = left.hosts[0].look
    assert look is not None
    assert (look.workloads, look.leases) == ((), ())


def test_a_cancelled_run_ends_and_leaves_nothing() -> None:
    running = _planned(lab.snapshot(lab.host(), lab.run()))
    cancelled = replace(running, runs=(replace(running.runs[0], cancelled_by="eve"),))
    _, left = play(cancelled)
    assert left.runs == ()
    look = left.hosts[0].look
    assert look is not None
    assert (look.workloads, look.leases) == ((), ())


def test_memory_and_processes_go_with_the_workload() -> None:
    running = _planned(lab.snapshot(lab.host("g", 1), lab.run()))
    look = running.hosts[0].look
    assert look is not None
    card = replace(
        look.gpus[0], memory_used=2**34, processes=(lab.process(attempt_id="r-1-train-1"),)
    )
    busy = replace(running, hosts=(lab.with_look(running.hosts[0], gpus=(card,)),))
    after = end_workload(busy, "r-1-train-1", exit_code=1, duration=3.0).hosts[0].look
    assert after is not None
    assert (after.gpus[0].processes, after.gpus[0].memory_used) == ((), 0)
    workload = after.workloads[0]
    assert (workload.running, workload.exit_code, workload.finished_at) == (False, 1, lab.NOW + 3)


def _planned(snapshot: Snapshot) -> Snapshot:
    return advance(snapshot, plan(snapshot))


def test_a_preview_says_where_each_stage_would_go() -> None:
    stages = [
        lab.stage("prepare"),
        lab.stage("train", gpus=2, needs=("prepare",)),
        lab.stage("other", gpus=8),
        lab.stage("never", when="params.deep"),
        lab.stage("quick", gpus=1),
    ]
    run = lab.run("new", *stages, params={"deep": False})
    snapshot = lab.snapshot(lab.host("gpu1", 1), lab.host("gpu2", 4), lab.host("cpu", 0))
    lines = {line.stage: line for line in preview(snapshot, run)}
    assert list(lines) == [stage.name for stage in stages]
    assert (lines["prepare"].host, lines["prepare"].gpus) == ("cpu", ())
    assert (lines["quick"].host, lines["quick"].gpus) == ("gpu1", (0,))
    assert lines["train"].later
    assert lines["train"].hosts == ("gpu2",)
    assert "after prepare: 2 GPUs; gpu2 could take it" in lines["train"].why
    assert lines["other"].reason is not None
    assert lines["other"].hosts == ()
    assert "`when` is false" in lines["never"].why
    assert all(line.why for line in lines.values())


def test_a_preview_takes_into_account_who_waits_already() -> None:
    waiting = lab.run("old", lab.stage(gpus=1))
    (line,) = preview(lab.snapshot(lab.host("g", 1), waiting), lab.run("new", lab.stage(gpus=1)))
    assert line.host is None
    assert line.reason is not None
    assert "old" in line.reason.hosts[0].sentence


def test_a_preview_does_not_name_the_id_of_a_run_that_will_never_be() -> None:
    snapshot = lab.snapshot(lab.host("g", 4))
    run = lab.run("r9qx7zz", *[lab.stage(f"s{i}", gpus=2) for i in range(4)])
    lines = preview(snapshot, run)
    told = [line.why for line in lines]
    told += [host.sentence for line in lines if line.reason for host in line.reason.hosts]
    assert any("this run's s0" in text for text in told)
    assert not any("r9qx7zz" in text for text in told)


def test_what_no_host_can_ever_take_is_known_before_any_plan() -> None:
    holding = lab.run("old", lab.stage(gpus=4), attempts=[lab.attempt("old", host="big")])
    silent = replace(lab.host("silent"), look=None)
    snapshot = lab.snapshot(lab.host("big", 4), lab.host("small", 1), holding)
    fits = lab.run("fits", lab.stage("a"), lab.stage("b", gpus=4, needs=("a",)))
    assert unplaceable(snapshot, fits) is None
    large = lab.run("large", lab.stage("a"), lab.stage("b", gpus=5, needs=("a",)))
    assert unplaceable(snapshot, large) == (
        "no host can take b as asked: nearest big: has 4 GPUs that suit, of 5 asked for"
    )
    assert unplaceable(lab.snapshot(*snapshot.hosts, silent), large) is None
    elsewhere = lab.run("x", lab.stage("a", hosts=("nope",)))
    assert "asked for (nope)" in str(unplaceable(lab.snapshot(silent), elsewhere))
    assert unplaceable(lab.snapshot(), fits) == "no host can take a as asked: there are no hosts"
    cpu = lab.snapshot(lab.host("cpu", 0))
    asked = "no host can take b as asked: nearest cpu: has no GPUs"
    assert unplaceable(cpu, large) == asked
