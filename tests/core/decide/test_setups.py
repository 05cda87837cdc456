"""How the setup of an attempt ended, in words."""

from __future__ import annotations

import pytest

from hostler.decide.setups import setup_ending
from hostler.model.jobs import SetupEnd
from hostler.model.pipelines import RETRYABLE, Cause
from tests.support.values.planning import stage

TAIL = ["hostler: building the environment of setup with /usr/bin/python3", "", "one", "two  ",
        "three\x1b[0m", "four"]  # fmt: skip


@pytest.mark.parametrize(
    ("end", "tail", "cause", "detail"),
    [
        (
            SetupEnd(1), TAIL, Cause.SETUP_FAILED,
            "setup ended with exit code 1; its last lines: two | three\u241b[0m | four",
        ),
        (SetupEnd(1), [], Cause.SETUP_FAILED, "setup ended with exit code 1"),
        (
            SetupEnd(143, 15, late=True), ["here"], Cause.SETUP_TIME_LIMIT,
            "setup took longer than 30m: raise `setup_timeout`; its last lines: here",
        ),
        (SetupEnd(137, 9), [], Cause.SETUP_FAILED, "setup was killed by signal 9"),
        (SetupEnd(error="it is gone"), [], Cause.SETUP_FAILED, "it is gone"),
        (
            SetupEnd(125), [*TAIL, "hostler: no environment for setup: /usr/bin/python3 -m venv "
            "failed"], Cause.SETUP_FAILED,
            "no environment for setup: /usr/bin/python3 -m venv failed; its last lines: "
            "two | three\u241b[0m | four",
        ),
    ],
)  # fmt: skip
def test_the_end_of_a_setup(end: SetupEnd, tail: list[str], cause: Cause, detail: str) -> None:
    found, said = setup_ending(end, stage(setup="x"), tail)
    assert found is cause
    assert "\x1b" not in said
    assert said == detail
    assert found in RETRYABLE
