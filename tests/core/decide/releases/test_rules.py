"""The rules of releases, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostler.decide.releases import decide
from hostler.decide.releases.case import Case
from hostler.decide.releases.rules import RULES
from hostler.model.releases import (
    Deployment,
    GatewayLook,
    Lock,
    ReleaseState,
    Server,
    ServerMode,
    Slot,
    Step,
    StepKind,
    Strategy,
)
from tests.support.values.releases import (
    CHECKED,
    DRAIN,
    READY,
    STARTED,
    UP,
    drain,
    ends,
    look,
    release,
    replica,
    servers,
    situation,
)


def test_nothing_starts_before_the_image_is_there() -> None:
    made = decide(situation(ReleaseState.DELIVERING, not_delivered="gpu1 loads the image"))
    assert made.step is None
    assert made.reason == "gpu1 loads the image"
    assert made.effects is not None
    assert made.effects.slots == {Slot(1, 0)}


def test_a_recreate_needs_its_image_verified_where_it_takes_over() -> None:
    where = {2: frozenset({"gpu2"})}
    now = situation(ReleaseState.DELIVERING, Strategy.RECREATE, verified=where)
    made = decide(now)
    assert made.step is None
    assert made.reason == "gpu1 may not have its image"
    # It does not wait for ever, and holds the deploy lock no longer than a start may take.
    late = replace(now, startups={2: 100.0})
    assert made.wake_at == 1500.0
    assert decide(replace(now, startups={2: 100.5})).step is None
    step = decide(late).step
    assert step is not None
    assert (step.state, "pull it there" in step.reason) == (ReleaseState.FAILED, True)
    unheard = replace(late, replicas=(replica(1, is_heard=False),))
    assert decide(unheard).step is None


def test_a_release_that_was_not_begun_is_given_up_although_the_gateway_is_silent() -> None:
    now = situation(ReleaseState.DELIVERING, gateway=None)
    assert decide(now).step is None
    stopped = replace(now, trouble="ana stopped it")
    step = decide(stopped).step
    assert step is not None
    assert step.state is ReleaseState.FAILED
    failed = situation(ReleaseState.FAILED, gateway=None, steps=(), trouble="ana stopped it")
    step = decide(failed).step
    assert step is not None
    assert step.state is ReleaseState.RESTORED
    assert decide(replace(failed, steps=(STARTED,))).step is None
    assert decide(situation(ReleaseState.STARTING, gateway=None, trouble="no")).step is None


def test_a_step_allows_nothing_before_it_is_stored() -> None:
    made = decide(situation(ReleaseState.DELIVERING))
    assert made.step is not None
    assert made.step.state is ReleaseState.STARTING
    assert made.effects is None


def test_a_surge_starts_beside_what_serves() -> None:
    made = decide(situation(ReleaseState.STARTING))
    assert made.effects is not None
    assert made.effects.slots == {Slot(1, 0), Slot(2, 0)}
    assert made.reason == "replica 0 of release 2 waits for a host"


def test_a_replica_that_has_not_answered_is_not_at_the_gateway() -> None:
    new = replica(2, has_answered=False, is_healthy=False)
    now = situation(ReleaseState.SHIFTING, replicas=(replica(1), new))
    assert servers(decide(now)) is None  # it has the old one, and nothing is to be changed


def test_it_is_checked_by_the_gateway_before_it_gets_requests() -> None:
    both = (replica(1), replica(2))
    now = situation(ReleaseState.STARTING, replicas=both)
    assert servers(decide(now)) == {"r1.0": READY, "r2.0": DRAIN}
    now = replace(now, gateway=look(r1_0=UP, r2_0=Server(DRAIN, False)))
    assert servers(decide(now)) is None
    found = decide(replace(now, gateway=look(r1_0=UP, r2_0=CHECKED))).step
    assert found is not None
    assert found.state is ReleaseState.READY
    for fails in ({"is_healthy": False}, {"has_answered": False}):
        new = (replica(1), replica(2, **fails))
        assert decide(replace(now, replicas=new, gateway=look(r1_0=UP, r2_0=CHECKED))).step is None
    shifting = situation(ReleaseState.SHIFTING, replicas=both, gateway=look(r1_0=UP, r2_0=CHECKED))
    assert servers(decide(shifting)) == {"r1.0": READY, "r2.0": READY}


def test_the_old_one_is_drained_once_the_new_one_serves() -> None:
    both, gateway = (replica(1), replica(2)), look(r1_0=UP, r2_0=UP)
    made = decide(situation(ReleaseState.SHIFTING, replicas=both, gateway=gateway))
    assert made.step is not None
    assert (made.step.kind, made.step.slot) == (StepKind.DRAIN, Slot(1, 0))


@pytest.mark.parametrize(
    ("server", "asked_at", "draining", "wanted", "stops"),
    [
        (UP, 999.0, None, DRAIN, False),
        (Server(DRAIN, True, 2), 999.0, 995.0, DRAIN, False),
        (Server(DRAIN, True, 0), 990.0, 995.0, DRAIN, False),
        (Server(DRAIN, True, 0), 999.0, 995.0, None, False),
        (Server(DRAIN, True, 2), 999.0, 960.0, None, False),
        (Server(ServerMode.MAINT, False, 2), 999.0, None, None, True),
        (None, 999.0, None, None, True),
        (None, 990.0, None, None, False),
    ],
)
def test_an_old_one_is_stopped_only_after_a_look_that_shows_it_out(
    server: Server | None,
    asked_at: float,
    draining: float | None,
    wanted: ServerMode | None,
    stops: bool,
) -> None:
    steps = (STARTED, drain(Slot(1, 0), None, 995.0 if draining != 960.0 else 960.0))
    there = {"r2.0": UP} | ({"r1.0": server} if server is not None else {})
    now = situation(
        ReleaseState.SHIFTING, steps=steps, replicas=(replica(1), replica(2)),
        gateway=GatewayLook(asked_at, there),
        draining={} if draining is None else {"r1.0": draining},
    )  # fmt: skip
    made = decide(now)
    assert (ends(made) == ["r1.0"]) is stops
    assert (servers(made) or {}).get("r1.0") == (None if servers(made) is None else wanted)


def test_the_last_one_that_answers_serves_on_when_the_new_one_dies() -> None:
    steps = (STARTED, drain(Slot(1, 0), None))
    gateway = look(r1_0=CHECKED, r2_0=Server(READY, False))
    now = situation(
        ReleaseState.SHIFTING, steps=steps, gateway=gateway,
        replicas=(replica(1), replica(2, is_healthy=False)),
    )  # fmt: skip
    made = decide(now)
    assert made.step is not None
    assert (made.step.kind, made.step.slot) == (StepKind.KEEP, Slot(1, 0))
    assert not any(True for _ in Case(now).overdue((Slot(1, 0),)))


def test_a_recreate_takes_over_in_the_same_slot_with_its_gpu() -> None:
    now = situation(ReleaseState.STARTING, Strategy.RECREATE)
    made = decide(now)
    assert made.step is not None
    assert (made.step.slot, made.step.successor) == (Slot(1, 0), Slot(2, 0))
    steps = (STARTED, drain(Slot(1, 0), Slot(2, 0)))
    waits = decide(replace(now, steps=steps))
    assert waits.effects is not None
    assert waits.effects.slots == frozenset()  # the old one has to end first
    assert ends(decide(replace(now, steps=steps, gateway=look()))) == ["r1.0"]
    ended = decide(replace(now, steps=steps, gateway=look(), replicas=()))
    assert ended.effects is not None
    assert ended.effects.slots == {Slot(2, 0)}
    assert ended.effects.chains == {Slot(2, 0): (Slot(1, 0),)}


def test_a_recreate_never_stops_the_last_one_where_the_image_is_not_verified() -> None:
    steps = (STARTED, drain(Slot(1, 0), Slot(2, 0)))
    now = situation(ReleaseState.STARTING, Strategy.RECREATE, steps=steps, gateway=look())
    assert ends(decide(replace(now, verified={}))) == []
    assert decide(replace(now, steps=(STARTED,), verified={})).step is None


def test_a_recreate_that_does_not_answer_is_undone_in_the_same_slot() -> None:
    steps = (STARTED, drain(Slot(1, 0), Slot(2, 0)))
    new = replace(replica(2, has_answered=False, is_healthy=False), said="HTTP status 503")
    now = situation(
        ReleaseState.STARTING, Strategy.RECREATE, steps=steps, gateway=look(), replicas=(new,),
        waits={Slot(2, 0): 900.0}, startups={2: 40.0},
    )  # fmt: skip
    failed = decide(now).step
    assert failed is not None
    assert failed.state is ReleaseState.FAILED
    assert failed.reason == "replica 0 on gpu1 did not answer for 40s: HTTP status 503"
    opened = replace(now.opened, state=ReleaseState.FAILED)  # type: ignore[type-var]
    back = decide(replace(now, opened=opened)).step
    assert back is not None
    assert (back.slot, back.successor) == (Slot(2, 0), Slot(1, 0))
    values = {name: getattr(failed, name) for name in type(failed).__slots__}
    more = (*steps, Step(**values, seq=3), drain(Slot(2, 0), Slot(1, 0), 999.0, 4))
    undone = decide(replace(now, opened=opened, steps=more, replicas=()))
    assert undone.effects is not None
    assert undone.effects.slots == {Slot(1, 0)}
    assert undone.effects.chains == {Slot(1, 0): (Slot(2, 0), Slot(1, 0))}
    over = decide(
        replace(now, opened=opened, steps=more, replicas=(replica(1),), gateway=look(r1_0=UP))
    )
    assert over.step is not None
    assert over.step.state is ReleaseState.RESTORED
    assert over.step.reason == f"release 1 serves again; {failed.reason}"


def test_a_failed_release_is_stopped_though_nothing_else_answers_yet() -> None:
    """It gets no requests, and the release before waits for its GPUs."""
    opened = release(2, ReleaseState.FAILED, strategy=Strategy.RECREATE, replicas=2, surge=0)
    steps = (
        STARTED, drain(Slot(1, 0), Slot(2, 0)), drain(Slot(2, 0), Slot(1, 0), 970.0, 3),
        drain(Slot(2, 1), None, 970.0, 4),
    )  # fmt: skip
    now = situation(
        ReleaseState.FAILED, opened=opened, steps=steps, gateway=look(),
        replicas=(replica(2), replica(2, 1)),
    )  # fmt: skip
    assert ends(decide(now)) == ["r2.0", "r2.1"]


def test_a_silent_gateway_pauses_the_release_and_stops_nothing() -> None:
    steps = (STARTED, drain(Slot(1, 0), None))
    now = situation(
        ReleaseState.SHIFTING, steps=steps, replicas=(replica(1), replica(2)), gateway=None,
        trouble="ana stopped it", was_unheard=True,
    )  # fmt: skip
    made = decide(now)
    assert made.step is None
    assert (
        made.reason == "the gateway does not answer: the release waits, and no replica is stopped"
    )
    first = decide(replace(now, was_unheard=False))
    assert first.reason.startswith("waits for the gateway to answer")
    assert (first.step, first.effects) == (made.step, made.effects)
    assert (ends(made), servers(made)) == ([], None)


def test_no_step_is_decided_by_a_look_from_before_the_last_change() -> None:
    both, gateway = (replica(1), replica(2)), look(r1_0=UP, r2_0=UP)
    now = situation(ReleaseState.SHIFTING, replicas=both, gateway=gateway, is_routing=True)
    assert decide(now).step is None


def test_a_service_without_a_gateway_is_replaced_directly() -> None:
    now = situation(ReleaseState.STARTING, Strategy.RECREATE, gateway=None, is_direct=True)
    made = decide(now)
    assert made.step is not None
    assert made.step.successor == Slot(2, 0)
    steps = (STARTED, drain(Slot(1, 0), Slot(2, 0)))
    assert ends(decide(replace(now, steps=steps))) == ["r1.0"]
    ready = decide(replace(now, steps=steps, replicas=(replica(2),)))
    assert ready.step is not None
    assert ready.step.state is ReleaseState.READY
    shifting = release(2, ReleaseState.SHIFTING, strategy=Strategy.RECREATE, surge=0)
    live = decide(replace(now, steps=steps, replicas=(replica(2),), opened=shifting))
    assert live.step is not None
    assert live.step.state is ReleaseState.LIVE


def test_an_old_replica_on_a_silent_host_does_not_hold_up_a_release() -> None:
    away = replica(1, is_heard=False, is_silent=True)
    now = situation(
        ReleaseState.SHIFTING, steps=(STARTED, drain(Slot(1, 0), None)),
        replicas=(away, replica(2)), gateway=look(r2_0=UP),
    )  # fmt: skip
    made = decide(now)
    assert made.step is not None
    assert made.step.state is ReleaseState.LIVE
    # After a start of the daemon it is not known yet whether the host answers.
    again = replace(now, replicas=(replica(1, is_heard=False), replica(2)))
    assert decide(again).step is None


def test_the_first_release_is_undone_as_a_whole() -> None:
    opened = release(1, ReleaseState.FAILED)
    now = situation(
        ReleaseState.FAILED, opened=opened, live=None, gateway=look(r1_0=CHECKED),
        deployment=Deployment("digits", 1000, "ana", 0, None, Lock(1, "ana", 1000, 940.0)),
        steps=(replace(STARTED, number=1),),
    )  # fmt: skip
    made = decide(now)
    assert made.step is not None
    assert (made.step.kind, made.step.slot) == (StepKind.DRAIN, Slot(1, 0))


def test_fewer_replicas_are_drained_from_the_last_one_on() -> None:
    two = (replica(1), replica(1, 1))
    now = situation(
        ReleaseState.LIVE, opened=None, steps=(), replicas=two, gateway=look(r1_0=UP, r1_1=UP)
    )
    made = decide(now)
    assert made.step is not None
    assert (made.step.number, made.step.slot) == (1, Slot(1, 1))
    # Where the other one does not answer, it stays.
    alone = replace(now, gateway=look(r1_0=Server(READY, False), r1_1=UP))
    assert decide(alone).step is None
    # A service that is stopped needs no others.
    stopped = replace(alone, deployment=replace(now.deployment, replicas=0))
    assert decide(stopped).step is not None


def test_a_slot_that_was_drained_and_is_wanted_again_is_drained_anew_later() -> None:
    drained = replace(drain(Slot(1, 1), None), number=1)
    now = situation(
        ReleaseState.LIVE, opened=None, steps=(drained,), replicas=(replica(1),),
        deployment=Deployment("digits", 1000, "ana", 2, 1),
    )  # fmt: skip
    made = decide(now)
    assert made.step is not None
    assert (made.step.kind, made.step.slot) == (StepKind.KEEP, Slot(1, 1))


def test_a_surge_never_takes_more_away_than_it_has_added() -> None:
    """Three replicas, one more at a time: the second is drained once the next new one serves."""
    opened = release(2, ReleaseState.SHIFTING, replicas=3)
    three = tuple(replica(1, index) for index in range(3))
    now = situation(
        ReleaseState.SHIFTING, opened=opened, replicas=(*three, replica(2)),
        deployment=Deployment("digits", 1000, "ana", 3, 1, Lock(2, "ana", 1000, 940.0)),
        gateway=look(r1_0=UP, r1_1=UP, r1_2=UP, r2_0=UP),
    )  # fmt: skip
    made = decide(now)
    assert made.step is not None
    assert (made.step.slot, made.step.successor) == (Slot(1, 0), Slot(2, 1))
    one = replace(now, steps=(STARTED, drain(Slot(1, 0), Slot(2, 1))))
    assert decide(one).step is None


def test_times_of_an_earlier_daemon_count_from_the_start_of_this_one() -> None:
    """Its clock may have been ahead."""
    steps = (STARTED, drain(Slot(1, 0), None, 5000.0))
    now = situation(
        ReleaseState.SHIFTING, steps=steps, replicas=(replica(1), replica(2)),
        gateway=look(r2_0=UP), begun_at=990.0, earlier=2,
    )  # fmt: skip
    assert ends(decide(now)) == ["r1.0"]
    assert ends(decide(replace(now, earlier=0))) == []


def test_every_rule_says_why() -> None:
    assert len({rule.why for rule in RULES}) == len(RULES)
