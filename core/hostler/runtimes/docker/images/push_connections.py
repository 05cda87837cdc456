"""All connections of a push, at most 64; if there are too many, those without the password are
closed first."""

from __future__ import annotations

import asyncio

from hostler.ports import ByteStream
from hostler.runtimes.docker.images.push_connection import PushConnection
from hostler.runtimes.docker.images.receiver import Receiver

_MOST = 64


class PushConnections:
    """The connections of a push. Every local user of the host can open connections and hold them
    until the password is due. So if there are too many, the oldest one without the password is
    closed; Docker sends the password at once."""

    def __init__(self, receiver: Receiver, host: str, most: int = _MOST) -> None:
        self._receiver, self._host, self._most = receiver, host, most
        self._open: dict[asyncio.Task[None], tuple[PushConnection, ByteStream]] = {}
        """Oldest first."""
        self._closing: set[asyncio.Task[None]] = set()

    def accept(self, stream: ByteStream) -> None:
        """Serve a connection; or close it if there are too many and all others have sent the
        password."""
        if len(self._open) >= self._most and not self._make_room():
            self._keep(asyncio.create_task(stream.close(), name="push refused"))
            return
        connection = PushConnection(stream, self._receiver)
        task = asyncio.create_task(connection.serve(), name=f"push from {self._host}")
        self._open[task] = connection, stream
        task.add_done_callback(self._forget)

    async def close(self) -> None:
        """End all connections."""
        ends = [_end(task, stream) for task, (_, stream) in [*self._open.items()]]
        await asyncio.gather(*ends, *self._closing, return_exceptions=True)

    def _make_room(self) -> bool:
        strangers = (task for task, (each, _) in self._open.items() if not each.is_authorised)
        found = next(strangers, None)
        if found is None:
            return False
        _, stream = self._open.pop(found)
        self._keep(asyncio.create_task(_end(found, stream), name="push ended"))
        return True

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _end(task: asyncio.Task[None], stream: ByteStream) -> None:
    """End a task and close its connection, which a task that has not started does not close."""
    task.cancel()
    await asyncio.wait((task,))
    await stream.close()
