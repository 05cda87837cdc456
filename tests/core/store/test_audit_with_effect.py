"""What a person changes, and the entry that says who it was, are stored together or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hostler.model.calls import AuditEntry
from hostler.model.records import Acknowledged, Drain, Keep
from hostler.model.runs import Outcome
from hostler.store.database import Store
from tests.support.values.stored import event, run

pytestmark = pytest.mark.programs

ASKED = AuditEntry(at=200.0, uid=1000, user="ana", call="x")
ACTIONS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "submit": lambda s: s.create_run(run("rcccccc"), "", [event()], None, ASKED),
    "cancel": lambda s: s.request_cancel("raaaaaa", "ana", event(), ASKED),
    "priority": lambda s: s.lower_priority("raaaaaa", -3, event(), ASKED),
    "remove": lambda s: s.delete_run("rbbbbbb", event(actor="ana"), asked=ASKED),
    "drain": lambda s: s.set_drain(Drain("gpu1", "why", "ana", 1.0), event(), ASKED),
    "undrain": lambda s: s.clear_drain("gpu2", event(), ASKED),
    "acknowledge": lambda s: s.acknowledge(Acknowledged(2, "ana", 1.0), event(), ASKED),
    "unacknowledge": lambda s: s.unacknowledge(1, event(), ASKED),
    "keep": lambda s: s.keep_run(Keep("rbbbbbb", "ana", 1.0), event(), ASKED),
    "unkeep": lambda s: s.unkeep_run("raaaaaa", event(), ASKED),
}

_CHILD = """
import asyncio, sys
from pathlib import Path
from tests.core.store.test_audit_with_effect import act
asyncio.run(act(Path(sys.argv[1]), sys.argv[2]))
"""


async def prepare(folder: Path) -> None:
    store = await Store.open(folder)
    for run_id in ("raaaaaa", "rbbbbbb"):
        await store.create_run(run(run_id), "", [event()])
    await store.end_run("rbbbbbb", Outcome.SUCCEEDED, 150.0)
    await store.set_drain(Drain("gpu2", "why", "ana", 1.0))
    await store.acknowledge(Acknowledged(1, "ana", 1.0))
    await store.keep_run(Keep("raaaaaa", "ana", 1.0))
    await store.close()


async def act(folder: Path, name: str) -> None:
    store = await Store.open(folder)
    await ACTIONS[name](store)
    await store.close()


def content(folder: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(folder / "hostler.db")) as connection:
        return list(connection.iterdump())


def entries(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(folder / "hostler.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])


@pytest.mark.parametrize("name", ACTIONS)
def test_a_kill_between_effect_and_entry_leaves_neither(tmp_path: Path, name: str) -> None:
    asyncio.run(prepare(tmp_path))
    before = content(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path), name],
        env={**os.environ, "HOSTLER_FAILPOINTS": "before_audit:kill"},
        check=False,
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL
    assert content(tmp_path) == before
    asyncio.run(act(tmp_path, name))
    after = [line for line in content(tmp_path) if '"audit"' not in line]
    assert entries(tmp_path) == 1
    assert after != [line for line in before if '"audit"' not in line]
