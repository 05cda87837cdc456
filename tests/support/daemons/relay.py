"""A TCP relay in user space whose line can be cut in every way a network can."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """Forwards a loopback port to another. `cut` loses every byte silently, as a pulled cable."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0
        self.connections = 0
        """Accepted so far."""
        self.sent = b""
        """What clients have sent, if it was kept."""
        self.keep = False

    async def start(self) -> Relay:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self) -> None:
        """From now on nothing goes through, and nobody is told."""
        self._flows.clear()

    def heal(self) -> None:
        """Bytes go through again; those of before the heal were held up, not lost."""
        self._flows.set()

    def reset(self) -> None:
        """End all connections with a RST."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers.add(far_writer)
            try:
                await asyncio.gather(
                    self._pump(reader, far_writer, True), self._pump(far_reader, writer, False)
                )
            finally:
                far_writer.transport.abort()
        writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outward: bool
    ) -> None:
        while data := await reader.read(65536):
            await self._flows.wait()
            if outward and self.keep:
                self.sent += data
            writer.write(data)
            await writer.drain()
        writer.close()
