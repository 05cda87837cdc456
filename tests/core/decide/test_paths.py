"""What a host has to have on its disk before a stage is placed there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.plan import plan
from hostler.decide.reasons import unplaceable
from hostler.model.environments import Environment
from hostler.model.hosts import Host, HostMount
from hostler.model.plans import RemedyKind, Start
from hostler.model.runs import Run
from tests.support.values import planning as lab

DATA = HostMount("data", "/data", problem="")
PYTHON = "/home/ana/envs/x/bin/python"


def started(run: Run, *hosts: Host) -> str | None:
    """The host on which it would start."""
    decided = plan(lab.snapshot(*hosts, run))
    return next((a.attempt.host for a in decided.actions if isinstance(a, Start)), None)


def waits(run: Run, *hosts: Host) -> Any:
    """Why it waits."""
    return plan(lab.snapshot(*hosts, run)).reasons[(run.run_id, "train")]


def host(name: str, mount: HostMount, **fields: Any) -> Host:
    return lab.host(name, mounts=(mount,), **fields)


@pytest.mark.parametrize("runtime", ["process", "docker"])
def test_a_stage_goes_where_its_mount_is(runtime: str) -> None:
    run = lab.run("r", lab.stage(gpus=1, mounts=("data",), runtime=runtime))
    without = host("gpu1", replace(DATA, problem="does not exist"))
    assert started(run, without, host("gpu2", DATA)) == "gpu2"
    assert started(run, without) is None
    reason = waits(run, without)
    assert "the mount data (/data) does not exist there" in reason.hosts[0].sentence
    assert [r.kind for r in reason.hosts[0].remedies] == [RemedyKind.FIX_HOST]
    assert "does not exist there" in (unplaceable(lab.snapshot(without), run) or "")


def test_a_mount_at_another_path_has_to_be_there_too() -> None:
    run = lab.run("r", lab.stage(gpus=1, mount_targets={"/x": "data"}, runtime="docker", image="i"))
    without = host("gpu1", replace(DATA, problem="does not exist"))
    assert started(run, without, host("gpu2", DATA)) == "gpu2"
    assert "the mount data (/data) does not" in waits(run, without).hosts[0].sentence


def test_what_was_not_asked_yet_is_waited_for() -> None:
    run = lab.run("r", lab.stage(gpus=1, mounts=("data",)))
    unknown = host("gpu1", replace(DATA, problem=None))
    assert started(run, unknown) is None
    (reason,) = waits(run, unknown).hosts
    assert "was not checked yet for the mount data" in reason.sentence
    assert [r.kind for r in reason.remedies] == [RemedyKind.WAIT_FOR_LOOK]
    assert unplaceable(lab.snapshot(unknown), run) is None


def test_a_mount_of_every_stage_counts_for_all_others_only_where_named() -> None:
    run = lab.run("r", lab.stage(gpus=1))
    missing = replace(DATA, problem="does not exist")
    assert started(run, host("gpu1", missing)) == "gpu1"
    assert started(run, host("gpu1", replace(missing, default=True))) is None


def test_a_mount_that_left_the_config_is_told() -> None:
    run = lab.run("r", lab.stage(gpus=1, mounts=("data",)))
    assert started(run, lab.host("gpu1")) is None
    assert "the mount data left the config" in waits(run, lab.host("gpu1")).hosts[0].sentence


def test_a_stage_starts_where_its_environment_is() -> None:
    run = lab.run("r", lab.stage(gpus=1, conda="a", modules=("cuda/12.4",)))
    named = str(Environment("a", ("cuda/12.4",)))
    there = lab.host("gpu2", environments={named: ""})
    missing = lab.host("gpu1", environments={named: "has no module cuda/12.4"})
    assert started(run, missing, there) == "gpu2"
    assert started(run, missing) is None
    assert "has no module cuda/12.4" in waits(run, missing).hosts[0].sentence
    assert started(run, lab.host("gpu3", environments={str(Environment("a")): ""})) is None


def test_a_program_of_the_submitter_is_where_its_stage_runs() -> None:
    run = lab.run("r", lab.stage(gpus=1, program=PYTHON))
    seen = lab.host("gpu2", programs={PYTHON: True})
    unseen = lab.host("gpu1", programs={PYTHON: False})
    assert started(run, unseen, seen) == "gpu2"
    assert started(run, lab.host("here", transport="local")) == "here"
    assert PYTHON in waits(run, unseen).hosts[0].sentence
    assert started(run, lab.host("gpu3")) is None
    assert "not checked yet" in waits(run, lab.host("gpu3")).hosts[0].sentence
