"""A service whose release 2 is to take over from release 1, for tests of the rules."""

from __future__ import annotations

from dataclasses import replace

from hostler.decide.releases import Decision, Replica, Situation
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

NOW = 1000.0
READY, DRAIN = ServerMode.READY, ServerMode.DRAIN


def release(number: int, state: ReleaseState, **changes: object) -> Release:
    """One of two; it began 100 seconds ago."""
    made = Release(
        "digits", number, f"r{number}", None, Strategy.SURGE, state, 1, "ana", 1000, 900.0, 1
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def replica(number: int, index: int = 0, **changes: object) -> Replica:
    """Of a release, on gpu1, healthy and heard."""
    made = Replica(Slot(number, index), f"r{number}.{index}", "gpu1", 910.0, True, True, True)
    return replace(made, **changes)  # type: ignore[arg-type]


def look(**servers: Server) -> GatewayLook:
    """What the gateway said a second ago: `r1_0` is the attempt `r1.0`."""
    return GatewayLook(999.0, {name.replace("_", "."): s for name, s in servers.items()})


UP = Server(READY, True)
CHECKED = Server(DRAIN, True)
OLD = release(1, ReleaseState.LIVE)
STARTED = Step("digits", 2, 950.0, StepKind.STATE, ReleaseState.STARTING, seq=1)


def situation(
    state: ReleaseState, strategy: Strategy = Strategy.SURGE, **changes: object
) -> Situation:
    """Release 2 is to take over from release 1, whose one replica serves."""
    opened = release(2, state, strategy=strategy, surge=int(strategy is Strategy.SURGE))
    started = state is not ReleaseState.DELIVERING
    made = Situation(
        NOW, Deployment("digits", 1000, "ana", 1, 1, Lock(2, "ana", 1000, 940.0)), OLD, opened,
        (STARTED,) if started else (), (replica(1),), look(r1_0=UP), draining={"r1.0": 960.0},
        verified={1: frozenset({"gpu1"}), 2: frozenset({"gpu1"})},
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def drain(slot: Slot, successor: Slot | None, at: float = 960.0, seq: int = 2) -> Step:
    """The step that drains a slot, and what comes in its place."""
    return Step("digits", 2, at, StepKind.DRAIN, None, slot, successor, seq=seq)


def servers(made: Decision) -> dict[str, ServerMode] | None:
    """What the gateway is to do; None: nothing is asked of it."""
    assert made.effects is not None
    return None if made.effects.servers is None else dict(made.effects.servers)


def ends(made: Decision) -> list[str]:
    """Attempts that are to be stopped."""
    assert made.effects is not None
    return [end.replica.attempt_id for end in made.effects.ends]
