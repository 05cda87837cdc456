"""A container whose process is gone has ended, whatever Docker says; nothing else has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from hostler_agent import removed_containers as phantoms
from hostler_agent.processes import Proc
from hostler_agent.removed_containers import RemovedContainers
from tests.support.machines.users import BOB, NEEDS_ROOT, run_as


def inspect(pid: object, status: str = "running") -> dict[str, Any]:
    return {"State": {"Status": status, "Pid": pid}}


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as started:
        yield started
        started.kill()


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.mark.programs
def test_what_was_seen_alive_and_is_gone_has_ended(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = RemovedContainers(Proc())
    assert not found.is_one("c", inspect(process.pid))
    assert not found.doubts("c")
    end(process)
    assert found.doubts("c"), "what Docker said before has to be asked anew"
    assert not found.is_one("c", inspect(process.pid)), "Docker may still tell of it itself"
    monkeypatch.setattr(phantoms, "SURE_AFTER", 0.0)
    assert found.is_one("c", inspect(process.pid))
    assert not found.is_one("c", inspect(0, "exited"))


@pytest.mark.programs
def test_another_process_of_the_container_is_alive(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phantoms, "SURE_AFTER", 0.0)
    found = RemovedContainers(Proc())
    found.is_one("c", inspect(process.pid))
    end(process)
    assert not found.is_one("c", inspect(os.getpid())), "it was started again"
    assert not found.is_one("c", inspect(os.getpid()))


@pytest.mark.parametrize("pid", [2**22 + 1, 0, -1, None, "7"])
def test_what_was_never_seen_is_not_judged(pid: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantoms, "SURE_AFTER", 0.0)
    found = RemovedContainers(Proc())
    assert not any(found.is_one("c", inspect(pid)) for _ in range(3))
    assert not found.doubts("c")


@pytest.mark.programs
def test_what_cannot_be_read_is_not_gone(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phantoms, "SURE_AFTER", 0.0)
    proc = Proc()
    found = RemovedContainers(proc)
    found.is_one("c", inspect(process.pid))
    monkeypatch.setattr(proc, "start_ticks", lambda _: None)
    assert not any(found.is_one("c", inspect(process.pid)) for _ in range(3))


@pytest.mark.programs
def test_what_is_removed_is_forgotten(process: subprocess.Popen[bytes]) -> None:
    found = RemovedContainers(Proc())
    found.is_one("c", inspect(process.pid))
    end(process)
    found.keep(["another"])
    assert not found.doubts("c")


@pytest.mark.programs
@NEEDS_ROOT
def test_what_proc_begins_to_hide_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a remount with hidepid: another user's process lives on."""
    monkeypatch.setattr(phantoms, "SURE_AFTER", 0.0)

    def work() -> str:
        proc = Proc()
        found = RemovedContainers(proc)
        found.is_one("c", inspect(1))
        proc.root = "/nowhere"
        return str(any(found.is_one("c", inspect(1)) for _ in range(3)))

    assert run_as(BOB, work) == "False"
