"""The effect of a step of a release, as if it had been stored."""

from __future__ import annotations

from dataclasses import replace

from hostler.model.plans import Snapshot
from hostler.model.releases import NewStep, ReleaseState, ServiceState, Step


def with_step(snapshot: Snapshot, step: NewStep) -> Snapshot:
    """The snapshot in which it is stored."""
    services = tuple(
        _stepped(state, step) if state.deployment.name == step.service else state
        for state in snapshot.services
    )
    return replace(snapshot, services=services)


def _stepped(state: ServiceState, step: NewStep) -> ServiceState:
    values = {name: getattr(step, name) for name in NewStep.__slots__}
    seq = max((s.seq for s in state.steps), default=0) + 1
    stepped = replace(state, steps=(*state.steps, Step(**values, seq=seq)))
    if step.state is None:
        return stepped
    is_live = step.state is ReleaseState.LIVE
    releases = tuple(
        replace(r, state=step.state) if r.number == step.number
        else replace(r, state=ReleaseState.RETIRED) if is_live and r.state is ReleaseState.LIVE
        else r
        for r in stepped.releases
    )  # fmt: skip
    deployment = state.deployment
    if is_live:
        wanted = next(r.replicas for r in releases if r.number == step.number)
        deployment = replace(deployment, live=step.number, replicas=wanted)
    if not step.state.is_open:
        deployment = replace(deployment, lock=None)
    steps = stepped.steps if step.state is not ReleaseState.RESTORED else ()
    return replace(stepped, releases=releases, deployment=deployment, steps=steps)
