"""How property tests run: no test fails for the speed of the machine that it runs on.

A few examples on every change, many more at night: `HYPOTHESIS_PROFILE=nightly` multiplies them by
ten; `HYPOTHESIS_PROFILE=50` by fifty.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

EXAMPLES = 50
"""Of a property test that names no number."""


def decide_nothing_by_speed() -> None:
    """For every property test, also those that name no number of examples (EXAMPLES then): neither
    a deadline nor a health check of speed counts, since machines differ and are busy."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    settings.register_profile(
        "hostler", max_examples=_times(EXAMPLES), deadline=None, suppress_health_check=slow
    )
    settings.load_profile("hostler")


def examples(number: int, **options: Any) -> Callable[[Any], Any]:
    """A decorator for that many examples, times what HYPOTHESIS_PROFILE asks for."""
    return settings(max_examples=_times(number), **options)


def _times(number: int) -> int:
    profile = os.environ.get("HYPOTHESIS_PROFILE", "")
    return number * (int(profile) if profile.isdigit() else {"nightly": 10}.get(profile, 1))
