"""Dry runs: a plan's effects at once, and where a run would go."""

from __future__ import annotations

from dataclasses import replace

from hostler.decide.plan import plan, preview
from hostler.decide.reasons import unplaceable
from hostler.model.pipelines import Cause
from hostler.model.plans import Snapshot
from hostler.model.runs import Phase
from tests.support.values import planning as lab
from tests.support.worlds.advance import advance, end_workload


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
        "no host can take b as requested: nearest big: has 4 GPUs that suit, of 5 requested"
    )
    assert unplaceable(lab.snapshot(*snapshot.hosts, silent), large) is None
    elsewhere = lab.run("x", lab.stage("a", hosts=("nope",)))
    assert "requested hosts (nope)" in str(unplaceable(lab.snapshot(silent), elsewhere))
    assert (
        unplaceable(lab.snapshot(), fits) == "no host can take a as requested: there are no hosts"
    )
    cpu = lab.snapshot(lab.host("cpu", 0))
    asked = "no host can take b as requested: nearest cpu: has no GPUs"
    assert unplaceable(cpu, large) == asked


def test_a_start_takes_effect_with_lease_and_workload_of_its_owner() -> None:
    other = lab.run("r-0", lab.stage("x", needs=("y",)), lab.stage("y"), owner="bo")
    after = _planned(lab.snapshot(lab.host("g", 2), other, lab.run("r-1", lab.stage(gpus=1))))
    look = after.hosts[0].look
    assert look is not None
    works = {work.attempt_id: work for work in look.workloads}
    assert {name: work.owner for name, work in works.items()} == {
        "r-0-y-1": "bo", "r-1-train-1": "ana",
    }  # fmt: skip
    (lease,) = look.leases
    assert (lease.owner, lease.gpu, lease.attempt_id) == ("ana", "GPU-g-0", "r-1-train-1")
    assert works["r-1-train-1"].running
    (attempt,) = after.runs[1].attempts
    assert (attempt.phase, attempt.launched_at) == (Phase.RUNNING, lab.NOW)


def test_a_start_that_is_resumed_leaves_one_of_everything() -> None:
    begun = lab.attempt(phase=Phase.STARTING, gpus=(0,))
    other = lab.attempt(stage="other", phase=Phase.RUNNING, gpus=(1,))
    created = lab.workload(begun, running=False, created_only=True)
    look = {
        "workloads": (created, lab.workload(other)),
        "leases": (lab.lease(begun, "GPU-gpu1-0"), lab.lease(other, "GPU-gpu1-1")),
    }
    stages = [lab.stage(gpus=1), lab.stage("other", gpus=1)]
    after = _planned(
        lab.snapshot(lab.host(look=look), lab.run("r-1", *stages, attempts=[begun, other]))
    )
    shown = after.hosts[0].look
    assert shown is not None
    assert sorted(work.attempt_id for work in shown.workloads) == ["r-1-other-1", "r-1-train-1"]
    assert sorted(lease.gpu for lease in shown.leases) == ["GPU-gpu1-0", "GPU-gpu1-1"]
    assert sorted(a.stage for a in after.runs[0].attempts) == ["other", "train"]


def test_a_stop_ends_the_workload_as_asked() -> None:
    begun = lab.attempt()
    work = lab.workload(begun)
    run = lab.run("r-1", attempts=[begun], cancelled_by="eve")
    after = _planned(lab.snapshot(lab.host(look={"workloads": (work,)}), run))
    look = after.hosts[0].look
    assert look is not None
    assert [(w.running, w.exit_code) for w in look.workloads] == [(False, 143)]
    (stopped,) = after.runs[0].attempts
    assert (stopped.stop_reason, stopped.stop_detail) == (Cause.STOPPED, "by eve")
    (over,) = _planned(after).runs[0].attempts
    assert (over.phase, over.exit_code, over.finished_at) == (Phase.CANCELLED, 143, lab.NOW)


def test_the_first_reason_of_a_stop_stays() -> None:
    begun = lab.attempt(stop_reason=Cause.TIME_LIMIT, stop_detail="too long")
    run = lab.run("r-1", attempts=[begun], cancelled_by="eve")
    host = lab.host(look={"workloads": (lab.workload(begun),)})
    (stopped,) = _planned(lab.snapshot(host, run)).runs[0].attempts
    assert (stopped.stop_reason, stopped.stop_detail) == (Cause.TIME_LIMIT, "too long")


def test_memory_of_others_stays_where_a_workload_ends() -> None:
    begun = lab.attempt(gpus=(0,))
    stranger, own = lab.process(pid=1), lab.process(pid=2, container_id="r-1-train-1")
    cards = (
        replace(lab.gpu("gpu1", 0), memory_used=5, processes=(stranger, own)),
        replace(lab.gpu("gpu1", 1), memory_used=6),
        replace(lab.gpu("gpu1", 2), memory_used=7, processes=(own,)),
        replace(lab.gpu("gpu1", 3), memory_used=None, processes=(own,)),
    )
    host = lab.host("gpu1", cards, look={"workloads": (lab.workload(begun),)})
    silent = replace(lab.host("gpu2"), look=None)
    snapshot = lab.snapshot(host, silent, lab.run("r-1", attempts=[begun]))
    look = end_workload(snapshot, "r-1-train-1").hosts[0].look
    assert look is not None
    assert [(gpu.memory_used, len(gpu.processes)) for gpu in look.gpus] == [
        (5, 1), (6, 0), (0, 0), (None, 0),
    ]  # fmt: skip
    assert look.workloads[0].exit_code == 0
    assert look.workloads[0].finished_at is None
    assert end_workload(snapshot, "r-9-x-1") == snapshot


def test_a_preview_says_what_is_done_and_what_comes_later() -> None:
    done = lab.attempt("r-0", "a", phase=Phase.SUCCEEDED)
    stages = [
        lab.stage("a"),
        *[lab.stage(f"s{i}") for i in range(4)],
        lab.stage("few", needs=("s0", "s1", "s2"), cpus=2.0),
        lab.stage("many", needs=("s0", "s1", "s2", "s3"), gpus=9),
    ]
    run = lab.run("new", *stages, kept={"a": done})
    lines = {line.stage: line for line in preview(lab.snapshot(lab.host("g")), run)}
    assert lines["a"].why == "kept from the run that is retried"
    assert lines["few"].why == "after s0, s1, s2: 2 CPUs; g could take it"
    assert lines["many"].why == ("after s0, s1, s2, ...: 9 GPUs; no host that is up could take it")
    assert lines["many"].reason is None


def test_a_preview_counts_each_run_once() -> None:
    run = lab.run("r-1", lab.stage(gpus=1))
    (line,) = preview(lab.snapshot(lab.host("g", 1), run), run)
    assert (line.host, line.gpus) == ("g", (0,))


def test_a_preview_names_the_gpus_that_it_would_get() -> None:
    held = lab.run("r-0", attempts=[lab.attempt("r-0", host="g", gpus=(0,))])
    host = lab.host("g", 4, look={"workloads": (lab.workload(held.attempts[0]),)})
    (line,) = preview(lab.snapshot(host, held), lab.run("new", lab.stage(gpus=2)))
    assert line.gpus == (2, 3)


def test_a_signal_is_recorded() -> None:
    begun = lab.attempt()
    ended = lab.workload(begun, running=False, exit_code=139, signal=11)
    run = lab.run("r-1", attempts=[begun])
    (over,) = _planned(lab.snapshot(lab.host(look={"workloads": (ended,)}), run)).runs[0].attempts
    assert (over.exit_code, over.signal) == (139, 11)
