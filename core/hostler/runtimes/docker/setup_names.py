"""Names of the images that `setup` beside `image` makes, and when an image is unused (neither this
month nor last). Pure.

An image that is used gets a name with the current month, so `hostler gc` finds unused images by
their names.
"""

from __future__ import annotations

import re
import time

from hostler.runtimes.docker.images.archive import names_of_built

_MONTH = re.compile(r"(?:base-)?(\d{6}):[0-9a-f]{64}")


def names_of_setup(daemon_id: str, key: str, now: float) -> tuple[str, str]:
    """The names of this month and of the previous month."""
    start, this = _start(daemon_id), _months(now)
    return f"{start}{_text(this)}:{key}", f"{start}{_text(this - 1)}:{key}"


def name_of_base(daemon_id: str, key: str, now: float) -> str:
    """The temporary name of a base image during a build, because a build needs a name."""
    return f"{_start(daemon_id)}base-{_text(_months(now))}:{key}"


def is_unused(name: str, daemon_id: str, now: float) -> bool:
    """Whether this is the name of such an image from before the previous month."""
    start = _start(daemon_id)
    found = _MONTH.fullmatch(name.removeprefix(start)) if name.startswith(start) else None
    return found is not None and found[1] < _text(_months(now) - 1)


def _start(daemon_id: str) -> str:
    return f"{names_of_built(daemon_id)}setup/"


def _months(now: float) -> int:
    at = time.gmtime(now)
    return at.tm_year * 12 + at.tm_mon - 1


def _text(months: int) -> str:
    return f"{months // 12:04}{months % 12 + 1:02}"
