"""On which hosts the image of a release counts as being there."""

from __future__ import annotations

from dataclasses import replace

from hostler.decide.index import Index
from hostler.decide.releases.seen import Seen
from hostler.model.releases import Deployment, Release, ReleaseState, ServiceState, Strategy
from hostler.model.runs import Run
from hostler.model.services import HealthCheck, Service
from tests.support.values import planning as lab

LIVE, OPEN = "web:1", f"sha256:{'a' * 64}"


def _run(run_id: str, image: str | None, *, ready: bool = False) -> Run:
    runtime = "docker" if image is not None else "process"
    stage = lab.stage(
        "serve.0", base="serve", image=image, runtime=runtime, service=Service(HealthCheck("/"))
    )
    at = 5.0 if ready else None
    tries = (lab.attempt(run_id, "serve.0", gpus=(), ready_at=at, launched_at=4.0),)
    return lab.run(run_id, stage, attempts=tries if ready else ())


def _verified(image: str | None, **known: object) -> frozenset[str]:
    """Of release 2, beside release 1 with the image `web:1` on gpu1."""
    state = ServiceState(
        Deployment("web", 1000, "ana", 1, live=1),
        tuple(
            Release("web", n, f"r{n}", None, Strategy.RECREATE, state, 1, "ana", 1000, 1.0)
            for n, state in ((1, ReleaseState.LIVE), (2, ReleaseState.DELIVERING))
        ),
    )
    runs = _run("r1", LIVE, ready=True), _run("r2", image)
    snapshot = lab.snapshot(lab.host("gpu1"), lab.host("gpu2"), *runs)
    index = Index(replace(snapshot, services=(state,), **known))  # type: ignore[arg-type]
    return Seen(state, index).situation().verified[2]


def test_an_image_is_where_it_answers_already_or_where_a_host_said_so() -> None:
    assert _verified(LIVE) == {"gpu1"}
    assert _verified("web:2") == frozenset()
    assert _verified("web:2", near={("r2", "serve.0"): frozenset({"gpu2"})}) == {"gpu2"}


def test_what_the_daemon_keeps_is_brought_and_a_process_needs_none() -> None:
    assert _verified(OPEN) == frozenset()
    assert _verified(OPEN, images=frozenset({OPEN})) == {"gpu1", "gpu2"}
    assert _verified(None) == {"gpu1", "gpu2"}
