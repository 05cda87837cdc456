"""Which containers a restart of Docker ended."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from hostler_agent.engine import raises_limits, started_at, was_restarted
from hostler_agent.http import Connection
from hostler_agent.processes import Proc
from tests.support.daemons.fake_docker import fake_docker

ENDED = {"running": False, "started_at": 100.0, "finished_at": 1003.0, "exit_code": 137}


@pytest.mark.parametrize(
    ("fields", "restarted"),
    [
        ({}, True),
        ({"exit_code": 143, "finished_at": 990.0}, True),
        ({"exit_code": None, "finished_at": None}, True),
        ({"exit_code": 1}, False),
        ({"exit_code": 0}, False),
        ({"finished_at": 900.0}, False),
        ({"finished_at": 1100.0}, False),
        ({"started_at": 1001.0}, False),
        ({"oom_killed": True}, False),
        ({"running": True}, False),
    ],
)
def test_what_was_killed_around_the_start_of_the_engine(
    fields: dict[str, Any], restarted: bool
) -> None:
    workload: Any = {**ENDED, **fields}
    assert was_restarted(workload, 1000.0) is restarted
    assert not was_restarted(workload, None)


def test_the_engine_is_the_process_that_listens_or_the_one_in_the_pid_file(
    short_folder: Path, tmp_path: Path
) -> None:
    mine = pytest.approx(Proc().started_at(Proc().start_ticks(os.getpid())), abs=1.1)
    with fake_docker(short_folder / "d.sock") as engine:
        connection = Connection(str(engine.path), 5.0)
        peer = connection.peer()
        connection.close()
    assert started_at(peer, Proc()) == mine
    systemd = struct.pack("3i", 1, 0, 0)
    file = tmp_path / "docker.pid"
    assert started_at(systemd, Proc(), str(file)) is None
    file.write_text(f"{os.getpid()}\n")
    assert started_at(systemd, Proc(), str(file)) == mine
    assert started_at(b"", Proc(), str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("rights", "users", "may"),
    [
        ("000001ffffffffff", "0 0 4294967295", True),
        ("000001fffeffffff", "0 0 4294967295", False),
        ("000001ffffffffff", "0 1000 1\n1 100000 65536", False),  # root of its own users alone
    ],
)
def test_an_engine_raises_limits_where_it_has_the_right_to(
    tmp_path: Path, rights: str, users: str, may: bool
) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "status").write_text(f"Name:\tdockerd\nCapEff:\t{rights}\n")
    (tmp_path / "77" / "uid_map").write_text(f"         {users}\n")
    peer = struct.pack("3i", 77, 0, 0)
    assert raises_limits(peer, proc=str(tmp_path)) is may
    assert raises_limits(struct.pack("3i", 78, 0, 0), proc=str(tmp_path)) is None
    (tmp_path / "pid").write_text("77")
    by_systemd = struct.pack("3i", 1, 0, 0)
    assert raises_limits(by_systemd, str(tmp_path / "pid"), str(tmp_path)) is may
