"""Hosts on which nothing starts: who is placed there, when, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.decide.health import after_fault, is_suspect, may_probe, remembered
from hostler.decide.lifecycle.task import MOST_HOST_FAULTS
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.decide.reasons import unplaceable
from hostler.model.pipelines import Cause, Retries
from hostler.model.plans import Ailment, RemedyKind, Snapshot, Start
from hostler.model.runs import Attempt, Phase, Run, StageStatus
from hostler.model.timings import DEFAULT
from tests.support.values import planning as lab
from tests.support.worlds.hypothesis_profiles import examples

DOCKER: dict[str, Any] = {"runtime": "docker", "image": "a:1"}


def wants(run_id: str, gpus: int = 1, owner: str = "ana", **fields: Any) -> Run:
    return lab.run(run_id, lab.stage("train", gpus=gpus, **{**DOCKER, **fields}), owner=owner)


def ailment(due: float = 5.0, **fields: Any) -> Ailment:
    """Since ten seconds, to be tried again in `due` seconds."""
    values = {"why": "containerd is down", "since": lab.NOW - 10, "pause": 10.0, **fields}
    return Ailment(probe_at=lab.NOW + due, **values)


def ails(snapshot: Snapshot, *hosts: str, **fields: Any) -> Snapshot:
    return replace(snapshot, ailing={(name, "docker"): ailment(**fields) for name in hosts})


def starts(snapshot: Snapshot) -> dict[str, str]:
    """Run id -> host."""
    found = lab.of_kind(plan(snapshot).actions, Start)
    return {action.attempt.run_id: action.attempt.host for action in found}


def failed(number: int, host: str, at: float = 0.0, **fields: Any) -> Attempt:
    values = {"cause": Cause.HOST_FAULT, "phase": Phase.FAILED, "host": host, **fields}
    values |= {"launched_at": None, "finished_at": lab.NOW + at, "runtime": "docker"}
    return lab.attempt(number=number, **values)


def test_nothing_goes_where_nothing_starts_and_why_says_so() -> None:
    snapshot = lab.snapshot(lab.host("a", 4), lab.host("b", 1), wants("r-1"), wants("r-2"))
    snapshot = ails(snapshot, "a")
    assert starts(snapshot) == {"r-1": "b"}
    reason = plan(snapshot).reasons["r-2", "train"]
    (told,) = [host for host in reason.hosts if host.host == "a"]
    assert "no container starts there: containerd is down" in told.sentence
    assert "hostler undrain a" in told.sentence
    assert [r.kind for r in told.remedies] == [RemedyKind.WAIT_FOR_HOST]
    assert reason.nearest is None


def test_other_runtimes_are_not_kept_away() -> None:
    plain = wants("r-1", runtime="process", image=None)
    assert starts(ails(lab.snapshot(lab.host("a", 4), plain), "a")) == {"r-1": "a"}


def test_where_only_gpus_cannot_be_given_the_rest_starts() -> None:
    snapshot = lab.snapshot(lab.host("a", 4), wants("r-1"), wants("r-2", 0))
    assert starts(ails(snapshot, "a", gpus_only=True)) == {"r-2": "a"}
    said = plan(ails(snapshot, "a", gpus_only=True)).reasons["r-1", "train"].hosts[0].sentence
    assert "no container with GPUs starts there" in said


def test_one_stage_at_a_time_finds_out_whether_it_starts_again() -> None:
    runs = [wants(f"r-{i}") for i in range(3)]
    snapshot = ails(lab.snapshot(lab.host("a", 4), *runs), "a", due=0)
    assert starts(snapshot) == {"r-0": "a"}
    trying = lab.attempt("r-0", host="a", phase=Phase.STARTING, runtime="docker")
    busy = replace(snapshot, runs=(replace(runs[0], attempts=(trying,)), *runs[1:]))
    assert starts(busy) == {}


def test_who_finds_another_place_is_not_used_to_find_out() -> None:
    snapshot = lab.snapshot(lab.host("a", 1), lab.host("b", 4), wants("r-1"))
    assert starts(ails(snapshot, "a", due=-100)) == {"r-1": "b"}


def test_others_go_before_those_that_met_the_failure() -> None:
    met = ailment(due=0, owners=frozenset({"mal"}), images=frozenset({"a:1"}))
    snapshot = lab.snapshot(lab.host("a", 1), wants("r-1", owner="mal"), wants("r-2", owner="bo"))
    snapshot = replace(snapshot, ailing={("a", "docker"): met})
    assert starts(snapshot) == {}
    snapshot = replace(
        snapshot, ailing={("a", "docker"): replace(met, probe_at=met.probe_at - met.pause / 2)}
    )
    assert starts(snapshot) == {"r-2": "a"}
    other = wants("r-3", owner="bo", image="b:1")
    snapshot = replace(snapshot, runs=(*snapshot.runs[:1], other), ailing={("a", "docker"): met})
    assert starts(snapshot) == {"r-3": "a"}


def test_those_that_met_it_are_tried_in_the_end_too() -> None:
    stage = lab.stage("train", **DOCKER)
    for pause in (10.0, 600.0):
        found = ailment(due=0, pause=pause, owners=frozenset({"mal"}), images=frozenset({"a:1"}))
        late = lab.NOW + min(pause, DEFAULT.start.head_start)
        assert not may_probe(found, stage, "mal", late - 0.1)
        assert may_probe(found, stage, "mal", late)


def test_nothing_is_kept_where_nothing_starts() -> None:
    busy = lab.run("h-0", attempts=[lab.attempt("h-0", host="a", gpus=(0, 1, 2))])
    look = {"workloads": (lab.workload(busy.attempts[0]),)}
    snapshot = lab.snapshot(
        lab.host("a", 4, look=look), busy, wants("big", 4), wants("p", 1, runtime="process")
    )
    assert starts(ails(snapshot, "a")) == {"p": "a"}


def test_pauses_grow_with_each_failed_try_and_not_with_those_under_way() -> None:
    stage, now = lab.stage("train", **DOCKER), lab.NOW
    first = after_fault(None, lab.attempt(placed_at=now), stage, "ana", "x", now, gpus_only=False)
    assert (first.pause, first.probe_at) == (10.0, now + 10)
    same = after_fault(
        first, lab.attempt(placed_at=now), stage, "bo", "x", now + 1, gpus_only=False
    )
    assert (same.pause, same.probe_at, same.owners) == (10.0, now + 10, frozenset({"ana", "bo"}))
    pauses, known = [], first
    for _ in range(8):
        at = known.probe_at
        known = after_fault(
            known, lab.attempt(placed_at=at), stage, "ana", "x", at, gpus_only=False
        )
        pauses.append(known.pause)
    assert pauses == [20, 40, 80, 160, 320, 600, 600, 600]


def test_a_failure_of_more_than_gpus_is_remembered_as_such() -> None:
    stage, now = lab.stage("train", **DOCKER), lab.NOW
    gpus = after_fault(None, lab.attempt(placed_at=now), stage, "ana", "x", now, gpus_only=True)
    both = after_fault(gpus, lab.attempt(placed_at=now), stage, "ana", "y", now, gpus_only=False)
    assert (gpus.gpus_only, both.gpus_only) == (True, False)


def test_a_stage_is_at_fault_where_others_started_after_it_had_failed() -> None:
    tries = [failed(1, "a", -50), failed(2, "b", -40)]
    proven = {("a", "docker", True): lab.NOW - 30}
    assert not is_suspect(tries, proven)
    assert is_suspect(tries, {**proven, ("b", "docker", True): lab.NOW - 30})
    assert not is_suspect(tries, {**proven, ("b", "docker", True): lab.NOW - 45})
    assert not is_suspect(tries, {**proven, ("b", "docker", False): lab.NOW - 30})
    assert not is_suspect(tries, {**proven, ("b", "process", True): lab.NOW - 30})


def test_a_host_fault_counts_for_nothing_and_its_stage_is_tried_elsewhere() -> None:
    run = replace(wants("r-1"), attempts=(failed(1, "a", -1),))
    assert progress_of(run).status["train"] is StageStatus.WAITING
    snapshot = lab.snapshot(lab.host("a", 1), lab.host("b", 4), run)
    assert starts(snapshot) == {"r-1": "b"}


def test_who_waits_for_a_host_goes_on_as_soon_as_it_is_mended() -> None:
    tries = [failed(i + 1, "a", -1) for i in range(8)]
    run = replace(wants("r-1"), attempts=tuple(tries))
    snapshot = lab.snapshot(lab.host("a", 1), run)
    assert starts(ails(snapshot, "a", due=-1000)) == {}
    assert "could not be started on a" in plan(ails(snapshot, "a")).reasons["r-1", "train"].sentence
    assert starts(snapshot) == {"r-1": "a"}


def test_a_stage_that_no_host_ever_starts_fails_in_the_end() -> None:
    stage = lab.stage("train", gpus=1, **DOCKER, retries=Retries(max=0))
    tries = [failed(i + 1, "a", -1) for i in range(MOST_HOST_FAULTS)]
    almost = lab.run("r-1", stage, attempts=tries[:-1])
    assert progress_of(almost).status["train"] is StageStatus.WAITING
    rests = progress_of(almost).not_before(stage, lambda tried: tried.finished_at or 0.0)
    assert rests is not None
    assert rests <= lab.NOW + 600
    over = lab.run("r-1", stage, attempts=tuple(tries))
    assert progress_of(over).status["train"] is StageStatus.FAILED


def test_a_cancelled_stage_is_not_a_failed_one() -> None:
    run = replace(wants("r-1"), attempts=(failed(1, "a", -1),), cancelled_by="ana")
    assert progress_of(run).status["train"] is StageStatus.CANCELLED


def test_a_host_on_which_nothing_starts_may_take_it_one_day() -> None:
    snapshot = ails(lab.snapshot(lab.host("a", 4)), "a")
    assert unplaceable(snapshot, wants("r-1")) is None
    assert unplaceable(snapshot, wants("r-1", 9)) is not None


def test_after_a_restart_it_is_known_from_what_open_runs_met() -> None:
    met = replace(wants("r-1", owner="bo"), attempts=(failed(1, "a", -50), failed(2, "b", -40)))
    found = remembered([met], lab.NOW)
    assert set(found) == {("a", "docker"), ("b", "docker")}
    assert found["a", "docker"].owners == {"bo"}
    assert found["a", "docker"].probe_at == lab.NOW
    ran = lab.attempt("r-2", host="a", runtime="docker", launched_at=lab.NOW - 45)
    later = replace(wants("r-2"), attempts=(ran,))
    assert set(remembered([met, later], lab.NOW)) == {("b", "docker")}


def test_a_plan_is_made_again_when_somebody_may_try() -> None:
    snapshot = ails(lab.snapshot(lab.host("a", 4), wants("r-1")), "a", due=5)
    assert plan(snapshot).wake_at == lab.NOW + 5


@given(st.integers(0, 2**32).map(Random))
@examples(50)
def test_one_persons_bad_sweep_does_not_close_a_host_to_others(rng: Random) -> None:
    """Whatever somebody asks for, at whatever moments: another's stage gets its turn."""
    count = rng.randint(1, 20)
    bad = [wants(f"m-{i}", owner="mal", image=f"bad:{i}") for i in range(count)]
    good = wants("good", owner="bo", image="good:1")
    now, known = lab.NOW, None
    for _ in range(60):
        snapshot = lab.snapshot(lab.host("a", 1, asked_at=now - 0.1), *bad, good, now=now)
        ailing: dict[tuple[str, str], Ailment] = {} if known is None else {("a", "docker"): known}
        for run_id in starts(replace(snapshot, ailing=ailing)):
            if run_id == "good":
                return
            run = next(r for r in bad if r.run_id == run_id)
            tried = lab.attempt(run_id, placed_at=now)
            known = after_fault(known, tried, run.stages[0], "mal", "x", now, gpus_only=False)
        now += rng.choice([1.0, 5.0, 20.0])
    raise AssertionError("never placed")


