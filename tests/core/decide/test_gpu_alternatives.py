"""`gpu_model = ["L4:8", "A100:4"]`: several requests of one stage, of which any is enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.plan import plan, preview
from hostler.decide.reasons import unplaceable
from hostler.decide.requests import requests_of, wanted_of
from hostler.model.hosts import Host
from hostler.model.pipelines import Cause, Resources, Stage
from hostler.model.plans import Snapshot, Start
from hostler.model.runs import Phase
from tests.support.values import planning as lab

L4, A100 = "NVIDIA L4", "NVIDIA A100-SXM4-80GB"
MODELS = ("L4:8", "A100:4")


def asks(*models: str, gpus: int = 8, **fields: Any) -> Stage:
    stage = lab.stage("train", **fields)
    return replace(stage, resources=Resources(gpus=gpus, gpu_models=models))


def small(cards: int = 8, **fields: Any) -> Host:
    return lab.host("small", lab.gpus("small", cards, L4, 24), **fields)


def large(cards: int = 4, **fields: Any) -> Host:
    return lab.host("large", lab.gpus("large", cards, A100, 80), **fields)


def started(snapshot: Snapshot) -> tuple[str, int] | None:
    """Host and number of GPUs of the only start."""
    found = lab.of_kind(plan(snapshot).actions, Start)
    return (found[0].attempt.host, len(found[0].attempt.gpus)) if found else None


@pytest.mark.parametrize(
    ("models", "hosts", "expected"),
    [
        (MODELS, (small(), large()), ("small", 8)),
        (MODELS[::-1], (small(), large()), ("large", 4)),
        (MODELS, (small(7), large()), ("large", 4)),
        (MODELS, (large(8),), ("large", 4)),
        (MODELS, (small(7), large(3)), None),
        (("L4", "A100:2"), (small(7), large()), ("large", 2)),
        (("A100:1", "L4:1"), (small(), large()), ("large", 1)),
        (("L4:8", "A100*:3", "L4:2"), (small(4), large(2)), ("small", 2)),
    ],
)
def test_the_first_that_is_free_is_taken(
    models: tuple[str, ...], hosts: tuple[Host, ...], expected: tuple[str, int] | None
) -> None:
    assert started(lab.snapshot(*hosts, lab.run("r-1", asks(*models)))) == expected


def test_names_with_one_count_are_one_request() -> None:
    stage = asks("A100", "L4:8", "H100", "H200:2", gpus=4)
    requests = requests_of(lab.run("r-1", stage), stage)
    assert [(each.gpus, each.gpu_models) for each in requests] == [
        (4, ("A100", "H100")), (8, ("L4",)), (2, ("H200",)),
    ]  # fmt: skip
    assert wanted_of(requests[1:]) == "8 GPUs (L4) or 2 GPUs (H200)"


def test_a_stage_that_waits_says_what_would_do_and_keeps_a_place() -> None:
    busy = lab.attempt("r-0", "train", host="large", gpus=range(4))
    host = large(look={"workloads": (lab.workload(busy),)})
    first = lab.run("r-0", lab.stage(gpus=4), attempts=[busy])
    decided = plan(lab.snapshot(small(4), host, first, lab.run("r-1", asks(*MODELS))))
    said = decided.reasons["r-1", "train"].sentence
    assert said.startswith("waits for 8 GPUs (L4) or 4 GPUs (A100); nearest large: ")


def test_what_no_host_has_in_any_form_is_told_at_once() -> None:
    run = lab.run("r-1", asks(*MODELS))
    assert unplaceable(lab.snapshot(small(7), large()), run) is None
    assert unplaceable(lab.snapshot(small(), large(3)), run) is None
    said = unplaceable(lab.snapshot(small(7), large(3)), run)
    assert said is not None
    assert said.startswith("no host can take train as requested: ")
    (line,) = preview(lab.snapshot(small(), large()), run)
    assert (line.host, len(line.gpus), line.hosts) == ("small", 8, ("small", "large"))


def test_a_retry_goes_to_its_checkpoint_with_the_gpus_of_that_host() -> None:
    stage = asks(*MODELS, checkpoint="ckpt")
    stage = replace(stage, retries=replace(stage.retries, max=1, backoff=0.0))
    ended = lab.attempt(
        "r-1", "train", host="large", gpus=(), phase=Phase.FAILED, cause=Cause.USER_ERROR
    )
    run = lab.run("r-1", stage, attempts=[ended])
    assert started(lab.snapshot(small(), large(), run)) == ("large", 4)
    assert started(lab.snapshot(small(), large(3), run)) == ("small", 8)
