from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.causes import trouble_of
from hostler.model.hosts import HostCondition
from hostler.model.runs import Phase
from tests.support.values import planning as lab

RUNS = lab.attempt()
CUT_OFF = {"workloads": (lab.workload(RUNS, gpu_cut_off=True),)}


@pytest.mark.parametrize(
    ("host", "part"),
    [
        ({}, None),
        ({"condition": HostCondition.CONNECTING}, None),
        ({"condition": HostCondition.UNREACHABLE}, "gpu1 cannot be seen"),
        ({"condition": HostCondition.REFUSED}, "it is unknown whether the stage still runs there"),
        ({"look": CUT_OFF}, "hostler doctor gpu1"),
        ({"look": {"workloads": (lab.workload(RUNS),)}}, None),
        ({"look": {"workloads": (lab.workload("r-9-train-1", gpu_cut_off=True),)}}, None),
        ({"look": {"workloads": (lab.workload(RUNS, running=False, gpu_cut_off=True),)}}, None),
    ],
)
def test_what_is_told_of_a_stage_that_runs(host: dict[str, Any], part: str | None) -> None:
    told = trouble_of(RUNS, lab.host(**host))
    assert told is None if part is None else part in (told or "")


def test_of_a_host_that_is_gone_from_the_config_nothing_is_known() -> None:
    assert "no longer in the config" in str(trouble_of(RUNS, None))


def test_silence_of_docker_is_told_of_containers_alone() -> None:
    silent = lab.host(look={"docker_problem": "Docker does not answer"})
    told = trouble_of(lab.attempt(runtime="docker"), silent)
    assert told is not None
    assert told.startswith("Docker does not answer on gpu1: it is unknown")
    assert trouble_of(lab.attempt(runtime="process"), silent) is None


@pytest.mark.parametrize(
    "phase", [phase for phase in Phase if phase.is_final or phase is Phase.STARTING]
)
def test_nothing_is_told_of_what_does_not_run(phase: Phase) -> None:
    unseen = lab.host(condition=HostCondition.UNREACHABLE, look=CUT_OFF)
    assert trouble_of(lab.attempt(phase=phase), unseen) is None


def test_of_what_is_collected_it_is_told_that_its_host_is_silent() -> None:
    collected = lab.attempt(phase=Phase.COLLECTING)
    assert trouble_of(collected, lab.host(look=CUT_OFF)) is None
    told = trouble_of(collected, lab.host(condition=HostCondition.UNREACHABLE))
    assert told == "gpu1 cannot be seen: its files are copied once it answers"
    assert "no longer in the config" in str(trouble_of(collected, None))


def test_a_start_that_does_not_go_on_is_told_with_its_reason() -> None:
    starts = lab.attempt(phase=Phase.STARTING)
    told = trouble_of(starts, lab.host(), "sshd opened no session. Raise MaxSessions")
    assert told == "the start is blocked: sshd opened no session. Raise MaxSessions"
    assert trouble_of(starts, None, "no longer in the config") is not None
    cut = replace(lab.host(condition=HostCondition.UNREACHABLE), problem="no answer for 9 s")
    assert trouble_of(starts, cut, "sshd opened no session. Raise MaxSessions") == (
        "gpu1 cannot be seen (no answer for 9 s): the start continues once it answers"
    )
    assert trouble_of(starts, lab.host()) is None
    assert trouble_of(RUNS, lab.host(), "an old reason") is None


def test_a_rank_that_is_bound_says_that_it_waits_for_its_group() -> None:
    bound = lab.attempt(phase=Phase.STARTING, ref="c0ffee")
    assert trouble_of(bound, lab.host()) == "it is ready, and starts with the rest of its group"
    assert trouble_of(bound, lab.host(), "no disk") == "the start is blocked: no disk"
    assert trouble_of(lab.attempt(phase=Phase.STARTING), lab.host()) is None