def known(*attempts: Attempt, owner: str = "ana") -> dict[tuple[str, str], Ailment]:
    run = lab.run("r-1", lab.stage("train", gpus=1, **DOCKER), owner=owner, attempts=attempts)
    return remembered([run], lab.NOW)


def test_after_a_restart_the_last_thing_that_a_host_told_counts() -> None:
    fault = failed(1, "a", at=-50.0)
    started = lab.attempt(number=2, host="a", launched_at=lab.NOW - 40, runtime="docker")
    before = replace(started, launched_at=lab.NOW - 60)
    assert known(fault, started) == {}
    assert set(known(fault, before)) == {("a", "docker")}
    placed = replace(fault, finished_at=None, placed_at=lab.NOW - 30)
    assert set(known(started, placed)) == {("a", "docker")}
    untold = lab.attempt(
        number=3, host="a", launched_at=None, phase=Phase.FAILED, cause=Cause.NOT_STARTED,
        runtime="docker", finished_at=lab.NOW,
    )  # fmt: skip
    assert set(known(fault, untold)) == {("a", "docker")}
    gone = replace(fault, stage="gone")
    assert known(gone) == {}


def test_what_is_remembered_may_be_tried_at_once_by_anybody_who_has_not_met_it() -> None:
    (found,) = known(replace(failed(1, "a"), detail="disk full"), owner="bo").values()
    assert found == Ailment(
        "disk full", lab.NOW, 10.0, lab.NOW, True, frozenset({"bo"}), frozenset({"a:1"})
    )
    (without,) = known(replace(failed(1, "a"), gpus=())).values()
    assert not without.gpus_only


