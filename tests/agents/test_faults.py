"""The wait for GPU faults begins again without a gap in which the next fault would be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml
import pytest

from hostler_agent import faults

LOST, TIMEOUT = 15, 10


class Over(BaseException):
    """The script is at its end."""


class Script:
    """Stands for NVML's events and for the clock: each wait is the next entry."""

    def __init__(self, *waits: int) -> None:
        self.waits = list(waits)
        self.now = 100.0
        self.done: list[str] = []

    def create(self) -> object:
        self.done.append("create")
        return object()

    def wait(self, events: object, milliseconds: int) -> Any:
        if not self.waits:
            raise Over
        code = self.waits.pop(0)
        self.now += milliseconds / 1000.0 if code == TIMEOUT else 0.0
        raise pynvml.NVMLError(code)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.done.append("sleep")
        self.now += seconds


def play(script: Script, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done of creating sets and sleeping until the script is over."""

    class Device:
        handle, stuck_since, uuid = "a", None, "GPU-1"

    class Sampler:
        devices = (Device(),)

    def nothing(*_: object) -> None:
        return None

    same: Callable[[Any], Any] = lambda handle: handle  # noqa: E731
    monkeypatch.setattr(faults, "time", script)
    monkeypatch.setattr(faults, "_address", same)
    monkeypatch.setattr(pynvml, "nvmlEventSetCreate", script.create)
    monkeypatch.setattr(pynvml, "nvmlEventSetFree", nothing)
    monkeypatch.setattr(pynvml, "nvmlDeviceRegisterEvents", nothing)
    monkeypatch.setattr(pynvml, "nvmlEventSetWait_v2", script.wait)
    found: Any = faults.Faults(Sampler(), nothing)  # type: ignore[arg-type]
    with pytest.raises(Over):
        found._run()
    return script.done


def test_what_worked_begins_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert play(Script(TIMEOUT, LOST), monkeypatch) == ["create", "create"]


def test_what_fails_from_the_start_is_not_tried_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    done = play(Script(LOST, LOST, TIMEOUT, LOST), monkeypatch)
    assert done == ["create", "sleep", "create", "sleep", "create", "create"]
