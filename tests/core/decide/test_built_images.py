"""Where a stage goes whose image its run has built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.plan import plan
from hostler.model.hosts import Host, HostFacts
from hostler.model.plans import Plan, Start
from hostler.model.runs import Phase, Run
from tests.support.values.planning import NOW, attempt, host, of_kind, run, snapshot, stage

IMAGE = f"sha256:{'a' * 64}"


def built(on: str = "gpu1", gpus: int = 1, **keys: Any) -> Run:
    """A run whose build has succeeded there; its other stage needs the image."""
    image = stage("image", kind="build", command=(), runtime="docker")
    user = stage(
        "train", gpus=gpus, runtime="docker", image="image", needs=("image",), built_by="image",
        **keys,
    )  # fmt: skip
    done = attempt(
        stage="image", phase=Phase.SUCCEEDED, host=on, gpus=(), image_digest=IMAGE, launched_at=None
    )
    return run("r-1", image, user, attempts=[done])


def of_machine(name: str, machine: str | None, cards: int = 4) -> Host:
    """A host of that kind."""
    return host(name, cards, facts=HostFacts(docker_gpu="nvidia", machine=machine))


def silent(found: Host) -> Host:
    """The same, not heard for a while."""
    assert found.look is not None
    return replace(found, look=replace(found.look, asked_at=NOW - 600))


def started(made: Plan) -> tuple[str, str] | None:
    """Where it starts, and why there."""
    starts = of_kind(made.actions, Start)
    return (starts[0].attempt.host, starts[0].why) if starts else None


def said(made: Plan) -> dict[str, str]:
    """What is in the way on each host."""
    return {each.host: each.sentence for each in made.reasons["r-1", "train"].hosts}


def test_it_starts_where_its_image_is_though_another_host_would_fit_tighter() -> None:
    made = plan(snapshot(of_machine("gpu1", None, 8), of_machine("gpu2", None, 1), built()))
    assert started(made) == ("gpu1", "its image was built on gpu1")


def test_elsewhere_it_gets_a_copy() -> None:
    found = snapshot(of_machine("gpu1", "x86_64", 1), of_machine("gpu2", "x86_64"), built(gpus=2))
    placed = started(plan(found))
    assert placed is not None
    assert placed[0] == "gpu2"
    assert placed[1].endswith("; its image is copied from gpu1")


@pytest.mark.parametrize("kept", [frozenset[str](), frozenset({IMAGE})])
def test_of_a_silent_host_it_gets_what_the_daemon_keeps(kept: frozenset[str]) -> None:
    hosts = silent(of_machine("gpu1", "x86_64")), of_machine("gpu2", "x86_64")
    made = plan(snapshot(*hosts, built(), images=kept))
    if kept:
        assert started(made) is not None
        return
    assert started(made) is None
    assert said(made)["gpu2"] == (
        "only gpu1 has the image that this run built, and it cannot be copied now"
    )


def test_it_goes_to_no_machine_of_another_kind() -> None:
    hosts = of_machine("gpu1", "x86_64", 1), of_machine("gpu2", "aarch64")
    made = plan(snapshot(*hosts, built(gpus=2)))
    assert started(made) is None
    assert said(made)["gpu2"] == (
        "the image that this run built is for x86_64, and this is a machine for aarch64"
    )
    unknown = plan(snapshot(hosts[0], of_machine("gpu2", None), built(gpus=2)))
    assert started(unknown) is not None
