"""What a person changes, and the entry that says who it was, are stored together or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostler.model.calls import AuditEntry
from hostler.model.records import Acknowledged, Drain, Keep
from hostler.model.runs import Outcome
from hostler.store.database import Store
from tests.support.daemons.memory import memory
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
import asyncio, os, sys
from pathlib import Path
from tests.core.store.test_audit_with_effect import ACTIONS, act
for name in ACTIONS:
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(act(Path(sys.argv[1]) / name, name))
        finally:
            os._exit(1)
    print(name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass
class Killed:
    """A process that was killed at its action."""

    folder: Path
    before: list[str]
    """What was stored when it began."""
    code: int


@pytest.fixture(scope="module")
def killed() -> Iterator[dict[str, Killed]]:
    """By action; all are forked by one program, since most of each would be its start."""
    with tempfile.TemporaryDirectory(prefix="hm-", dir=memory()) as made:
        before = {}
        for name in ACTIONS:
            folder = Path(made) / name
            folder.mkdir()
            asyncio.run(prepare(folder))
            before[name] = content(folder)
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, made],
            env={**os.environ, "HOSTLER_FAILPOINTS": "before_audit:kill"},
            stdout=subprocess.PIPE, text=True, check=True, timeout=60,
        )  # fmt: skip
        codes = dict(line.split() for line in child.stdout.splitlines())
        yield {name: Killed(Path(made) / name, before[name], int(codes[name])) for name in ACTIONS}


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
def test_a_kill_between_effect_and_entry_leaves_neither(
    killed: dict[str, Killed], name: str
) -> None:
    found = killed[name]
    folder, before = found.folder, found.before
    assert found.code == -signal.SIGKILL
    assert content(folder) == before
    asyncio.run(act(folder, name))
    after = [line for line in content(folder) if '"audit"' not in line]
    assert entries(folder) == 1
    assert after != [line for line in before if '"audit"' not in line]
