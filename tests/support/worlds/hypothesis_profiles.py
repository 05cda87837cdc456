"""How property tests run: no test fails for the speed of the machine that it runs on.

A few examples on every change, many more at night: `HYPOTHESIS_PROFILE=nightly` multiplies them by
ten; `HYPOTHESIS_PROFILE=50` by fifty.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings


def decide_nothing_by_speed() -> None:
    """For every property test, also those that name no number of examples: neither a deadline nor
    a health check of speed counts, since machines differ and are busy."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    settings.register_profile("hostler", deadline=None, suppress_health_check=slow)
    settings.load_profile("hostler")


def examples(number: int, **options: Any) -> Callable[[Any], Any]:
    """A decorator for that many examples, times what HYPOTHESIS_PROFILE asks for."""
    profile = os.environ.get("HYPOTHESIS_PROFILE", "")
    factor = int(profile) if profile.isdigit() else {"nightly": 10}.get(profile, 1)
    return settings(max_examples=number * factor, **options)
