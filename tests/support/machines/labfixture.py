"""Fixtures on the multi-host lab. A conftest.py imports what it wants to offer:

    from tests.support.machines.labfixture import clean_lab, lab  # noqa: F401

All of a session's tests share one lab of three hosts. HOSTLER_LAB=require makes the lack of root,
Linux or packages a failure instead of a skip; HOSTLER_LAB=off skips whatever the machine.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterator

import pytest

from tests.lab import preflight
from tests.lab.lab import Lab, sweep

_shared: list[Lab] = []  # several conftest files each make the fixture their own


def need_lab() -> None:
    """Skip the test, or fail it if HOSTLER_LAB=require, where the lab cannot run."""
    reason = preflight.problem()
    if reason is None:
        return
    if os.environ.get("HOSTLER_LAB") == "require":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def own_name(letter: str = "") -> str:
    """A lab name that no other test session uses."""
    number, digits = os.getpid(), ""
    while number:
        number, last = divmod(number, 36)
        digits = (string.digits + string.ascii_lowercase)[last] + digits
    return f"hlab{letter}{digits}"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three hosts, gpu1 to gpu3, four GPUs each. Tests that break something use `clean_lab`."""
    need_lab()
    if not _shared:
        sweep()
        _shared.append(Lab.up(3, name=own_name(), owned=True))
    yield _shared[0]
    _shared[0].down()


@pytest.fixture
def clean_lab(lab: Lab) -> Lab:
    """The same lab, put back to its first state before the test."""
    lab.reset()
    return lab
