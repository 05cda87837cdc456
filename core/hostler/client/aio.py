"""The asyncio transport of the client (`AsyncClient`), for asyncio programs such as the terminal
UI; sync.py is the blocking one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import TypeVar

from hostler.base.errors import NoDaemonError
from hostler.client.api import Api
from hostler.client.flow import (
    Concurrent,
    Emit,
    Flow,
    Line,
    Local,
    Open,
    Pause,
    Receive,
    Revive,
    Send,
    Step,
)
from hostler.client.sync import BLOCK, Client
from hostler.quick.socket import QUEUE_PAUSE, check_server, unreachable

T = TypeVar("T")


class AsyncClient(Api, Concurrent):
    """A client of the daemon; see `Client`. Any number of calls may run at the same time."""

    async def each(self, flow: Flow[T]) -> AsyncIterator[T]:
        """The values of a flow as they arrive."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Emit):
                    yield step.value
                    step = next(flow)
                    continue
                try:
                    answer = await self._do(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration:
            return
        finally:
            flow.close()

    async def _do(self, step: Step) -> bytes:
        if isinstance(step, (Receive, Send)):
            async with asyncio.timeout(step.line.timeout):
                return await _spoken(step)
        if isinstance(step, Open):
            await self._open(step.line)
        elif isinstance(step, Local):
            client = Client(found=self.found, timeout=self.timeout, revive=self.revive)
            await asyncio.to_thread(step.function, client)
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Revive) and self.revive is not None:
            with contextlib.suppress(NoDaemonError):  # somebody else may start it
                await asyncio.to_thread(self.revive)
        return b""

    async def _open(self, line: Line) -> None:
        """Not a stream: that forgets what it has received when it cannot send any more, and the
        daemon answers before it has read all of a request that it refuses."""
        line.begin(self.found, self.timeout)
        line.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(line.timeout):
                await _reach(line.connection, self.found.path)
        except OSError as error:
            raise unreachable(self.found, error) from error
        check_server(self.found, line.connection)


async def _reach(connection: socket.socket, path: str) -> None:
    """Connect. Not by `sock_connect`: it takes a connection for made for which the listener's queue
    has no place. Raises OSError."""
    while True:
        try:
            connection.connect(path)
            return
        except BlockingIOError:
            await asyncio.sleep(QUEUE_PAUSE)


async def _spoken(step: Receive | Send) -> bytes:
    loop, connection = asyncio.get_running_loop(), step.line.connection
    assert connection is not None
    if isinstance(step, Receive):
        return await loop.sock_recv(connection, BLOCK)
    await loop.sock_sendall(connection, step.data)
    return b""
