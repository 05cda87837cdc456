"""Who else was on the GPUs of an attempt that failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.holders import contested_by
from hostler.decide.index import open_attempts
from hostler.model.hosts import ForeignContainer, Host
from hostler.model.plans import Policy
from tests.support.values import planning as lab

MINE = lab.attempt(gpus=(0, 1), placed_at=lab.NOW)
OPEN = open_attempts([lab.run("r-1", attempts=[MINE])])
BOB = "bob's python (77, 10 GiB)"


def contest(host: Host, attempt: Any = MINE) -> str:
    return contested_by(attempt, host, Policy(), lab.DAEMON, OPEN, lab.NOW)


def on(index: int, **fields: Any) -> Host:
    """A host on one GPU of which something is."""
    cards = list(lab.gpus("gpu1", 3))
    cards[index] = replace(cards[index], **fields)
    return lab.host("gpu1", cards)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (lab.host(), ""),
        (on(1, processes=(lab.process(),)), f"its GPU was contested (GPU 1: {BOB})"),
        (on(2, processes=(lab.process(),)), ""),
        (on(1, processes=(lab.process(attempt_id=MINE.attempt_id),)), ""),
        (on(1, problem="lost"), ""),
        (replace(lab.host(), look=None), ""),
        (
            lab.host(look={"foreign_containers": (ForeignContainer("c", "box", "i", MINE.gpus),)}),
            "its GPU was contested (GPU 0: container box (not Hostler's); "
            "GPU 1: container box (not Hostler's))",
        ),
        (
            lab.host(look={"workloads": (lab.workload("r-2-x-1", gpus=MINE.gpus[:1]),)}),
            "its GPU was contested (GPU 0: our r-2-x-1, being stopped)",
        ),
        (lab.host(look={"workloads": (lab.workload(MINE),)}), ""),
    ],
)
def test_others_on_its_gpus_are_named(host: Host, said: str) -> None:
    assert contest(host) == said


def test_what_has_no_gpus_is_contested_by_nobody() -> None:
    host = on(0, processes=(lab.process(),))
    assert contest(host, lab.attempt(gpus=())) == ""
