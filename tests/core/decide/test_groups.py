"""Stages that are placed, started, retried and settled together, through the planner alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.again import plan_retry
from hostler.decide.lifecycle import unfolded
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.decide.reasons import unplaceable
from hostler.model.hosts import Host
from hostler.model.pipelines import Cause, OnLost, Retries, Stage
from hostler.model.plans import Action, EndRun, RemedyKind, Resume, Snapshot, Start, Stop
from hostler.model.runs import Attempt, Outcome, Phase, Run, StageStatus
from tests.support.values import planning as lab
from tests.support.values.toykinds import toy_kinds
from tests.support.worlds.advance import advance, end_workload


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    with toy_kinds():
        yield


def _gang(name: str = "train", ranks: int = 2, kind: str = "gang", **fields: Any) -> list[Stage]:
    fields = {"gpus": 2, **fields}
    template = lab.stage(name, kind=kind, env={"RANKS": str(ranks)}, **fields)
    return list(unfolded([template]))


def _hosts(*sizes: int, **fields: Any) -> list[Host]:
    return [lab.host(f"gpu{i}", size, **fields) for i, size in enumerate(sizes)]


def _later(snapshot: Snapshot, seconds: float = 5.0) -> Snapshot:
    now = snapshot.now + seconds
    hosts = tuple(lab.with_look(host, asked_at=now - 0.1) for host in snapshot.hosts)
    return replace(snapshot, now=now, hosts=hosts)


def _step(snapshot: Snapshot) -> tuple[list[Action], Snapshot]:
    decided = plan(snapshot)
    return list(decided.actions), _later(advance(snapshot, decided))


def _running(snapshot: Snapshot) -> set[str]:
    looks = [host.look for host in snapshot.hosts if host.look is not None]
    return {w.attempt_id for look in looks for w in look.workloads if w.running}


def _started(*hosts: Host, stages: list[Stage] | None = None) -> Snapshot:
    """A gang of two whose ranks run."""
    snapshot = lab.snapshot(*hosts, lab.run("r-1", *(stages or _gang())))
    _, snapshot = _step(snapshot)
    _, snapshot = _step(snapshot)
    assert _running(snapshot) == {"r-1-train.0-1", "r-1-train.1-1"}
    return snapshot


def test_ranks_go_on_hosts_of_their_own_all_or_none() -> None:
    snapshot = lab.snapshot(*_hosts(4, 2), lab.run("r-1", *_gang()))
    starts = lab.of_kind(plan(snapshot).actions, Start)
    assert {s.attempt.host for s in starts} == {"gpu0", "gpu1"}
    assert all(s.until_bound for s in starts)
    assert [len(s.attempt.gpus) for s in starts] == [2, 2]
    assert {s.attempt.number for s in starts} == {1}


def test_a_group_that_finds_one_host_of_two_starts_nothing_and_says_so() -> None:
    busy = lab.attempt("r-0", "other", host="gpu1", gpus=(0, 1))
    other = lab.run("r-0", lab.stage("other", gpus=2), attempts=[busy])
    hosts = _hosts(4, 2)
    hosts[1] = lab.with_look(hosts[1], workloads=(lab.workload(busy),))
    decided = plan(lab.snapshot(*hosts, other, lab.run("r-1", *_gang())))
    assert lab.of_kind(decided.actions, Start) == []
    for name in ("train.0", "train.1"):
        said = decided.reasons["r-1", name].sentence
        assert (
            said == "its group needs 2 hosts with 2 GPUs each at once, and 1 have free capacity now"
        )


def test_a_group_that_needs_more_hosts_than_there_are_says_so() -> None:
    run = lab.run("r-1", *_gang(ranks=3))
    snapshot = lab.snapshot(*_hosts(4, 2), run)
    reason = plan(snapshot).reasons["r-1", "train.0"]
    assert reason.sentence == "its group needs 3 hosts with 2 GPUs each, and 2 could take it"
    assert [r.kind for r in reason.remedies] == [RemedyKind.ADD_HOST]
    assert unplaceable(snapshot, run) == (
        "no 3 hosts can take train.0 as requested: there are no more hosts"
    )
    assert unplaceable(lab.snapshot(*_hosts(4, 2, 2), run), run) is None


def test_a_team_goes_on_one_host() -> None:
    team = _gang(kind="team")
    starts = lab.of_kind(plan(lab.snapshot(*_hosts(2, 4), lab.run("r-1", *team))).actions, Start)
    assert {s.attempt.host for s in starts} == {"gpu1"}
    assert len({gpu for s in starts for gpu in s.attempt.gpus}) == 4
    split = lab.snapshot(*_hosts(3, 3), lab.run("r-1", *team))
    assert lab.of_kind(plan(split).actions, Start) == []
    said = unplaceable(split, split.runs[0])
    assert said is not None
    assert said.startswith("no host can take train.0 as requested")


def test_no_rank_starts_before_all_are_bound() -> None:
    snapshot = lab.snapshot(*_hosts(2, 2), lab.run("r-1", *_gang()))
    starts = lab.of_kind(plan(snapshot).actions, Start)
    # Only the first one gets as far as being bound.
    bound = replace(plan(snapshot), actions=(starts[0],))
    half = _later(advance(snapshot, bound))
    placed = replace(starts[1].attempt)
    run = half.runs[0]
    half = replace(half, runs=(replace(run, attempts=(*run.attempts, placed)),))
    at_work = replace(half, in_flight=frozenset({starts[1].key}))
    assert plan(at_work).actions == ()
    (again,) = plan(half).actions  # after a restart of the daemon
    assert isinstance(again, Resume)
    assert (again.attempt.attempt_id, again.until_bound) == ("r-1-train.1-1", True)
    both = _later(advance(half, plan(half)))
    assert _running(both) == set()
    resumed = lab.of_kind(plan(both).actions, Resume)
    assert [(r.attempt.stage, r.until_bound) for r in resumed] == [
        ("train.0", False),
        ("train.1", False),
    ]


def test_no_rank_starts_while_the_host_of_another_is_silent() -> None:
    snapshot = lab.snapshot(*_hosts(2, 2), lab.run("r-1", *_gang()))
    bound = advance(snapshot, plan(snapshot))
    later = _later(bound, 60.0)
    silent = replace(later, hosts=(later.hosts[0], bound.hosts[1]))
    assert plan(silent).actions == ()
    assert len(lab.of_kind(plan(later).actions, Resume)) == 2


def test_a_rank_that_fails_ends_the_others_and_all_are_tried_again() -> None:
    stages = _gang(retries=Retries(max=1, backoff=1.0))
    snapshot = end_workload(_started(*_hosts(2, 2), stages=stages), "r-1-train.1-1", exit_code=3)
    _, snapshot = _step(snapshot)  # its end is written down
    actions, snapshot = _step(snapshot)
    (stop,) = lab.of_kind(actions, Stop)
    assert (stop.workload.attempt_id, stop.cause) == ("r-1-train.0-1", Cause.DEPENDENCY)
    assert stop.detail == "train.1 of its group failed"
    started: list[str] = []
    for _ in range(5):
        actions, snapshot = _step(snapshot)
        started += [s.attempt.attempt_id for s in lab.of_kind(actions, Start)]
    assert started == ["r-1-train.0-2", "r-1-train.1-2"]
    assert _running(snapshot) == {"r-1-train.0-2", "r-1-train.1-2"}


def test_while_others_are_being_stopped_it_waits_for_them() -> None:
    stages = _gang(retries=Retries(max=1, backoff=1.0))
    snapshot = end_workload(_started(*_hosts(2, 2), stages=stages), "r-1-train.1-1", exit_code=3)
    _, snapshot = _step(snapshot)
    assert progress_of(snapshot.runs[0]).status["train.1"] is StageStatus.WAITING
    reason = plan(snapshot).reasons["r-1", "train.1"]
    assert reason.sentence == "waits for r-1-train.0-1 of its group to end"


def test_a_group_that_is_not_tried_again_fails_as_a_whole() -> None:
    snapshot = end_workload(_started(*_hosts(2, 2)), "r-1-train.0-1", exit_code=3)
    outcomes: list[Outcome] = []
    for _ in range(6):
        if snapshot.runs:
            before = snapshot.runs[0]
        actions, snapshot = _step(snapshot)
        outcomes += [end.outcome for end in lab.of_kind(actions, EndRun)]
    assert outcomes == [Outcome.FAILED]
    progress = progress_of(before)
    assert progress.status == {"train.0": StageStatus.FAILED, "train.1": StageStatus.CANCELLED}
    assert progress.notes == {"train.1": "train.0 of its group failed"}


def test_a_rank_that_ended_well_waits_for_the_others() -> None:
    stages = [*_gang(), lab.stage("report", needs=("train.0",))]
    snapshot = end_workload(_started(*_hosts(2, 2), stages=stages), "r-1-train.0-1")
    for _ in range(3):
        actions, snapshot = _step(snapshot)
        assert lab.of_kind(actions, Start) == []
    assert progress_of(snapshot.runs[0]).status["train.0"] is StageStatus.RUNNING
    snapshot = end_workload(snapshot, "r-1-train.1-1")
    started: list[str] = []
    for _ in range(3):
        actions, snapshot = _step(snapshot)
        started += [s.stage.name for s in lab.of_kind(actions, Start)]
    assert started == ["report"]


def test_a_rank_that_ended_well_in_a_try_that_failed_runs_again() -> None:
    stages = _gang(retries=Retries(max=1, backoff=1.0))
    snapshot = end_workload(_started(*_hosts(2, 2), stages=stages), "r-1-train.0-1")
    _, snapshot = _step(snapshot)
    snapshot = end_workload(snapshot, "r-1-train.1-1", exit_code=3)
    started: list[str] = []
    for _ in range(4):
        actions, snapshot = _step(snapshot)
        started += [s.attempt.attempt_id for s in lab.of_kind(actions, Start)]
    assert started == ["r-1-train.0-2", "r-1-train.1-2"]


def test_what_was_placed_in_part_only_is_taken_back_and_does_not_count() -> None:
    """The daemon ended between the intents of two ranks."""
    attempt = lab.attempt("r-1", "train.0", phase=Phase.STARTING, host="gpu0", gpus=(0, 1))
    run = lab.run("r-1", *_gang(), attempts=[attempt])
    actions, snapshot = _step(lab.snapshot(*_hosts(2, 2), run))
    (ended,) = snapshot.runs[0].attempts
    assert (ended.phase, ended.cause) == (Phase.CANCELLED, Cause.NOT_STARTED)
    assert ended.detail == "the rest of its group was not placed, before it started"
    starts: list[Start] = []
    for _ in range(3):
        actions, snapshot = _step(snapshot)
        starts += lab.of_kind(actions, Start)
    assert [s.attempt.attempt_id for s in starts] == ["r-1-train.0-2", "r-1-train.1-2"]


def test_a_claim_that_is_refused_costs_no_try() -> None:
    snapshot = lab.snapshot(*_hosts(2, 2), lab.run("r-1", *_gang()))
    _, snapshot = _step(snapshot)
    run = snapshot.runs[0]
    refused = replace(
        run.attempts[1], ref=None, phase=Phase.FAILED, cause=Cause.NOT_STARTED, detail="bob",
        finished_at=snapshot.now,
    )  # fmt: skip
    host = lab.with_look(snapshot.hosts[1], workloads=(), leases=())
    snapshot = replace(
        snapshot,
        runs=(replace(run, attempts=(run.attempts[0], refused)),),
        hosts=(snapshot.hosts[0], host),
    )
    started: list[str] = []
    for _ in range(5):
        actions, snapshot = _step(snapshot)
        started += [s.attempt.attempt_id for s in lab.of_kind(actions, Start)]
    assert started == ["r-1-train.0-2", "r-1-train.1-2"]
    first = next(a for a in snapshot.runs[0].attempts if a.attempt_id == "r-1-train.0-1")
    assert (first.phase, first.cause) == (Phase.CANCELLED, Cause.DEPENDENCY)


def test_a_rank_given_up_on_a_silent_host_moves_the_group() -> None:
    stages = _gang(
        on_lost=OnLost.RESTART, lost_after=30.0, retries=Retries(max=1, backoff=1.0)
    )  # fmt: skip
    snapshot = _started(*_hosts(2, 2), stages=stages)
    spare = lab.with_look(lab.host("gpu2", 2), asked_at=snapshot.now)
    snapshot = replace(snapshot, hosts=(*snapshot.hosts, spare))
    started: dict[str, str] = {}
    for _ in range(16):
        silent = snapshot.hosts[1]
        actions, snapshot = _step(snapshot)
        hosts = (snapshot.hosts[0], silent, snapshot.hosts[2])
        snapshot = replace(snapshot, hosts=hosts)
        started |= {s.attempt.attempt_id: s.attempt.host for s in lab.of_kind(actions, Start)}
    assert set(started) == {"r-1-train.0-2", "r-1-train.1-2"}
    assert set(started.values()) == {"gpu0", "gpu2"}


def test_what_is_kept_for_a_group_is_kept_on_as_many_hosts() -> None:
    busy = [lab.attempt("r-0", f"s{i}", host=f"gpu{i}", gpus=(0,)) for i in range(2)]
    stages = [lab.stage(f"s{i}", gpus=1, timeout=3600.0) for i in range(2)]
    hosts = [
        lab.with_look(host, workloads=(lab.workload(attempt),))
        for host, attempt in zip(_hosts(2, 2), busy, strict=True)
    ]
    other = lab.run("r-0", *stages, attempts=busy, owner="zoe")
    small = lab.run("r-2", lab.stage("small", gpus=1), owner="bo")
    behind = lab.snapshot(*hosts, other, lab.run("r-1", *_gang()), small)
    assert lab.of_kind(plan(behind).actions, Start) == []
    # Where the group can never be placed, nothing is kept for it.
    never = lab.snapshot(*hosts, other, lab.run("r-1", *_gang(ranks=3)), small)
    assert [s.stage.name for s in lab.of_kind(plan(never).actions, Start)] == ["small"]


def test_a_cancelled_group_ends() -> None:
    snapshot = _started(*_hosts(2, 2))
    snapshot = replace(snapshot, runs=(replace(snapshot.runs[0], cancelled_by="ana"),))
    outcomes: list[Outcome] = []
    for _ in range(5):
        actions, snapshot = _step(snapshot)
        outcomes += [end.outcome for end in lab.of_kind(actions, EndRun)]
    assert outcomes == [Outcome.CANCELLED]
    assert _running(snapshot) == set()


def _ended(stage: str, phase: Phase, **fields: Any) -> Attempt:
    return lab.attempt("r-1", stage, phase=phase, **fields)


def test_a_retry_keeps_a_group_or_runs_all_of_it_again() -> None:
    stages = [*_gang(checkpoint="ckpt"), lab.stage("report", needs=("train.0", "train.1"))]
    failed = Run(
        "r-1", "p", tuple(stages), "ana", 1000, 1.0,
        attempts=(
            _ended("train.0", Phase.SUCCEEDED),
            _ended("train.1", Phase.FAILED, cause=Cause.USER_ERROR),
        ),
        outcome=Outcome.FAILED,
    )  # fmt: skip
    found = plan_retry(failed, stages, {}, (), lambda digest: True)
    assert found.again == {"train.0", "train.1", "report"}
    assert {s.name: s.why for s in found.stages}["train.0"] == "train.1 of its group runs again"
    assert found.anew == frozenset()
    done = replace(
        failed,
        attempts=(
            _ended("train.0", Phase.SUCCEEDED),
            _ended("train.1", Phase.SUCCEEDED),
            _ended("report", Phase.FAILED, cause=Cause.USER_ERROR),
        ),
    )
    assert plan_retry(done, stages, {}, (), lambda digest: True).again == {"report"}


def _of(*attempts: Attempt, ranks: int = 2, **fields: Any) -> Run:
    cancelled = fields.pop("cancelled_by", None)
    stages = _gang(ranks=ranks, **fields)
    return lab.run("r-1", *stages, attempts=attempts, cancelled_by=cancelled)


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (Cause.USER_ERROR, StageStatus.FAILED),
        (Cause.NOT_STARTED, StageStatus.CANCELLED),
        (Cause.HOST_FAULT, StageStatus.CANCELLED),
    ],
)
def test_what_a_cancelled_group_comes_to(cause: Cause, status: StageStatus) -> None:
    run = _of(
        _ended("train.0", Phase.CANCELLED, cause=Cause.STOPPED),
        _ended("train.1", Phase.FAILED, cause=cause, finished_at=lab.NOW - 50),
        cancelled_by="ana",
        retries=Retries(max=3),
    )
    found = progress_of(run).status
    assert found == {"train.0": StageStatus.CANCELLED, "train.1": status}


def test_what_ended_well_in_a_try_without_all_ranks_does_not_count() -> None:
    run = _of(_ended("train.0", Phase.SUCCEEDED), lab.attempt("r-1", "train.1"), ranks=3)
    assert progress_of(run).status == {
        "train.0": StageStatus.WAITING,
        "train.1": StageStatus.RUNNING,
        "train.2": StageStatus.WAITING,
    }
    over = _of(_ended("train.0", Phase.SUCCEEDED), ranks=2)
    assert [s.name for s in progress_of(over).ready] == ["train.0", "train.1"]


@pytest.mark.parametrize("first", [0, 1])
def test_the_rank_that_failed_first_decides_on_the_retry(first: int) -> None:
    """The others often fail since the first one is gone."""
    causes = [Cause.USER_ERROR, Cause.USER_ERROR]
    causes[first] = Cause.GPU_LOST
    ends = [lab.NOW - 50 + (number != first) for number in range(2)]
    tries = [
        _ended(f"train.{number}", Phase.FAILED, cause=causes[number], finished_at=ends[number])
        for number in range(2)
    ]
    run = _of(*tries, retries=Retries(max=1, on=(Cause.GPU_LOST,)))
    progress = progress_of(run)
    assert [s.name for s in progress.ready] == ["train.0", "train.1"]
    culprit = progress.groups["train.0"].culprit
    assert culprit is not None
    assert culprit.stage == f"train.{first}"


def test_a_rank_whose_end_is_not_known_in_time_is_not_the_first() -> None:
    run = _of(
        _ended("train.0", Phase.LOST, cause=Cause.VANISHED, finished_at=None),
        _ended("train.1", Phase.FAILED, cause=Cause.USER_ERROR),
    )
    culprit = progress_of(run).groups["train.1"].culprit
    assert culprit is not None
    assert culprit.stage == "train.1"


@pytest.mark.parametrize(("verdict", "stops"), [(Phase.FAILED, 1), (Phase.SUCCEEDED, 0)])
def test_a_verdict_ends_the_others_before_its_files_are_copied(verdict: Phase, stops: int) -> None:
    cause = Cause.USER_ERROR if verdict is Phase.FAILED else None
    ended = lab.attempt(
        "r-1", "train.0", phase=Phase.COLLECTING, host="gpu0", gpus=(0, 1), verdict=verdict,
        cause=cause, finished_at=lab.NOW - 30,
    )  # fmt: skip
    runs = lab.attempt("r-1", "train.1", host="gpu1", gpus=(0, 1))
    hosts = [
        lab.with_look(host, workloads=(lab.workload(attempt, running=attempt is runs),))
        for host, attempt in zip(_hosts(2, 2), (ended, runs), strict=True)
    ]
    actions = plan(lab.snapshot(*hosts, _of(ended, runs))).actions
    assert len(lab.of_kind(actions, Stop)) == stops


def test_a_team_needs_the_cpus_and_the_ram_of_all_ranks() -> None:
    team = _gang(kind="team", gpus=0, cpus=10.0, ram=100 * GIB)
    run = lab.run("r-1", *team)
    fits = lab.host("fits", 0, cpus=20, memory=200 * GIB)
    assert len(lab.of_kind(plan(lab.snapshot(fits, run)).actions, Start)) == 2
    for cpus, memory in ((19, 200), (20, 199)):
        small = lab.host("small", 0, cpus=cpus, memory=memory * GIB)
        assert lab.of_kind(plan(lab.snapshot(small, run)).actions, Start) == []


def test_a_rank_goes_back_to_its_checkpoint_and_the_other_elsewhere() -> None:
    stages = _gang(checkpoint="ckpt", retries=Retries(max=1, backoff=0.0))
    tried = [
        _ended("train.0", Phase.CANCELLED, cause=Cause.DEPENDENCY, launched_at=None, host="gone"),
        _ended("train.1", Phase.FAILED, cause=Cause.USER_ERROR, host="gpu0"),
    ]
    run = lab.run("r-1", *stages, attempts=tried)
    starts = lab.of_kind(plan(lab.snapshot(*_hosts(2, 4), run)).actions, Start)
    hosts = {s.stage.name: s.attempt.host for s in starts}
    assert hosts == {"train.0": "gpu1", "train.1": "gpu0"}


def _both_left_checkpoints_on(host: str, kind: str) -> Run:
    stages = _gang(kind=kind, checkpoint="ckpt", retries=Retries(max=1, backoff=0.0))
    tried = [
        _ended("train.0", Phase.CANCELLED, cause=Cause.DEPENDENCY, host=host),
        _ended("train.1", Phase.FAILED, cause=Cause.USER_ERROR, host=host),
    ]
    return lab.run("r-1", *stages, attempts=tried)


def test_a_team_whose_host_has_shrunk_goes_elsewhere_as_one_stage_does() -> None:
    """Each rank fits where its checkpoint is, and both do not."""
    run = _both_left_checkpoints_on("gpu0", "team")
    decided = plan(lab.snapshot(*_hosts(3, 4), run))
    starts = lab.of_kind(decided.actions, Start)
    assert [s.attempt.host for s in starts] == ["gpu1", "gpu1"]
    assert {s.why for s in starts} == {"the only host with free capacity"}
    reason = plan(lab.snapshot(*_hosts(3, 3), run)).reasons["r-1", "train.1"]
    assert reason.sentence.startswith("no host can take 4 GPUs as requested")
    assert not any("checkpoint" in host.sentence for host in reason.hosts)


@pytest.mark.parametrize(("cpus", "memory"), [(19, 200), (20, 199)])
def test_a_team_whose_host_has_fewer_cpus_or_less_ram_goes_elsewhere(
    cpus: int, memory: int
) -> None:
    run = _both_left_checkpoints_on("gpu0", "team")
    asked = replace(run.stages[0].resources, gpus=0, cpus=10.0, ram=100 * GIB)
    run = replace(run, stages=tuple(replace(stage, resources=asked) for stage in run.stages))
    small = lab.host("gpu0", 0, cpus=cpus, memory=memory * GIB)
    large = lab.host("gpu1", 0, cpus=20, memory=200 * GIB)
    starts = lab.of_kind(plan(lab.snapshot(small, large, run)).actions, Start)
    assert [s.attempt.host for s in starts] == ["gpu1", "gpu1"]


def test_a_team_that_fits_goes_back_to_its_checkpoints() -> None:
    run = _both_left_checkpoints_on("gpu1", "team")
    starts = lab.of_kind(plan(lab.snapshot(*_hosts(4, 8), run)).actions, Start)
    assert [s.attempt.host for s in starts] == ["gpu1", "gpu1"]
    assert {s.why for s in starts} == {"its checkpoint is on gpu1"}


def test_of_two_ranks_with_checkpoints_on_one_host_one_goes_elsewhere() -> None:
    run = _both_left_checkpoints_on("gpu0", "gang")
    starts = lab.of_kind(plan(lab.snapshot(*_hosts(4, 4), run)).actions, Start)
    assert {s.stage.name: s.attempt.host for s in starts} == {"train.0": "gpu0", "train.1": "gpu1"}


def test_ranks_that_wait_for_the_host_of_a_checkpoint_name_it() -> None:
    busy = lab.attempt("r-0", "other", host="gpu0", gpus=(0, 1))
    other = lab.run("r-0", lab.stage("other", gpus=2), attempts=[busy])
    hosts = _hosts(2, 4, 4)
    hosts[0] = lab.with_look(hosts[0], workloads=(lab.workload(busy),))
    run = _both_left_checkpoints_on("gpu0", "gang")
    decided = plan(lab.snapshot(*hosts, other, run))
    assert lab.of_kind(decided.actions, Start) == []
    for name in ("train.0", "train.1"):
        assert decided.reasons["r-1", name].sentence == (
            "its group needs 2 hosts with 2 GPUs each at once, and 2 have free capacity now; "
            "the checkpoint of train.0 is on gpu0, which has no free capacity"
        )
    # What it waits for is kept for it: nobody takes the place of the other rank meanwhile.
    small = lab.run("r-2", lab.stage("small", gpus=3))
    later = lab.of_kind(plan(lab.snapshot(*hosts, other, run, small)).actions, Start)
    assert [s.attempt.host for s in later] == ["gpu2"]


def test_ranks_of_one_host_named_by_a_person_are_refused() -> None:
    for kind, sizes in (("team", (3, 4)), ("gang", (4, 4))):
        run = lab.run("r-1", *_gang(kind=kind, hosts=("gpu0",)))
        assert unplaceable(lab.snapshot(*_hosts(*sizes), run), run) is not None


def test_of_groups_that_run_cells_one_after_the_other_each_counts_once() -> None:
    """Four GPUs are free, and a second group would find room too."""
    stages = [
        replace(rank, base="train", max_parallel=1)
        for name in ("a", "b")
        for rank in _gang(name, gpus=1)
    ]
    starts = lab.of_kind(plan(lab.snapshot(*_hosts(4, 4), lab.run("r-1", *stages))).actions, Start)
    assert [start.attempt.stage for start in starts] == ["a.0", "a.1"]
    two = [replace(rank, max_parallel=2) for rank in stages]
    starts = lab.of_kind(plan(lab.snapshot(*_hosts(4, 4), lab.run("r-1", *two))).actions, Start)
    assert [start.attempt.stage for start in starts] == ["a.0", "a.1", "b.0", "b.1"]
