"""What the whole plan does with replicas that the gateway may send requests to."""

from __future__ import annotations

from dataclasses import replace

from hostler.decide.plan import plan
from hostler.model.hosts import Health
from hostler.model.pipelines import Cause
from hostler.model.plans import Release as GiveBack
from hostler.model.plans import Stop, TakeStep
from hostler.model.releases import (
    Deployment,
    GatewayLook,
    Lock,
    NewStep,
    Release,
    ReleaseState,
    Server,
    ServerMode,
    ServiceState,
    StepKind,
    Strategy,
)
from hostler.model.runs import Attempt, Phase
from hostler.model.services import HealthCheck, Service
from tests.support.values import planning as lab

STAGE = lab.stage("serve.0", base="serve", service=Service(HealthCheck("/")))
SERVES = lab.attempt("r1", "serve.0", gpus=(), ready_at=5.0, port=8001, launched_at=4.0)
LOOK = GatewayLook(1e9, {SERVES.attempt_id: Server(ServerMode.READY, is_up=True)})


def _stops(attempt: Attempt, look: GatewayLook | None, *, is_direct: bool = False) -> list[str]:
    """Attempts that are stopped while release 1, which takes over, is cancelled."""
    run = lab.run("r1", STAGE, attempts=(attempt,), cancelled_by="ana")
    release = Release(
        "web", 1, "r1", None, Strategy.SURGE, ReleaseState.SHIFTING, 1, "ana", 1000, 1.0
    )
    state = ServiceState(
        Deployment("web", 1000, "ana", 0, lock=Lock(1, "ana", 1000, 1.0)), (release,),
        gateway=look, is_direct=is_direct,
    )  # fmt: skip
    health = {attempt.attempt_id: Health(attempt.attempt_id, ok=True, since=1.0)}
    host = lab.host(look={"workloads": (lab.workload(attempt),), "health": health})
    found = plan(replace(lab.snapshot(host, run), services=(state,))).actions
    return [type(action).__name__ for action in found if isinstance(action, Stop)]


def test_a_cancelled_release_leaves_the_gateway_before_it_is_stopped() -> None:
    assert _stops(SERVES, None, is_direct=True) == ["Stop"]
    assert _stops(SERVES, LOOK) == []
    assert _stops(SERVES, None) == []


def test_a_replica_that_counted_as_lost_is_stopped_once_the_gateway_let_go_of_it() -> None:
    lost = replace(SERVES, phase=Phase.LOST)
    assert _stops(lost, LOOK) == []
    assert _stops(lost, None) == []
    assert _stops(lost, replace(LOOK, servers={})) == ["Stop"]


def test_a_replica_that_crashed_keeps_its_gpu_while_a_step_of_a_release_is_written_down() -> None:
    service = Service(HealthCheck("/"))
    stage = lab.stage("serve.0", kind="service", base="serve", gpus=1, service=service)
    crashed = lab.attempt(
        "r1", "serve.0", phase=Phase.FAILED, cause=Cause.USER_ERROR, ready_at=5.0, launched_at=4.0,
        finished_at=lab.NOW - 30,
    )  # fmt: skip
    runs = lab.run("r1", stage, attempts=(crashed,)), lab.run("r2", stage)
    live, opened = (
        Release("web", n, f"r{n}", None, Strategy.RECREATE, state, 1, "ana", 1000, 1.0)
        for n, state in ((1, ReleaseState.LIVE), (2, ReleaseState.STARTING))
    )
    deployment = Deployment("web", 1000, "ana", 1, live=1, lock=Lock(2, "ana", 1000, 1.0))
    state = ServiceState(deployment, (live, opened), gateway=GatewayLook(1e9, {}))
    lease = lab.lease(crashed, crashed.gpus[0])
    host = lab.host(look={"leases": (lease,)})
    now = replace(lab.snapshot(host, *runs), services=(state,))
    step = TakeStep(NewStep("web", 2, 1.0, StepKind.STATE, ReleaseState.FAILED))
    for snapshot in (now, replace(now, in_flight=frozenset({step.key}))):
        assert not [action for action in plan(snapshot).actions if isinstance(action, GiveBack)]
