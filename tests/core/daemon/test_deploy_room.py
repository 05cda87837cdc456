"""What a deploy waits for before it counts the room of hosts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from hostler.daemon.context import Context
from hostler.daemon.deploy_room import first_looks
from hostler.daemon.hub import Hub
from hostler.model.hosts import HostCondition
from hostler.model.timings import Timings


def monitor(condition: HostCondition) -> SimpleNamespace:
    return SimpleNamespace(host=SimpleNamespace(condition=condition))


def context_of(*monitors: SimpleNamespace, within: float) -> Context:
    named = {f"gpu{number}": each for number, each in enumerate(monitors)}
    return cast(
        Context, SimpleNamespace(monitors=named, hub=Hub(), timings=Timings(first_looks=within))
    )


async def test_a_deploy_right_after_the_start_waits_for_the_first_looks() -> None:
    new = monitor(HostCondition.CONNECTING)
    away = monitor(HostCondition.UNREACHABLE)
    waiting = asyncio.create_task(first_looks(context_of(new, away, within=60.0)))
    await asyncio.sleep(0)
    assert not waiting.done()
    new.host.condition = HostCondition.UP
    await waiting


async def test_it_does_not_wait_for_ever() -> None:
    silent = monitor(HostCondition.CONNECTING)
    await first_looks(context_of(silent, within=0.01))
