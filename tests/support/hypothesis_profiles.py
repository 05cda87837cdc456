"""How many examples property tests try: a few on every change, many more at night.

`HYPOTHESIS_PROFILE=nightly` multiplies them by ten; `HYPOTHESIS_PROFILE=50` by fifty.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings


def examples(number: int, **options: Any) -> Callable[[Any], Any]:
    """A decorator for that many examples, times what the profile asks for. No deadline: machines
    differ, and what is tested is not speed."""
    profile = os.environ.get("HYPOTHESIS_PROFILE", "")
    factor = int(profile) if profile.isdigit() else {"nightly": 10}.get(profile, 1)
    return settings(
        max_examples=number * factor,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        **options,
    )
