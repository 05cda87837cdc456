"""`last` is the newest run of whoever asks: others of a shared daemon submit runs, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons.served import Served, served
from tests.support.machines.callers import ask, open_to_all
from tests.support.values import stored
from tests.support.values.kept import put

MEMBER, OTHER = 65534, 2
"""nobody and bin."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")


@pytest.fixture
def daemon(open_path: Path) -> Iterator[Served]:
    with served(open_path / "s", allow=("nobody", "bin")) as running:
        open_to_all(running.socket_path)
        store = running.service.context.store
        own = stored.run("raaaaaa", owner="nobody", uid=MEMBER)
        put(running, store.create_run(own, "", []))
        yield running


def last(daemon: Served, uid: int) -> tuple[int, str]:
    status, answer = ask(daemon.socket_path, uid=uid, call="GET /v1/runs/last")
    return status, str(answer.get("run_id") or answer["error"])


def test_last_is_the_newest_run_of_the_caller(daemon: Served) -> None:
    status, said = last(daemon, OTHER)
    assert status == 404
    assert "you have no runs yet" in said
    assert last(daemon, 0) == (200, "raaaaaa"), "the owner sees to all of them"
    later = stored.run("rbbbbbb", owner="bin", uid=OTHER, submitted_at=150.0)
    put(daemon, daemon.service.context.store.create_run(later, "", []))
    assert last(daemon, MEMBER) == (200, "raaaaaa")
    assert last(daemon, OTHER) == (200, "rbbbbbb")
    assert last(daemon, 0) == (200, "rbbbbbb")
