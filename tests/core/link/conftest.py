"""A link to a scripted agent on this machine, and what it takes to have one over SSH."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import AgentProgram
from hostler.local.door import LocalDoor
from tests.support.daemons.memory import tmp_path
from tests.support.machines.sshfixtures import home, sshd
from tests.support.programs import scripted_agent

__all__ = ["folder", "home", "link", "program", "sshd", "tmp_path"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the script; one that does all as it should."""
    scripted_agent.script(tmp_path / "agent")
    return tmp_path / "agent"


@pytest.fixture
def program(folder: Path) -> AgentProgram:
    """The scripted agent as a program."""
    return AgentProgram(scripted_agent.HASH, b"archive", scripted_agent.command(folder))


@pytest.fixture
async def link(program: AgentProgram) -> AsyncIterator[AgentLink]:
    """Not connected yet."""
    made = AgentLink(LocalDoor("gpu1"), program, "daemon-1")
    yield made
    await made.close()
