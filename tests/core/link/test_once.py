"""Looking at hosts once, without a daemon."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, HostError, Refused, Unreachable
from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import AgentProgram, program_for
from hostler.link.bulk import bulk_agent
from hostler.link.once import Seen, look_all, look_once
from hostler.local.door import LocalDoor, ProcessStream
from hostler.model.config import HostConfig
from tests.support.programs.scripted_agent import BOOT, LOOK, heard, script

pytestmark = pytest.mark.programs


class HangingDoor(LocalDoor):
    async def connect(self) -> None:
        await asyncio.sleep(3600)


class RefusingDoor(LocalDoor):
    async def connect(self) -> None:
        raise Refused(self.host, "no")


class SlowDoor(LocalDoor):
    async def exec_agent(self, command: str) -> ProcessStream:
        return await super().exec_agent("exec sleep 3600")


async def test_the_configured_docker_is_named_in_every_mode(
    program: AgentProgram, folder: Path
) -> None:
    mine = program.with_docker("/run/mine.sock")
    await look_once(LocalDoor("gpu1"), mine)
    link = AgentLink(LocalDoor("gpu1"), mine, "d")
    await link.connect()
    await link.close()
    door = LocalDoor("gpu1")
    await door.connect()
    with suppress(HostError):
        async with bulk_agent(door, mine, {"op": "log"}):
            pass
    modes = [line for line in heard(folder) if "mode" in line]
    assert [mode["mode"] for mode in modes] == ["once", "serve", "bulk"]
    assert {mode["docker_socket"] for mode in modes} == {"/run/mine.sock"}
    assert program.with_docker(None) is program


def test_the_agent_of_a_host_knows_its_docker() -> None:
    assert program_for(HostConfig("a", docker_socket="/x")).docker_socket == "/x"
    assert program_for(HostConfig("a")).docker_socket is None


async def test_look_once(program: AgentProgram, folder: Path) -> None:
    door = LocalDoor("gpu1")
    seen = await look_once(door, program)
    assert seen.hello.boot_id == BOOT
    assert seen.look.gpus[0].uuid == "GPU-1"
    assert heard(folder) == [{"mode": "once"}]
    with pytest.raises(Unreachable):
        await door.open_docker()


@pytest.mark.parametrize("line", [{"ok": []}, {}, {"ok": {**LOOK, "g": []}}, {"error": "x"}])
async def test_a_look_that_cannot_be_read(
    program: AgentProgram, folder: Path, line: dict[str, Any]
) -> None:
    script(folder, once=line)
    with pytest.raises(AgentError):
        await look_once(LocalDoor("gpu1"), program)


async def test_dead_and_slow_hosts_delay_nobody(program: AgentProgram) -> None:
    for deadline in (2.0, 10.0, 60.0):  # a busy machine needs longer for the agents of b and e
        doors = [HangingDoor("a"), LocalDoor("b"), RefusingDoor("c"), SlowDoor("d"), LocalDoor("e")]
        async with asyncio.timeout(deadline + 30):
            seen = await look_all(doors, program, deadline)
        if isinstance(seen["b"], Seen) and isinstance(seen["e"], Seen):
            break
    assert list(seen) == ["a", "b", "c", "d", "e"]
    assert isinstance(seen["a"], Unreachable)
    assert isinstance(seen["b"], Seen)
    assert isinstance(seen["c"], Refused)
    assert isinstance(seen["d"], Unreachable)
    assert isinstance(seen["e"], Seen)


async def test_no_hosts(program: AgentProgram) -> None:
    assert await look_all([], program) == {}
