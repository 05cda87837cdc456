"""Who is next, what is kept for the head of the queue, and what is said to those who wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hostler.decide.plan import plan
from hostler.model.hosts import HostCondition
from hostler.model.pipelines import Cause, Retries
from hostler.model.plans import RemedyKind, Snapshot, Start
from hostler.model.runs import Phase, Run
from tests.support.values import planning as lab
from tests.support.worlds.advance import advance, end_workload


def started(snapshot: Snapshot) -> list[str]:
    """Run ids of what the plan starts, in order."""
    return [a.attempt.run_id for a in lab.of_kind(plan(snapshot).actions, Start)]


def wants(run_id: str, gpus: int, owner: str = "ana", priority: int = 0, **fields: Any) -> Run:
    return lab.run(run_id, lab.stage("train", gpus=gpus, **fields), owner=owner, priority=priority)


def after(snapshot: Snapshot) -> Snapshot:
    """The snapshot once the plan has taken effect."""
    return advance(snapshot, plan(snapshot))


def test_the_oldest_goes_first() -> None:
    assert started(lab.snapshot(lab.host("g", 1), wants("r-1", 1), wants("r-2", 1))) == ["r-1"]


def test_priority_goes_before_age() -> None:
    low, high = wants("r-1", 1, priority=-1), wants("r-2", 1)
    assert started(lab.snapshot(lab.host("g", 1), low, high)) == ["r-2"]


def test_a_stage_may_lower_its_own_priority() -> None:
    low, high = wants("r-1", 1, priority=0), wants("r-2", 1)
    low = replace(low, stages=(replace(low.stages[0], priority=-5),))
    assert started(lab.snapshot(lab.host("g", 1), low, high)) == ["r-2"]


def test_whoever_holds_fewest_gpus_goes_before_age() -> None:
    runs = [wants(f"r-{i}", 1) for i in range(3)] + [wants("r-9", 1, "bo")]
    assert started(lab.snapshot(lab.host("g", 2), *runs)) == ["r-0", "r-9"]


def test_gpus_held_already_count() -> None:
    holding = lab.run("r-0", attempts=[lab.attempt("r-0", host="g")], owner="ana")
    runs = [holding, wants("r-1", 1), wants("r-2", 1, "bo")]
    host = lab.host("g", 2, look={"workloads": (lab.workload(holding.attempts[0]),)})
    assert started(lab.snapshot(host, *runs)) == ["r-2"]


def test_a_large_request_is_not_starved_by_a_stream_of_small_ones() -> None:
    snapshot = lab.snapshot(lab.host("g", 4), *[wants(f"s-{i}", 1, f"u{i}") for i in range(4)])
    snapshot = after(snapshot)
    large = wants("large", 4, "ana")
    snapshot = replace(snapshot, runs=(*snapshot.runs, large))
    for turn in range(4):
        small = wants(f"t-{turn}", 1, f"v{turn}")
        snapshot = replace(snapshot, runs=(*snapshot.runs, small))
        snapshot = end_workload(snapshot, f"s-{turn}-train-1")
        for _ in range(4):
            snapshot = after(snapshot)
    running = {a.run_id for run in snapshot.runs for a in run.attempts if not a.phase.is_final}
    assert running == {"large"}


def held_by_stages(cards: int, held: int, *, timeout: float | None = None, **host: Any) -> Snapshot:
    """A host "g" on which some GPUs are held, each by a run of its own."""
    holders = [wants(f"h-{i}", 1, f"u{i}", timeout=timeout) for i in range(held)]
    return after(lab.snapshot(lab.host("g", cards, **host), *holders))


def queue(snapshot: Snapshot, *runs: Run) -> Snapshot:
    return replace(snapshot, runs=(*snapshot.runs, *runs))


def test_what_is_free_where_the_head_will_fit_is_kept_for_it() -> None:
    snapshot = queue(held_by_stages(4, 1), wants("large", 4, "bo"), wants("small", 1, "cy"))
    assert started(snapshot) == []
    reason = plan(snapshot).reasons["small", "train"]
    assert "kept for bo's large train" in reason.hosts[0].sentence
    assert reason.hosts[0].remedies[0].kind is RemedyKind.WAIT_FOR_TURN


def test_what_is_kept_for_the_head_is_not_in_its_own_way() -> None:
    snapshot = queue(held_by_stages(4, 1), wants("large", 4, "bo"), wants("small", 1, "cy"))
    found = plan(snapshot).reasons
    reason = found["large", "train"]
    assert "3 of 4 GPUs free" in reason.hosts[0].sentence
    assert "kept" not in reason.hosts[0].sentence
    assert [r.kind for r in reason.hosts[0].remedies] == [RemedyKind.WAIT_FOR_ATTEMPT]
    assert "kept for bo's large train" in found["small", "train"].hosts[0].sentence


def test_others_may_use_the_hosts_the_head_does_not_need() -> None:
    snapshot = held_by_stages(4, 1)
    snapshot = replace(snapshot, hosts=(*snapshot.hosts, lab.host("z", 2)))
    snapshot = queue(snapshot, wants("large", 4, "bo"), wants("small", 1, "cy"))
    assert started(snapshot) == ["small"]


def test_a_short_stage_may_use_what_is_kept_if_it_ends_in_time() -> None:
    busy = held_by_stages(4, 1, timeout=1000.0)
    head = wants("large", 4, "bo")
    assert started(queue(busy, head, wants("small", 1, "cy", timeout=900.0))) == ["small"]
    assert started(queue(busy, head, wants("small", 1, "cy", timeout=2000.0))) == []
    assert started(queue(busy, head, wants("small", 1, "cy"))) == []
    three = [wants(f"small-{i}", 1, f"c{i}", timeout=900.0) for i in range(5)]
    assert len(started(queue(busy, head, *three))) == 3


def test_nothing_is_kept_where_a_stranger_is_in_the_way() -> None:
    cards = list(lab.gpus("g", 4))
    cards[0] = replace(cards[0], processes=(lab.process(),))
    snapshot = lab.snapshot(lab.host("g", cards), wants("large", 4, "bo"), wants("small", 1, "cy"))
    assert started(snapshot) == ["small"]


def test_nothing_is_kept_for_what_no_host_can_ever_take() -> None:
    snapshot = lab.snapshot(lab.host("g", 4), wants("huge", 9, "bo"), wants("small", 1, "cy"))
    assert started(snapshot) == ["small"]
    reason = plan(snapshot).reasons["huge", "train"]
    assert reason.remedies[0].kind is RemedyKind.ADD_HOST
    assert reason.hosts[0].remedies[0].kind is RemedyKind.LOWER


def test_of_hosts_that_have_too_little_the_one_that_lacks_least_is_nearest() -> None:
    snapshot = lab.snapshot(lab.host("atlas", 8), lab.host("helene", 2), wants("held", 8))
    snapshot = queue(after(snapshot), wants("huge", 9, "bo"))
    snapshot = replace(snapshot, hosts=(*snapshot.hosts, lab.host("castor", 8)))
    reason = plan(snapshot).reasons["huge", "train"]
    assert [host.host for host in reason.hosts] == ["castor", "atlas", "helene"]
    assert "nearest castor: has 8 GPUs that suit, of 9 requested" in reason.sentence


def test_cpus_are_kept_for_a_head_that_waits_for_cpus() -> None:
    snapshot = after(lab.snapshot(lab.host("c", 0, cpus=4), wants("a", 0, cpus=2.0)))
    snapshot = queue(snapshot, wants("big", 0, cpus=4.0), wants("small", 0, cpus=1.0))
    assert started(snapshot) == []


def test_the_nearest_request_is_named() -> None:
    snapshot = queue(held_by_stages(4, 2), wants("large", 4, "bo"))
    snapshot = replace(snapshot, hosts=(*snapshot.hosts, lab.host("z", 1)))
    assert plan(snapshot).reasons["large", "train"].nearest == "1 GPU on z"
    other = queue(held_by_stages(4, 4), wants("one", 1, "bo", gpu_models=("A100",)))
    rtx = lab.host("z", lab.gpus("z", 2, lab.RTX, 24))
    other = replace(other, hosts=(*other.hosts, rtx))
    assert plan(other).reasons["one", "train"].nearest == f"1 GPU on z ({lab.RTX})"


def test_a_reason_names_every_holder_on_every_host() -> None:
    cards = list(lab.gpus("gpu1", 3))
    cards[1] = replace(cards[1], processes=(lab.process(command="/usr/bin/python x.py"),))
    lease = lab.lease("r-7-fit-1", cards[2].uuid, daemon_id=lab.OTHER, owner="zoe")
    first = lab.run("r-0", attempts=[lab.attempt("r-0")], owner="dan")
    look = {"leases": (lease,), "workloads": (lab.workload(first.attempts[0]),)}
    hosts = [
        lab.host("gpu1", cards, look=look),
        lab.host("gpu2", 4, drained="new fans"),
        lab.host("gpu3", 4, condition=HostCondition.UNREACHABLE, problem="no route to host"),
        lab.host("cpu", 0),
    ]
    reason = plan(lab.snapshot(*hosts, first, wants("r-1", 3, "bo"))).reasons["r-1", "train"]
    by_host = {h.host: h for h in reason.hosts}
    sentence = by_host["gpu1"].sentence
    assert "0 of 3 GPUs free" in sentence
    assert "GPU 0: dan's r-0 train for 1m" in sentence
    assert "GPU 1: bob's python (77, 10 GiB)" in sentence
    assert "GPU 2: zoe's r-7-fit-1" in sentence
    assert {r.kind for r in by_host["gpu1"].remedies} == {
        RemedyKind.WAIT_FOR_ATTEMPT, RemedyKind.WAIT_FOR_PROCESS, RemedyKind.WAIT_FOR_LEASE
    }  # fmt: skip
    assert by_host["gpu2"].sentence == "drained: new fans"
    assert "unreachable" in by_host["gpu3"].sentence
    assert "no route to host" in by_host["gpu3"].sentence
    assert by_host["cpu"].remedies == ()
    assert reason.sentence.startswith("waits for 3 GPUs; nearest gpu3:")


def test_what_others_are_called_cannot_carry_escapes() -> None:
    card = replace(lab.gpu("g", 0), processes=(lab.process(command="\x1b]0;x\x07evil"),))
    reason = plan(lab.snapshot(lab.host("g", [card]), wants("r-1", 1))).reasons["r-1", "train"]
    assert "\x1b" not in reason.hosts[0].sentence


def test_equal_requests_share_what_is_worked_out() -> None:
    runs = [wants(f"r-{i}", 2, f"u{i}") for i in range(3)]
    snapshot = after(lab.snapshot(lab.host("g", 2), wants("r-x", 2, "zoe")))
    reasons = plan(queue(snapshot, *runs)).reasons
    assert "(2 before it in the queue)" in reasons["r-2", "train"].sentence
    assert reasons["r-1", "train"].hosts is reasons["r-2", "train"].hosts


def test_who_names_a_host_hears_of_that_one_first() -> None:
    refused = lab.host("mine", 1, condition=HostCondition.REFUSED, problem="ANOTHER KEY", look=None)
    snapshot = lab.snapshot(lab.host("free", 1), refused, wants("r-1", 1, hosts=("mine",)))
    reason = plan(snapshot).reasons["r-1", "train"]
    assert [host.host for host in reason.hosts] == ["mine", "free"]
    assert "nearest mine: refused us: ANOTHER KEY" in reason.sentence


def test_what_a_short_stage_leaves_of_what_is_kept_stays_kept() -> None:
    busy = held_by_stages(4, 1, timeout=1000.0)
    runs = [wants("large", 4, "bo"), wants("short", 1, "cy", timeout=900.0), wants("long", 1, "di")]
    assert started(queue(busy, *runs)) == ["short"]


def test_a_short_stage_that_needs_more_than_is_kept_leaves_it_whole() -> None:
    busy = held_by_stages(4, 1, timeout=1000.0)
    runs = [wants("large", 4, "bo"), wants("big", 4, "cy", timeout=900.0), wants("long", 1, "di")]
    assert started(queue(busy, *runs)) == []


def test_a_stage_rests_for_its_last_attempt_and_not_for_one_before() -> None:
    tries = [
        lab.attempt(number=1, phase=Phase.FAILED, cause=Cause.HOST_FAULT),
        lab.attempt(number=2, phase=Phase.FAILED, cause=Cause.USER_ERROR),
    ]
    stage = lab.stage(gpus=1, retries=Retries(max=3, backoff=100.0))
    resting = lab.run("r-1", stage, attempts=tries)
    assert started(lab.snapshot(lab.host(), resting)) == []
    faults = [*tries, *(replace(tries[0], number=n) for n in (3, 4, 5, 6, 7, 8))]
    mended = lab.run("r-1", stage, attempts=faults)
    assert started(lab.snapshot(lab.host(), mended)) == ["r-1"]
    due = replace(resting, attempts=(tries[0], replace(tries[1], finished_at=lab.NOW - 100)))
    assert started(lab.snapshot(lab.host(), due)) == ["r-1"]


def test_among_owners_who_hold_alike_the_older_goes_first() -> None:
    runs = [wants("r-1", 1, "zoe"), wants("r-2", 1, "ana"), wants("r-3", 1, "zoe")]
    assert started(lab.snapshot(lab.host("g", 3), *runs)) == ["r-1", "r-2", "r-3"]


def test_gpus_that_a_plan_gives_count_for_the_next_turn() -> None:
    runs = [wants("r-1", 4, "zoe"), wants("r-2", 1, "zoe"), wants("r-3", 1, "ana")]
    assert started(lab.snapshot(lab.host("g", 5), *runs)) == ["r-1", "r-3"]


def test_cells_that_start_in_a_plan_count_for_max_parallel_of_their_own_run() -> None:
    cells = [lab.stage(f"t.{i}", base="t", max_parallel=1) for i in range(2)]
    runs = [lab.run("r-1", *cells), lab.run("r-2", *cells)]
    assert started(lab.snapshot(lab.host("g", 0), *runs)) == ["r-1", "r-2"]


def test_two_that_wait_for_other_hosts_are_each_kept_for() -> None:
    first = held_by_stages(2, 1)
    other = lab.run("h-z", lab.stage("train", gpus=1), attempts=[lab.attempt("h-z", host="z")])
    second = lab.host("z", 2, look={"workloads": (lab.workload(other.attempts[0]),)})
    snapshot = replace(first, hosts=(*first.hosts, second), runs=(*first.runs, other))
    runs = [
        wants("one", 2, "bo", hosts=("g",)),
        wants("two", 2, "cy", hosts=("z",)),
        wants("small", 1, "di"),
    ]
    assert started(queue(snapshot, *runs)) == []
    assert started(queue(snapshot, runs[0], runs[2])) == ["small"]


def test_cells_that_ask_alike_wait_alike_but_those_that_have_a_reason_of_their_own() -> None:
    tried = lab.attempt("r-1", "t.3", phase=Phase.FAILED, cause=Cause.USER_ERROR, host="g")
    again = Retries(max=3, backoff=100.0)
    cells = [lab.stage(f"t.{i}", gpus=1, base="t", retries=again) for i in range(5)]
    capped = [lab.stage(f"c.{i}", gpus=1, base="c", max_parallel=1) for i in range(2)]
    # Its checkpoint is where it ran, and that host is busy like the other one.
    tied = lab.stage("tied", gpus=1, checkpoint="ckpt", retries=again)
    begun = lab.attempt("r-1", "c.0", host="g", phase=Phase.RUNNING)
    run = lab.run("r-1", *cells, *capped, tied, attempts=[tried, begun])
    snapshot = lab.snapshot(held_by_stages(1, 1).hosts[0], run)
    reasons = plan(snapshot).reasons
    said = {name: reasons["r-1", name].sentence for name in ("t.0", "t.4", "t.3", "c.1", "tied")}
    assert said["t.0"].startswith("waits for 1 GPU; nearest g: ")
    assert said["t.4"] == f"{said['t.0']} (3 before it in the queue)"
    assert said["t.3"] == "attempt 1 ended (user error); the next starts in 1m10s"
    assert said["c.1"] == "1 cells of c run, and max_parallel is 1"
    assert said["tied"].endswith("(4 before it in the queue)")
