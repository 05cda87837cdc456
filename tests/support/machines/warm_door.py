"""A door to this machine whose agents cost a fork and no start of Python."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import cast

from hostler.base.programs import safe_environ
from hostler.local.door import LocalDoor, ProcessStream, wrap_socket
from tests.support.programs import warm_agents
from tests.support.programs.testrun import is_first


class WarmDoor(LocalDoor):
    """As `LocalDoor`, which starts the first agent of a test run, and what is no agent."""

    async def exec_agent(self, command: str) -> ProcessStream:
        """See `LocalDoor`."""
        env = safe_environ()
        warm = warm_agents.find(env)
        if warm is None or not _is_agents(command) or is_first("agent-door"):
            return await super().exec_agent(command)
        self._check_open()
        given, stdin = socket.socketpair()
        said, stdout = socket.socketpair()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 (the stream closes it)
        streams = [stdin.detach(), stdout.detach(), os.dup(stderr.fileno())]
        started = warm_agents.start(warm, env, Path.home(), streams, session=True)
        process = cast("asyncio.subprocess.Process", _Awaited(started))
        pairs = await wrap_socket(given), await wrap_socket(said)
        return ProcessStream(self.host, *pairs, process, stderr)


class _Awaited(warm_agents.Forked):
    async def wait(self) -> int:  # type: ignore[override]
        """Until it has ended."""
        while self.poll() is None:
            await asyncio.sleep(0.01)
        return self.poll() or 0


def _is_agents(command: str) -> bool:
    """Whether it starts an agent under the Python of the tests."""
    words, wanted = shlex.split(command), warm_agents.command()
    python = shutil.which(words[1]) if len(words) == len(wanted) else None
    same = python is not None and os.path.realpath(python) == os.path.realpath(sys.executable)
    return same and words[2:] == wanted[2:]