@pytest.mark.parametrize(
    ("owner", "image", "wait"),
    [("cy", "b:1", 0), ("ana", "b:1", 5), ("cy", "a:1", 5), ("ana", "a:1", 10)],
)
def test_who_has_met_the_failure_lets_others_go_first(owner: str, image: str, wait: float) -> None:
    met = ailment(due=0.0, owners=frozenset({"ana"}), images=frozenset({"a:1"}))
    stage = lab.stage("train", runtime="docker", image=image)
    assert may_probe(met, stage, owner, lab.NOW + wait)
    assert not may_probe(met, stage, owner, lab.NOW + wait - 0.1)
    slow = replace(met, pause=600.0)
    assert may_probe(slow, stage, owner, lab.NOW + wait * 6)
    assert not may_probe(slow, stage, owner, lab.NOW + wait * 6 - 0.1)


def test_a_pause_doubles_up_to_ten_minutes_with_what_was_placed_after_it() -> None:
    before = ailment(due=0.0, pause=400.0, owners=frozenset({"bo"}), images=frozenset({"b:1"}))
    tried = lab.attempt(placed_at=lab.NOW)
    stage = lab.stage("train", runtime="docker", image="a:1")
    after = after_fault(before, tried, stage, "ana", "worse", lab.NOW + 1, gpus_only=False)
    assert (after.pause, after.probe_at, after.why) == (600.0, lab.NOW + 601, "worse")
    assert (after.owners, after.images) == (frozenset({"ana", "bo"}), frozenset({"a:1", "b:1"}))
    early = replace(tried, placed_at=lab.NOW - 0.1)
    under_way = after_fault(before, early, stage, "ana", "worse", lab.NOW + 1, gpus_only=False)
    assert (under_way.pause, under_way.probe_at) == (400.0, lab.NOW)


