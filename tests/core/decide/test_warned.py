"""When a stage is warned of its time limit, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.plan import plan
from hostler.decide.warned import warning_sentence
from hostler.model.hosts import HostCondition
from hostler.model.pipelines import Stage
from hostler.model.plans import Plan, SendWarning, Stop
from hostler.model.runs import Attempt
from hostler.model.time_limits import Reached, Warn, Warned, WarnTo
from tests.support.values import planning as lab

WARN = Warn("USR1", 20.0)
RUNNING = lab.attempt()
"""It runs for a minute."""


def stage(limit: float | None = 70.0, warn: Warn | None = WARN) -> Stage:
    return lab.stage(gpus=1, timeout=limit, warn=warn)


def planned(only: Stage, attempt: Attempt = RUNNING, **more: Any) -> Plan:
    run = {key: more.pop(key) for key in ("cancelled_by",) if key in more}
    host = lab.host(look={"workloads": [lab.workload(attempt)]}, **more)
    return plan(lab.snapshot(host, lab.run("r-1", only, attempts=[attempt], **run)))


def test_it_is_warned_so_long_before_its_limit() -> None:
    (action,) = planned(stage()).actions
    assert action == SendWarning(RUNNING, lab.workload(RUNNING), WARN)


def test_before_that_the_plan_wakes_for_it() -> None:
    decided = planned(stage(100.0))
    assert decided.actions == ()
    assert decided.wake_at == lab.NOW + 20


def test_while_nobody_knows_what_came_of_it_it_is_asked_again() -> None:
    asked = replace(RUNNING, warned_at=lab.NOW - 1)
    assert lab.of_kind(planned(stage(), asked).actions, SendWarning)


@pytest.mark.parametrize(
    ("attempt", "more"),
    [
        (replace(RUNNING, warned_at=lab.NOW - 1, warning="USR1 sent"), {}),
        (RUNNING, {"condition": HostCondition.UNREACHABLE}),
    ],
    ids=["warned", "silent"],
)
def test_it_is_warned_once_and_only_where_it_is_seen_to_run(
    attempt: Attempt, more: dict[str, Any]
) -> None:
    decided = planned(stage(), attempt, **more)
    assert decided.actions == ()
    assert decided.wake_at == lab.NOW + 10  # its limit


@pytest.mark.parametrize("limit", [None, 60.0])
def test_without_a_limit_and_at_the_limit_nobody_is_warned(limit: float | None) -> None:
    kinds = [type(action) for action in planned(stage(limit)).actions]
    assert kinds == ([Stop] if limit else [])


def test_what_is_being_stopped_is_not_warned() -> None:
    (action,) = planned(stage(), cancelled_by="eve").actions
    assert isinstance(action, Stop)


PYTHON, TEE, SH = Reached(12, "python3"), Reached(13, "tee"), Reached(11, "sh")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Warned(sent=(PYTHON,), deaf=(SH, TEE)),
         "USR1 sent to python3 (process 12), 20s before the time limit"),
        (Warned(sent=(PYTHON, TEE)),
         "USR1 sent to python3 (process 12) and tee (process 13), 20s before the time limit"),
        (Warned(sent=(PYTHON,) * 9),
         "USR1 sent to python3 (process 12), python3 (process 12), python3 (process 12) and 6 more,"
         " 20s before the time limit"),
        (Warned(sent=(PYTHON,), denied=(TEE,)),
         "USR1 sent to python3 (process 12), 20s before the time limit; the login may not signal "
         "tee (process 13)"),
        (Warned(denied=(TEE,)),
         "USR1 was not sent: the login may not signal tee (process 13)"),
        (Warned(deaf=(PYTHON,)),
         'USR1 was not sent: python3 (process 12) does not catch it (to = "children" asks '
         "its child processes)"),
        (Warned(sent=(Reached(7, "a\n\x1b[2J" + "x" * 99),)),
         f"USR1 sent to a ␛[2J{'x' * 25}… (process 7), 20s before the time limit"),
        (Warned(problem="it does not run"), "USR1 was not sent: it does not run"),
        (Warned(), "USR1 was not sent: its process has just ended"),
    ],
)  # fmt: skip
def test_what_came_of_it_in_a_sentence(answer: Warned, said: str) -> None:
    assert warning_sentence(WARN, answer) == said


def test_below_the_command_it_is_said_of_what_it_started() -> None:
    below = replace(WARN, to=WarnTo.CHILDREN)
    assert warning_sentence(below, Warned()).endswith("the command started no process")
    said = warning_sentence(below, Warned(deaf=(PYTHON, TEE)))
    assert said.endswith("python3 (process 12) and tee (process 13) do not catch it")


def test_what_a_host_says_is_cut_at_two_hundred_letters() -> None:
    for length in (199, 200, 201, 5000):
        said = warning_sentence(WARN, Warned(problem="x" * length)).partition(": ")[2]
        assert len(said) == min(length, 200)
