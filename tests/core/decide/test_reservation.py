"""What is kept for those that wait: it is not given away again, and nobody starves."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from hostler.base.units import GIB
from hostler.decide.index import Index
from hostler.decide.plan import plan
from hostler.decide.queue import place
from hostler.decide.reservation import FAR_S, Reservation
from hostler.model.hosts import Host
from hostler.model.plans import Snapshot, Start
from hostler.model.runs import Phase, Run
from tests.support.values import planning as lab
from tests.support.worlds.hypothesis_profiles import examples
from tests.support.worlds.trace import LATE_S, Trace

H100 = "NVIDIA H100 80GB HBM3"


def wants(run_id: str, gpus: int, **fields: Any) -> Run:
    return lab.run(run_id, lab.stage("train", gpus=gpus, **fields), owner=f"u-{run_id}")


def holder(run_id: str, host: str, *gpus: int, **fields: Any) -> Run:
    """A run whose stage runs since a minute on GPUs of a host."""
    stage = lab.stage("train", gpus=len(gpus), cpus=0.0, **fields)
    return lab.run(run_id, stage, attempts=[lab.attempt(run_id, host=host, gpus=gpus)])


def on(name: str, cards: int, *runs: Run, **fields: Any) -> Host:
    """A host with what these run there."""
    here = [a for r in runs for a in r.attempts if a.host == name and a.phase is Phase.RUNNING]
    return lab.host(name, cards, look={"workloads": tuple(map(lab.workload, here))}, **fields)


def started(snapshot: Snapshot) -> list[str]:
    return [a.attempt.run_id for a in lab.of_kind(plan(snapshot).actions, Start)]


def kept(snapshot: Snapshot) -> dict[str, Reservation]:
    """Run -> what is kept for it."""
    found = place(Index(snapshot)).reservations.values()
    return {each.entry.run.run_id: each for each in found}


def releasing(cards: int, used: int, known: float | None, **fields: Any) -> Host:
    """A host "a" of which GPU 0 is held only by the lease of something of ours that has ended."""
    gpus = list(lab.gpus("a", cards))
    gpus[0] = replace(gpus[0], memory_used=used)
    return lab.host("a", gpus, look={"leases": (lab.lease("r-0-train-1", gpus[0].uuid),)}, **fields)


@pytest.mark.parametrize(("used", "ended"), [(0, None), (0, -1.0), (10 * GIB, -1.0)])
def test_what_is_kept_stays_kept_between_an_exit_and_its_release(
    used: int, ended: float | None
) -> None:
    """The host where only a lease is left in the way is the nearest of all, however exactly the
    end of what runs elsewhere is known."""
    elsewhere = holder("e-0", "b", 0, timeout=600.0)
    snapshot = lab.snapshot(
        releasing(4, used, ended), on("b", 4, elsewhere), elsewhere,
        wants("big", 4), wants("small", 1, timeout=60.0, hosts=("a",)),
        lately={} if ended is None else {"r-0-train-1": lab.NOW + ended},
    )  # fmt: skip
    assert kept(snapshot)["big"].capacity.host.name == "a"
    assert started(snapshot) == []


def test_memory_that_does_not_come_back_is_not_waited_for() -> None:
    long_ago = {"r-0-train-1": lab.NOW - 1000}
    for ended in ({}, long_ago):
        snapshot = lab.snapshot(releasing(4, 10 * GIB, None), wants("big", 4), lately=ended)
        assert kept(snapshot) == {}


def test_what_is_kept_stays_kept_while_a_short_stage_is_started_on_it() -> None:
    far, near = holder("n-0", "a", 0, timeout=1000.0), holder("f-0", "b", 0, timeout=3000.0)
    short = lab.run(
        "s-0", lab.stage("train", gpus=1, timeout=100.0),
        attempts=[lab.attempt("s-0", host="a", gpus=(1,), phase=Phase.STARTING, placed_at=lab.NOW)],
    )  # fmt: skip
    hosts = [on("a", 4, far), on("b", 4, near)]
    assert kept(lab.snapshot(*hosts, far, near, wants("big", 4)))["big"].capacity.host.name == "a"
    both = lab.snapshot(*hosts, far, near, short, wants("big", 4))
    assert kept(both)["big"].capacity.host.name == "a"
    assert kept(both)["big"].until == lab.NOW - 60 + 1000 + 30


def test_a_short_stage_has_to_be_over_with_its_grace_in_time() -> None:
    busy = holder("h-0", "a", 0, timeout=1000.0)  # over at the latest in 970 s
    for timeout, grace, fits in ((900.0, 30.0, True), (900.0, 80.0, False), (960.0, 30.0, False)):
        small = wants("small", 1, timeout=timeout, grace=grace)
        snapshot = lab.snapshot(on("a", 4, busy), busy, wants("big", 4), small)
        assert started(snapshot) == (["small"] if fits else [])


def test_the_second_that_waits_for_other_gpus_is_not_starved_by_small_ones() -> None:
    rare = holder("h-0", "h", 0)
    busy = holder("b-0", "a", 0)
    h100 = lab.host(
        "h", lab.gpus("h", 1, H100), look={"workloads": (lab.workload(rare.attempts[0]),)}
    )
    head = wants("head", 1, gpu_models=("H100",))
    second = wants("second", 4, gpu_models=("A100",))
    snapshot = lab.snapshot(h100, on("a", 4, busy), rare, busy, head, second, wants("small", 1))
    assert started(snapshot) == []
    assert set(kept(snapshot)) == {"head", "second"}
    said = plan(snapshot).reasons["small", "train"]
    words = {host.host: host.sentence for host in said.hosts}
    assert "kept for u-second's second train" in words["a"]
    own = {h.host: h.sentence for h in plan(snapshot).reasons["second", "train"].hosts}
    assert own["a"].startswith("3 of 4 GPUs free, GPU 0: ana's b-0")


def test_a_further_stage_keeps_nothing_from_an_earlier_one() -> None:
    """Both hosts could take the head; that it fits only one of them sooner changes nothing."""
    one, two = holder("h-0", "a", 0), holder("h-1", "b", 0, 1)
    snapshot = lab.snapshot(
        on("a", 4, one), on("b", 4, two), one, two,
        wants("head", 4), wants("second", 3, hosts=("b",)), wants("small", 1),
    )  # fmt: skip
    assert set(kept(snapshot)) == {"head"}
    assert started(snapshot) == ["small"]


def test_a_silent_host_is_one_that_could_take_it_and_a_drained_one_is_not() -> None:
    busy = holder("h-0", "a", 0)
    head = wants("head", 4, hosts=("a", "b"))
    second = wants("second", 4, hosts=("b", "c"))
    other = holder("h-1", "c", 0)
    for fields, expected in (
        ({"asked_at": lab.NOW - 100}, {"head"}),
        ({"drained": "fans"}, {"head", "second"}),
    ):
        snapshot = lab.snapshot(
            on("a", 4, busy), on("b", 4, **fields), on("c", 4, other), busy, other, head, second
        )
        assert set(kept(snapshot)) == expected


@pytest.mark.parametrize(
    ("limit", "taken"), [(FAR_S / 2, "known"), (FAR_S * 2, "free"), (7 * 86400.0, "free")]
)
def test_fewer_missing_gpus_count_for_more_than_a_limit_that_is_far(
    limit: float, taken: str
) -> None:
    limited = holder("l-0", "known", 0, 1, 2, timeout=limit)
    endless = holder("e-0", "free", 0)
    snapshot = lab.snapshot(
        on("known", 4, limited), on("free", 4, endless), limited, endless, wants("big", 4)
    )
    assert kept(snapshot)["big"].capacity.host.name == taken


def test_of_two_known_limits_the_nearer_counts_however_far_both_are() -> None:
    near = holder("n-0", "near", 0, 1, 2, timeout=5 * 86400.0)
    far = holder("f-0", "far", 0, timeout=6 * 86400.0)
    snapshot = lab.snapshot(on("near", 4, near), on("far", 4, far), near, far, wants("big", 4))
    assert kept(snapshot)["big"].capacity.host.name == "near"


@pytest.mark.slow
@given(st.integers(0, 2**32).map(Random))
@examples(12)
def test_the_head_starts_when_it_was_promised(rng: Random) -> None:
    """All work has limits, and ends at any moment before; exits, their records, the memory's
    return and the releases of leases come at moments of their own."""
    sizes = [rng.choice([2, 4]) for _ in range(rng.randint(1, 3))]
    trace = Trace(rng, [lab.host(f"g{i}", n) for i, n in enumerate(sizes)])
    for number in range(14):
        limit = rng.choice([20, 40, 100, 300])
        count = rng.choice([1, 1, 1, 2, max(sizes)])
        took = rng.choice([limit, limit, rng.randint(1, limit)])
        trace.submit(f"r{number}", count, took, timeout=float(limit))
        trace.wait(rng.choice([0, 1, 15, 60]))
    for _ in range(500):
        if not trace.jobs:
            break
        trace.step()
    assert len(trace.started) == 14
    for run_id, latest in trace.promised.items():
        note(f"{run_id}: promised {latest - lab.NOW}")
        # What is being released counts as there, and takes this long in the end.
        assert trace.started[run_id] <= latest + 3 * LATE_S


@pytest.mark.slow
@given(st.integers(0, 2**32).map(Random))
@examples(10)
def test_nobody_starves_under_a_stream_of_small_ones(rng: Random) -> None:
    """Large ones for one kind of GPU or any, and small ones for ever: each large one starts after
    a few times what one takes, also where nothing has a limit."""
    kinds = [("A100", lab.A100), ("H100", H100), ("3090", lab.RTX)][: rng.randint(1, 3)]
    hosts = []
    for i in range(rng.randint(len(kinds), 4)):
        _, name = kinds[i % len(kinds)]
        hosts.append(lab.host(f"g{i}", lab.gpus(f"g{i}", 4, name)))
    trace, longest = Trace(rng, hosts, notes_promises=False), 30
    large = [f"large{i}" for i in range(4)]
    for number in range(20):
        trace.submit(f"s{number}", 1, rng.randint(5, longest))
    trace.wait(1)
    for run_id in large:
        word, _ = rng.choice(kinds)
        models = rng.choice([(word,), ()])
        trace.submit(run_id, rng.choice([3, 4]), rng.randint(5, longest), gpu_models=models)
    for turn in range(20 * longest):
        if all(run_id in trace.started for run_id in large):
            return
        limit = rng.choice([None, float(longest)])
        for name in (f"t{turn}-0", f"t{turn}-1", f"t{turn}-2"):
            trace.submit(name, 1, rng.randint(5, longest), timeout=limit)
        trace.jobs = _without_a_crowd(trace)
        trace.wait(1)
    raise AssertionError([run_id for run_id in large if run_id not in trace.started])


def _without_a_crowd(trace: Trace) -> list[Any]:
    """Small ones give up where there are too many, so that the test stays quick."""
    waiting = [j for j in trace.jobs if j.attempt is None and j.gpus == 1]
    gone = {j.run.run_id for j in waiting[12:]}
    return [j for j in trace.jobs if j.run.run_id not in gone]


def test_of_two_places_that_come_as_soon_the_one_with_more_cpus_is_kept() -> None:
    runs = [holder("a-0", "a", 0, timeout=600.0), holder("b-0", "b", 0, timeout=600.0)]
    hosts = [on("a", 2, runs[0], cpus=16), on("b", 2, runs[1], cpus=32)]
    assert kept(lab.snapshot(*hosts, *runs, wants("big", 2)))["big"].capacity.host.name == "b"
    alike = [on("a", 2, runs[0]), on("b", 2, runs[1])]
    assert kept(lab.snapshot(*alike, *runs, wants("big", 2)))["big"].capacity.host.name == "a"


@pytest.mark.parametrize(("used", "counts"), [(GIB, True), (GIB + 1, False)])
def test_memory_up_to_the_floor_is_back(used: int, counts: bool) -> None:
    long_ago = {"r-0-train-1": lab.NOW - 1000}
    snapshot = lab.snapshot(releasing(4, used, None), wants("big", 4), lately=long_ago)
    assert bool(kept(snapshot)) is counts


@pytest.mark.parametrize(("ago", "counts"), [(119.0, True), (120.0, False)])
def test_memory_may_take_two_minutes_to_come_back(ago: float, counts: bool) -> None:
    ended = {"r-0-train-1": lab.NOW - ago}
    snapshot = lab.snapshot(releasing(4, 10 * GIB, None), wants("big", 4), lately=ended)
    assert bool(kept(snapshot)) is counts


def test_what_is_kept_is_what_is_free_there_with_cpus_and_ram() -> None:
    run = holder("a-0", "a", 0, timeout=600.0)
    found = kept(lab.snapshot(on("a", 4, run), run, wants("big", 3 + 1, cpus=8.0, ram=GIB)))["big"]
    assert [gpu.index for gpu in found.gpus] == [1, 2, 3]
    assert (found.capacity.kept_cpus, found.capacity.kept_ram) == (8.0, float(GIB))
    assert found.until == lab.NOW - 60 + 600 + 30


def test_what_is_being_stopped_leaves_within_its_grace() -> None:
    stray = lab.workload("r-9-x-1", gpus=("GPU-a-0",))
    host = lab.host("a", 2, look={"workloads": (stray,)})
    assert kept(lab.snapshot(host, wants("big", 2)))["big"].until == lab.NOW + 30


def test_a_far_limit_counts_where_nowhere_fewer_are_missing() -> None:
    far, open_end = holder("f-0", "a", 0, timeout=FAR_S + 100), holder("n-0", "b", 0)
    hosts = [on("a", 2, far), on("b", 2, open_end)]
    found = kept(lab.snapshot(*hosts, far, open_end, wants("big", 2)))
    assert found["big"].capacity.host.name == "a"
