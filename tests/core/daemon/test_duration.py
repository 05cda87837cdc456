"""How long an attempt took: by its host's clock, unless that was set back meanwhile."""

from __future__ import annotations

import pytest

from hostler.daemon.verdicts import duration_of
from hostler.model.hosts import Workload
from hostler.model.runs import Attempt, Phase


@pytest.mark.parametrize(
    ("host_began", "host_ended", "seen_at", "now", "duration"),
    [
        (1000.0, 1007.0, 500.0, 509.0, 7.0),
        (1000.0, 1000.0, 500.0, 509.0, 0.0),
        (1000.0, 400.0, 500.0, 509.0, 9.0),
        (1000.0, 400.0, None, 509.0, 0.0),
        (None, 1007.0, 500.0, 509.0, None),
        (1000.0, None, 500.0, 509.0, None),
    ],
)
def test_a_clock_that_was_set_back_gives_no_time_below_nothing(
    host_began: float | None,
    host_ended: float | None,
    seen_at: float | None,
    now: float,
    duration: float | None,
) -> None:
    attempt = Attempt(
        "r1-a-1", "r1", "a", 1, Phase.RUNNING, "gpu1", (), 0.0, "docker", started_at=seen_at
    )
    workload = Workload(
        "r1-a-1", "d", "docker", "c", running=False, started_at=host_began, finished_at=host_ended
    )
    assert duration_of(attempt, workload, now) == duration
