"""What an open release waits for, in one sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.releases import Replica, Situation
from hostler.decide.releases.case import Case
from hostler.decide.releases.waiting import what_it_waits_for
from hostler.model.releases import (
    Deployment,
    GatewayLook,
    Lock,
    Release,
    ReleaseState,
    Server,
    ServerMode,
    Slot,
    Step,
    StepKind,
    Strategy,
)

STARTED = Step("web", 2, 950.0, StepKind.STATE, ReleaseState.STARTING, seq=1)
UP = Server(ServerMode.READY, is_up=True)
OLD = Replica(Slot(1, 0), "r1.0", "gpu1", 910.0, True, True, True)
NEW = replace(OLD, slot=Slot(2, 0), attempt_id="r2.0", host="gpu2")


def drained(slot: Slot, successor: Slot | None) -> Step:
    return Step("web", 2, 960.0, StepKind.DRAIN, None, slot, successor, seq=2)


def case(*replicas: Replica, steps: tuple[Step, ...] = (STARTED,), **changes: Any) -> Case:
    """Release 2 replaces release 1; both have one replica. All of these replicas get requests."""
    live, opened = (
        Release("web", n, f"r{n}", None, Strategy.SURGE, state, 1, "ana", 1000, 900.0, 1)
        for n, state in ((1, ReleaseState.LIVE), (2, ReleaseState.SHIFTING))
    )
    made = Situation(
        1000.0, Deployment("web", 1000, "ana", 1, 1, Lock(2, "ana", 1000, 940.0)), live, opened,
        steps, replicas, GatewayLook(999.0, {r.attempt_id: UP for r in replicas if r.is_healthy}),
    )  # fmt: skip
    return Case(replace(made, **changes))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (case(OLD), "replica 0 of release 2 waits for a host"),
        (
            case(OLD, replace(NEW, is_healthy=False, is_heard=False)),
            "gpu2, where replica 0 runs, does not answer",
        ),
        (
            case(OLD, replace(NEW, is_healthy=False)),
            "replica 0 of release 2 on gpu2 does not answer yet",
        ),
        (
            case(OLD, NEW, gateway=GatewayLook(999.0, {"r1.0": UP}), unreached={"gpu2": "no way"}),
            "the gateway does not reach replica 0 of release 2 on gpu2: no way",
        ),
        (
            case(OLD, NEW, gateway=GatewayLook(999.0, {"r1.0": UP}), unreached={"gpu1": "no way"}),
            "replica 0 of release 2 on gpu2 does not answer yet",
        ),
        (
            case(OLD, replace(NEW, is_healthy=False), unreached={"gpu2": "no way"}),
            "replica 0 of release 2 on gpu2 does not answer yet",
        ),
        (
            case(OLD, NEW),
            "replica 0 of release 1 on gpu1 serves until enough other replicas do",
        ),
        (
            case(OLD, NEW, steps=(STARTED, drained(Slot(1, 0), None))),
            "replica 0 of release 1 on gpu1 finishes its requests, and is stopped then",
        ),
        (
            case(
                replace(OLD, is_heard=False), NEW, steps=(STARTED, drained(Slot(1, 0), None)),
            ),
            "replica 0 of release 1 on gpu1 cannot be stopped: the host does not answer",
        ),
        (
            case(OLD, steps=(STARTED, drained(Slot(1, 0), Slot(2, 0)))),
            "replica 0 of release 1 on gpu1 finishes its requests, and is stopped then",
        ),
        (case(NEW, steps=(STARTED, drained(Slot(1, 0), None))), "waits for the next look"),
    ],
)  # fmt: skip
def test_what_a_release_waits_for(now: Case, said: str) -> None:
    assert what_it_waits_for(now) == said
