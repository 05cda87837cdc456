"""Attempts that use GPUs that they were not given: which are reported, and which are ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.decide.index import OpenAttempt
from hostler.decide.plan import plan
from hostler.decide.stray_gpus import APART_S, WITHIN_S, Sightings, sighted, strays, uses
from hostler.model.hosts import Gpu, GpuProcess, Host, StrayUse
from hostler.model.pipelines import Cause
from hostler.model.plans import Policy, Stop, Stray
from hostler.model.runs import Phase, Run
from tests.support.values import planning as lab

MINE = lab.attempt(gpus=(2,))
RUN = lab.run("r-1", lab.stage(gpus=1), attempts=[MINE])
WORKING = StrayUse(in_tree=True, load=40, visible="0")


def process(stray: StrayUse | None = WORKING, **fields: Any) -> GpuProcess:
    """Of the attempt, with its login."""
    values: dict[str, Any] = {"user": "ana", "attempt_id": MINE.attempt_id, "stray": stray}
    return lab.process(10, **{**values, **fields})


def seen(
    *there: GpuProcess, up: float = 100.0, gpu: dict[str, Any] | None = None, **look: Any
) -> Host:
    """A host with these processes on its GPU 0."""
    cards = [lab.gpu("gpu1", 0, processes=there, **(gpu or {}))]
    cards += [lab.gpu("gpu1", index) for index in (1, 2, 3)]
    return lab.host(cards=look.pop("cards", cards), look={"up": up, **look})


def told(*hosts: Host, runs: tuple[Run, ...] = (RUN,)) -> Stray | None:
    """What is reported of the attempt after these looks."""
    found: dict[str, Stray] = {}
    before = Sightings()
    for host in hosts:
        assert host.look is not None
        open_here = [OpenAttempt(r, r.stages[0], a) for r in runs for a in r.attempts]
        now = uses(host, Policy(), lab.DAEMON, open_here)
        before = sighted(before, now, host.look)
        found = strays(before, now, host.name, host.look)
    assert found.keys() <= {MINE.attempt_id}
    return found.get(MINE.attempt_id)


def after(*there: GpuProcess, runs: tuple[Run, ...] = (RUN,), **more: Any) -> Stray | None:
    """What is reported when two looks show the same, far enough from each other."""
    return told(seen(*there, up=100.0, **more), seen(*there, up=111.0, **more), runs=runs)


def test_computing_in_two_looks_ten_seconds_apart_ends_it() -> None:
    stray = after(process())
    assert stray is not None
    assert (stray.computes, stray.ends, stray.gpu) == (True, True, "GPU-gpu1-0")
    assert stray.where == (
        "on GPU 0 of gpu1, which it was not given (given: GPU 2): it sets CUDA_VISIBLE_DEVICES=0; "
        "remove that"
    )


@pytest.mark.parametrize("ups", [(100.0,), (100.0, 109.9), (100.0, 100.0), (100.0, 90.0)])
def test_looks_that_are_closer_say_nothing(ups: tuple[float, ...]) -> None:
    assert told(*(seen(process(), up=up) for up in ups)) is None


def test_the_daemons_clock_does_not_count() -> None:
    late = seen(process(), up=101.0)
    assert late.look is not None
    assert (
        told(seen(process()), replace(late, look=replace(late.look, asked_at=lab.NOW + 99))) is None
    )


def test_two_moments_far_from_each_other_are_two_beginnings() -> None:
    idle = process(replace(WORKING, load=0))
    apart = told(seen(process()), seen(idle, up=150.0), seen(process(), up=101.0 + WITHIN_S))
    assert apart is not None
    assert not apart.ends
    near = told(seen(process()), seen(idle, up=130.0), seen(process(), up=99.0 + WITHIN_S))
    assert near is not None
    assert near.ends


def test_short_processes_that_follow_one_another_count_as_one() -> None:
    assert told(seen(process()), seen(up=104.0), seen(process(), up=112.0)) is not None


def test_a_boot_begins_anew() -> None:
    assert told(seen(process()), seen(process(), up=111.0, boot_id="boot-2")) is None


def test_memory_that_is_only_held_is_reported_and_ends_nothing() -> None:
    stray = after(process(replace(WORKING, load=0)))
    assert stray is not None
    assert (stray.computes, stray.ends) == (False, False)


@pytest.mark.parametrize(
    ("gpu", "others", "ends"),
    [
        ({"utilization": 50.0}, [], True),
        ({"utilization": 50.0}, [lab.process(11)], False),
        ({"utilization": 50.0}, [lab.process(12, kind="graphics", user="root")], False),
        ({"utilization": 0.0}, [], False),
        ({"utilization": None}, [], False),
    ],
)
def test_the_load_of_the_gpu_is_its_own_only_where_it_is_alone(
    gpu: dict[str, Any], others: list[GpuProcess], ends: bool
) -> None:
    stray = after(process(replace(WORKING, load=None)), *others, gpu=gpu)
    assert stray is not None
    assert stray.ends is ends


def test_a_list_that_was_cut_proves_nobody_alone() -> None:
    unknown = process(replace(WORKING, load=None))
    stray = after(unknown, gpu={"utilization": 50.0}, left_out="2 processes on GPUs are not shown")
    assert stray is not None
    assert not stray.ends


@pytest.mark.parametrize(
    "there",
    [
        [process(replace(WORKING, in_tree=False))],
        [process(command="/usr/bin/nvidia-cuda-mps-server")],
        [process(), lab.process(9, user="root", command="nvidia-cuda-mps-server")],
    ],
)
def test_services_and_mps_are_only_reported(there: list[GpuProcess]) -> None:
    stray = after(*there)
    assert stray is not None
    assert (stray.computes, stray.ends) == (True, False)


@pytest.mark.parametrize(
    "other",
    [
        process(attempt_id=None), process(attempt_id="r-9-train-1"), process(kind="graphics"),
        process(container_id="c" * 64), process(exists=False), process(None),
    ],
)  # fmt: skip
def test_what_is_no_process_of_the_attempt_is_no_stray(other: GpuProcess) -> None:
    assert after(other) is None


def test_containers_are_safe() -> None:
    attempt = replace(MINE, runtime="docker")
    assert after(process(), runs=(replace(RUN, attempts=(attempt,)),)) is None


@pytest.mark.parametrize("phase", [Phase.COLLECTING, Phase.SUCCEEDED])
def test_what_has_ended_is_no_stray(phase: Phase) -> None:
    ended = replace(RUN, attempts=(replace(MINE, phase=phase),))
    assert after(process(), runs=(ended,)) is None


def test_a_gpu_that_the_same_person_holds_is_not_anothers() -> None:
    other = lab.attempt("r-2", gpus=(0,))
    own = lab.run("r-2", attempts=[other])
    assert after(process(), runs=(RUN, own)) is None
    assert after(process(), runs=(RUN, replace(own, owner="bo", uid=1001))) is not None


def test_a_lease_by_hand_or_of_another_daemon_of_the_login_holds_it_too() -> None:
    by_hand = lab.lease("x", "GPU-gpu1-0", attempt_id=None, daemon_id="uid7", owner="?", user="ana")
    assert after(process(), leases=(by_hand,)) is None
    assert after(process(), leases=(replace(by_hand, user="bo", owner="bo"),)) is not None


def test_a_gpu_with_mig_belongs_to_nobody_that_hostler_knows() -> None:
    assert after(process(), gpu={"mig": True}) is None
    part = replace(RUN, attempts=(replace(MINE, gpus=("MIG-1",)),))
    assert after(process(), runs=(part,)) is None


@pytest.mark.parametrize("change", [{"mig": True}, {"problem": "lost"}])
def test_numbers_that_changed_their_meaning_are_nobodys_fault(change: dict[str, Any]) -> None:
    def cards(visible: str) -> list[Gpu]:
        stray = process(replace(WORKING, visible=visible))
        return [
            lab.gpu("gpu1", 0, processes=(stray,)), lab.gpu("gpu1", 1, **change),
            lab.gpu("gpu1", 2),
        ]  # fmt: skip

    given, own = after(cards=cards("2")), after(cards=cards("0"))
    assert given is not None
    assert own is not None
    assert (given.computes, given.ends, own.ends) == (True, False, True)


def test_code_that_chooses_the_gpu_is_told_so() -> None:
    stray = after(process(replace(WORKING, visible="2")))
    assert stray is not None
    assert stray.ends
    assert stray.where.endswith(
        ": its code chooses the GPU itself; use those that CUDA_VISIBLE_DEVICES names"
    )


def test_what_has_no_gpu_is_told_to_request_one() -> None:
    none = replace(RUN, attempts=(replace(MINE, gpus=()),))
    stray = after(process(), runs=(none,))
    assert stray is not None
    assert stray.where == (
        "on GPU 0 of gpu1, which it was not given (given: none): it sets CUDA_VISIBLE_DEVICES=0; "
        "request GPUs for it, and remove that"
    )


def test_a_host_without_a_clock_ends_nothing() -> None:
    def look(host: Host) -> Host:
        assert host.look is not None
        return replace(host, look=replace(host.look, up=None))

    assert told(look(seen(process())), look(seen(process()))) is None


@given(
    there=st.lists(
        st.builds(
            process,
            st.none() | st.builds(
                StrayUse, st.booleans(), st.none() | st.integers(0, 100),
                st.none() | st.sampled_from(["0", "2", "", "0,1"]),
            ),
            attempt_id=st.sampled_from([None, MINE.attempt_id, "r-9-x-1"]),
            container_id=st.none() | st.just("c" * 64),
            kind=st.sampled_from(["compute", "graphics"]),
            command=st.sampled_from(["python x", "nvidia-cuda-mps-server", None]),
            exists=st.booleans(),
        ),
        max_size=3,
    ),
    runtime=st.sampled_from(["process", "docker"]),
    gpus=st.sets(st.integers(0, 3), max_size=3),
    gap=st.floats(0, 200),
    held=st.booleans(),
    utilization=st.none() | st.floats(0, 100),
)  # fmt: skip
def test_only_meant_and_proven_use_of_what_others_may_have_ends_an_attempt(
    there: list[GpuProcess], runtime: str, gpus: set[int], gap: float, held: bool,
    utilization: float | None,
) -> None:  # fmt: skip
    attempt = replace(lab.attempt(gpus=gpus), runtime=runtime)
    runs = [replace(RUN, attempts=(attempt,))]
    if held:
        runs.append(lab.run("r-2", attempts=[lab.attempt("r-2", gpus=(0,))]))
    card = {"utilization": utilization}
    looks = [seen(*there, up=up, gpu=card) for up in (100.0, 100.0 + gap)]
    stray = told(*looks, runs=tuple(runs))
    if stray is None or not stray.ends:
        return
    assert runtime == "process"
    assert 0 not in gpus
    assert not held
    assert APART_S <= gap <= WITHIN_S
    assert all((p.command or "") != "nvidia-cuda-mps-server" for p in there)
    assert any(
        p.stray is not None and p.stray.in_tree and p.stray.load != 0 and p.exists
        and p.attempt_id == MINE.attempt_id and p.container_id is None and p.kind == "compute"
        for p in there
    )  # fmt: skip


def planned(policy: Policy, stray: Stray) -> list[Stop]:
    shown = lab.host(look={"workloads": (lab.workload(MINE),), "up": 100.0})
    snapshot = lab.snapshot(shown, RUN, policy=policy, strays={MINE.attempt_id: stray})
    return [action for action in plan(snapshot).actions if isinstance(action, Stop)]


def test_it_is_stopped_with_a_cause_of_its_own_unless_the_policy_says_otherwise() -> None:
    stray = Stray("GPU-gpu1-0", "on GPU 0 of gpu1", computes=True, ends=True)
    stop = planned(Policy(), stray)[0]
    assert (stop.cause, stop.detail) == (Cause.WRONG_GPU, "computed on GPU 0 of gpu1")
    assert stop.grace == RUN.stages[0].grace
    assert planned(Policy(strays="tell"), stray) == []
    assert planned(Policy(), replace(stray, ends=False)) == []


def test_nothing_is_stopped_by_what_a_silent_host_showed_last() -> None:
    stray = Stray("GPU-gpu1-0", "on GPU 0 of gpu1", computes=True, ends=True)
    shown = lab.host(asked_at=lab.NOW - 60, look={"workloads": (lab.workload(MINE),)})
    snapshot = lab.snapshot(shown, RUN, strays={MINE.attempt_id: stray})
    assert not [action for action in plan(snapshot).actions if isinstance(action, Stop)]


@pytest.mark.parametrize(
    ("later", "is_kept"), [(-0.5, False), (0.0, True), (0.5, True), (WITHIN_S, True)]
)
def test_that_something_computed_is_remembered_for_a_while(later: float, is_kept: bool) -> None:
    host, gone = seen(process(), up=100.0), seen(up=100.0 + later)
    assert host.look is not None
    assert gone.look is not None
    found = uses(host, Policy(), lab.DAEMON, [OpenAttempt(RUN, RUN.stages[0], MINE)])
    before = sighted(Sightings(), found, host.look)
    assert bool(before.spots)
    assert (sighted(before, [], gone.look).spots == before.spots) is is_kept
    over = seen(up=100.5 + WITHIN_S)
    assert over.look is not None
    assert sighted(before, [], over.look).spots == {}
