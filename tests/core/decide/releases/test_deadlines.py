"""When a release acts by time alone, and how many replicas have to answer meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostler.decide.releases import Situation, decide
from hostler.decide.releases.case import Case
from hostler.model.releases import (
    Deployment,
    Lock,
    ReleaseState,
    Server,
    Slot,
    Step,
    StepKind,
    Strategy,
)
from tests.support.values.releases import (
    DRAIN,
    NOW,
    STARTED,
    UP,
    drain,
    ends,
    look,
    release,
    replica,
    situation,
)

UNANSWERED = {"has_answered": False, "is_healthy": False}


def test_a_surge_needs_no_image_before_it_begins() -> None:
    step = decide(situation(ReleaseState.DELIVERING, verified={})).step
    assert step is not None
    assert step.state is ReleaseState.STARTING


@pytest.mark.parametrize(
    ("waits", "steps", "due"),
    [
        ({}, (STARTED,), None),  # it waits for a free GPU
        ({Slot(2, 0): 980.0}, (STARTED,), 1020.0),
        ({}, (STARTED, drain(Slot(1, 0), Slot(2, 0), 970.0)), 1010.0),
        ({Slot(2, 0): 980.0}, (STARTED, drain(Slot(1, 0), Slot(2, 0), 970.0)), 1020.0),
    ],
)
def test_a_replica_has_its_time_from_its_launch_or_from_when_its_place_was_free(
    waits: dict[Slot, float], steps: tuple[Step, ...], due: float | None
) -> None:
    now = situation(
        ReleaseState.STARTING, steps=steps, waits=waits, startups={2: 40.0}, replicas=(),
        gateway=look(),
    )  # fmt: skip
    assert Case(now).due_at(Slot(2, 0)) == due
    assert decide(now).wake_at == due
    freed = replace(now, ended={Slot(1, 0): 990.0})
    expected = 1030.0 if len(steps) > 1 else due
    assert Case(freed).due_at(Slot(2, 0)) == expected
    before = replace(now, replicas=(replica(1),))
    assert Case(before).due_at(Slot(2, 0)) == (None if len(steps) > 1 else due)


def test_what_answers_or_is_not_heard_has_no_deadline() -> None:
    now = situation(ReleaseState.STARTING, waits={Slot(2, 0): 980.0}, startups={2: 40.0})
    for new, due in (
        (replica(2), None),
        (replica(2, is_heard=False, **UNANSWERED), None),
        (replica(2, **UNANSWERED), 1020.0),
    ):
        assert Case(replace(now, replicas=(replica(1), new))).due_at(Slot(2, 0)) == due


def test_what_could_not_be_started_in_its_time_fails_at_that_moment() -> None:
    steps = (STARTED, drain(Slot(1, 0), Slot(2, 0), 960.0))
    now = situation(
        ReleaseState.STARTING, Strategy.RECREATE, steps=steps, startups={2: 40.0}, replicas=(),
        gateway=look(),
    )  # fmt: skip
    step = decide(now).step
    assert step is not None
    assert step.reason == "replica 0 could not be started within 40s"
    assert decide(replace(now, now=999.9)).step is None
    placed = replace(now, waits={Slot(2, 0): 960.0}, replicas=(replica(2, **UNANSWERED),))
    step = decide(placed).step
    assert step is not None
    assert step.reason == "replica 0 on gpu1 did not answer for 40s"


@pytest.mark.parametrize(
    ("drained_at", "seen_at", "wake_at"), [(995.0, 990.0, 1025.0), (990.0, 995.0, 1025.0)]
)
def test_the_time_of_a_drain_begins_once_the_gateway_shows_it(
    drained_at: float, seen_at: float, wake_at: float
) -> None:
    now = situation(
        ReleaseState.SHIFTING, replicas=(replica(1), replica(2)),
        steps=(STARTED, drain(Slot(1, 0), None, drained_at)), draining={"r1.0": seen_at},
        gateway=look(r1_0=Server(DRAIN, True, 2), r2_0=UP),
    )  # fmt: skip
    assert decide(now).wake_at == wake_at
    over = decide(replace(now, now=wake_at)).effects
    assert over is not None
    assert over.servers is not None
    assert "r1.0" not in over.servers
    still = decide(replace(now, now=wake_at - 0.1)).effects
    assert still is not None
    assert still.servers is None


def test_a_recreate_of_three_drains_one_at_a_time() -> None:
    opened = release(2, ReleaseState.STARTING, strategy=Strategy.RECREATE, replicas=3, surge=0)
    three = tuple(replica(1, index) for index in range(3))
    now = situation(
        ReleaseState.STARTING, opened=opened, replicas=three,
        deployment=Deployment("digits", 1000, "ana", 3, 1, Lock(2, "ana", 1000, 940.0)),
        gateway=look(r1_0=UP, r1_1=UP, r1_2=UP),
    )  # fmt: skip
    step = decide(now).step
    assert step is not None
    assert (step.slot, step.successor) == (Slot(1, 0), Slot(2, 0))
    opened = replace(opened, state=ReleaseState.SHIFTING)
    begun = replace(now, opened=opened, steps=(STARTED, drain(Slot(1, 0), Slot(2, 0))))
    gone = replace(begun, replicas=three[1:], gateway=look(r1_1=UP, r1_2=UP))
    assert decide(gone).step is None
    back = replace(gone, replicas=(*three[1:], replica(2)), gateway=look(r1_1=UP, r1_2=UP, r2_0=UP))
    step = decide(back).step
    assert step is not None
    assert (step.slot, step.successor) == (Slot(1, 1), Slot(2, 1))


def _why(now: Situation) -> list[str]:
    made = decide(now)
    assert made.effects is not None
    return [end.why for end in made.effects.ends]


def test_people_read_why_a_replica_is_stopped() -> None:
    steps = (STARTED, drain(Slot(1, 0), None))
    both = (replica(1), replica(2))
    now = situation(
        ReleaseState.SHIFTING, steps=steps, replicas=both, gateway=look(r2_0=UP), is_routing=True
    )
    assert ends(decide(now)) == ["r1.0"]
    assert _why(now) == ["release 2 takes over"]
    failed = situation(
        ReleaseState.FAILED, steps=(STARTED, replace(drain(Slot(2, 0), None), reason="x")),
        replicas=both, gateway=look(r1_0=UP), is_routing=True,
    )  # fmt: skip
    assert _why(failed) == ["release 2 failed"]
    fewer = situation(
        ReleaseState.LIVE, opened=None, replicas=(replica(1), replica(1, 1)),
        steps=(replace(drain(Slot(1, 1), None), number=1),), gateway=look(r1_0=UP),
    )  # fmt: skip
    assert _why(fewer) == ["1 replicas are wanted"]


def test_a_surplus_replica_ends_before_a_release_begins() -> None:
    now = situation(
        ReleaseState.DELIVERING, replicas=(replica(1), replica(1, 1)),
        steps=(drain(Slot(1, 1), None),), gateway=look(r1_0=UP, r1_1=Server(DRAIN, True, 1)),
        draining={"r1.1": NOW},
    )  # fmt: skip
    made = decide(now)
    assert made.step is None
    assert made.reason.startswith("replica 1 of release 1 on gpu1 finishes its requests")
    away = (replica(1), replica(1, 1, is_silent=True, is_heard=False))
    step = decide(replace(now, replicas=away)).step
    assert step is not None
    assert (step.kind, step.state) == (StepKind.STATE, ReleaseState.STARTING)