def test_a_stage_is_suspect_after_two_hosts_that_started_others_since() -> None:
    tries = [failed(1, "a", at=-50.0), failed(2, "b", at=-40.0)]
    proven = {("a", "docker", True): lab.NOW - 30, ("b", "docker", True): lab.NOW - 30}
    assert is_suspect(tries, proven)
    assert not is_suspect(tries[:1], proven)
    assert not is_suspect(tries, {**proven, ("b", "docker", True): lab.NOW - 40})
    without_gpus = {("a", "docker", True): lab.NOW, ("b", "docker", False): lab.NOW}
    assert not is_suspect(tries, without_gpus)
    assert is_suspect([replace(each, gpus=()) for each in tries], without_gpus)
    assert not is_suspect([replace(each, cause=Cause.USER_ERROR) for each in tries], proven)
    assert not is_suspect([replace(each, finished_at=None) for each in tries], proven)


def test_a_plan_is_made_again_for_each_who_lets_others_go_first() -> None:
    met = {"owners": frozenset({"ana"}), "images": frozenset({"a:1"})}
    waits = lab.snapshot(lab.host("a", 1), wants("r-1"))
    for due, wake in ((5.0, 5.0), (-1.0, 4.0), (-6.0, 4.0)):
        assert plan(ails(waits, "a", due=due, **met)).wake_at == lab.NOW + wake
