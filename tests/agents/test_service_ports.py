"""The port that a process of a service is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hostler_agent import journal, service_ports
from hostler_agent.folders import Folders
from hostler_agent.journal import Job

BOOT = "boot-1"


def _job(folders: Folders, name: str, run: str = "r1", stage: str = "serve.0") -> Job:
    folder = folders.job(name)
    os.makedirs(folder)
    event = {
        "event": "created", "attempt_id": name, "daemon_id": "d", "run_id": run, "stage": stage,
        "boot_id": BOOT, "service": {"health": {}},
    }  # fmt: skip
    journal.append(folder, event)
    return _loaded(folder)


def _loaded(folder: str) -> Job:
    job = journal.load(folder)
    assert job is not None
    return job


def _folders(tmp_path: Path) -> Folders:
    folders = Folders(str(tmp_path / "base"))
    folders.make()
    return folders


def test_a_stage_gets_its_port_again_and_no_other_stage_gets_it(tmp_path: Path) -> None:
    folders = _folders(tmp_path)
    first = _job(folders, "r1-serve.0-1")
    port = service_ports.give(folders, first, BOOT)
    assert service_ports.FIRST <= port < service_ports.FIRST + service_ports.COUNT
    assert _loaded(first.folder).port == port
    same_name = _job(folders, "r1-serve.0-2")
    assert service_ports.give(folders, same_name, BOOT) != port  # the first has not ended
    journal.append(first.folder, {"event": "ended", "exit_code": 1})
    third = _job(folders, "r1-serve.0-3")
    assert service_ports.give(folders, third, BOOT) == port


def test_a_port_on_which_somebody_listens_is_left_out(tmp_path: Path) -> None:
    folders = _folders(tmp_path)
    port = service_ports.give(folders, _job(folders, "r1-serve.0-1"), BOOT)
    journal.append(folders.job("r1-serve.0-1"), {"event": "ended", "exit_code": 1})
    with socket.create_server(("127.0.0.1", port)):
        assert service_ports.give(folders, _job(folders, "r1-serve.0-2"), BOOT) != port


def test_a_job_cannot_have_the_agent_ask_another_port_by_its_journal(tmp_path: Path) -> None:
    folders = _folders(tmp_path)
    job = _job(folders, "r1-serve.0-1")
    for wrong in (0, 70000, "22", None, True):
        journal.append(job.folder, {"event": "port", "port": wrong})
        assert _loaded(job.folder).port is None
