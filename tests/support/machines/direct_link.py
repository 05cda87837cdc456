"""A HostLink to a Docker socket of this machine, without SSH and agent, that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker

from hostler.base.errors import EngineError, Unreachable
from hostler.model.files import ChangedFiles, FileList, Kept, Select
from hostler.model.hosts import HostFacts, Look
from hostler.model.jobs import Claim, Claimed
from hostler.ports import ArchiveSource, FileStream, Hello, HostLink, Push
from hostler_agent import boxmetrics, inside
from hostler_agent.metricpiece import wanted


class UnixStream:
    """A ByteStream over a Unix socket."""

    def __init__(self, link: DirectLink, reader: Any, writer: asyncio.StreamWriter) -> None:
        self._link = link
        self._reader = reader
        self._writer = writer
        self.cut = False

    async def read(self, limit: int = 65536) -> bytes:
        """See `ByteStream`."""
        try:
            data: bytes = await self._reader.read(limit)
        except OSError as error:
            raise Unreachable(self._link.host, str(error)) from error
        if self.cut:
            raise Unreachable(self._link.host, "cut")
        self._link.received += len(data)
        if self._link.cut_after is not None and self._link.received > self._link.cut_after:
            self._link.cut()
            raise Unreachable(self._link.host, "cut")
        return data

    async def write(self, data: bytes) -> None:
        """See `ByteStream`."""
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise Unreachable(self._link.host, str(error)) from error

    async def close(self) -> None:
        """See `ByteStream`."""
        self._link.streams.discard(self)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """As a cut of the network does."""
        self.cut = True
        self._writer.transport.abort()


class DirectLink:
    """Everything of a HostLink that the Docker runtime uses."""

    def __init__(self, socket: Path, host: str = "here") -> None:
        self._socket = socket
        self._host = host
        self.streams: set[UnixStream] = set()
        self.down = False
        self.received = 0
        self.cut_after: int | None = None
        """Cut by itself when so many bytes came over streams."""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, Path] = {}

    @property
    def host(self) -> str:
        """See `HostLink`."""
        return self._host

    def cut(self) -> None:
        """End all streams; nothing can be opened until `heal`."""
        self.down, self.cut_after = True, None
        for stream in list(self.streams):
            stream.abort()

    def heal(self) -> None:
        """Let streams be opened again."""
        self.down = False

    async def open_docker(self) -> UnixStream:
        """See `HostLink`."""
        if self.down:
            raise Unreachable(self._host, "cut")
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=2**20)
        except OSError as error:
            raise EngineError(self._host, f"no Docker: {error}") from error
        stream = UnixStream(self, reader, writer)
        self.streams.add(stream)
        return stream

    async def open_socket(self, path: str) -> UnixStream:
        """See `HostLink`."""
        raise NotImplementedError

    async def docker_url(self) -> str:
        """See `HostLink`."""
        if self.down:
            raise Unreachable(self._host, "cut")
        return f"unix://{self._socket}"

    async def call(
        self, verb: str, payload: Mapping[str, Any], timeout: float = 10.0
    ) -> dict[str, Any]:
        """Remembers the request; the answer is what the test has put into `answers`."""
        if verb == "container.metrics":
            return await asyncio.to_thread(self._metrics, payload)
        if verb == "container.check":
            asked = (str(self._socket), payload["ref"], payload["attempt_id"])
            await asyncio.to_thread(inside.check, *asked)
            return {}
        self.calls.append((verb, dict(payload)))
        return self.answers.get(verb, {})

    def _metrics(self, payload: Mapping[str, Any]) -> Any:
        """As the agent does."""
        asked = (payload["ref"], payload["attempt_id"], wanted(dict(payload)))
        return boxmetrics.metrics(str(self._socket), *asked)

    async def put_blob(self, digest: str, path: Path) -> None:
        """The host's cache is the file itself."""
        self.blobs[digest] = path

    async def place_blob(self, digest: str, source: ArchiveSource) -> None:
        """As the agent does: entries get the container's user."""
        await asyncio.to_thread(self._place, self.blobs[digest].read_bytes(), source)

    def _place(self, data: bytes, source: ArchiveSource) -> None:
        client = docker.APIClient(base_url=f"unix://{self._socket}", version="auto")
        try:
            user = client.inspect_container(source.ref)["Config"]["User"]
            uid, gid = (int(part) for part in user.split(":"))
            owned = io.BytesIO()
            with (
                tarfile.open(fileobj=io.BytesIO(data)) as old,
                tarfile.open(fileobj=owned, mode="w") as new,
            ):
                for entry in old:
                    entry.uid, entry.gid = uid, gid
                    new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
            client.put_archive(source.ref, f"/work/{source.path}", owned.getvalue())
        finally:
            client.close()

    async def read_archive(
        self, source: ArchiveSource, offset: int = 0, paths: Sequence[str] | None = None
    ) -> AsyncIterator[bytes]:
        """See `HostLink`; the tar as Docker makes it."""
        stream = await self.open_docker()
        try:
            path = f"/containers/{source.ref}/archive?path=/work/{source.path}"
            await stream.write(f"GET {path} HTTP/1.0\r\nHost: d\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.read()
            head, _, data = head.partition(b"\r\n\r\n")
            if b" 200 " not in head.splitlines()[0]:
                raise EngineError(self._host, f"no {source.path}", status=404)
            while data or (data := await stream.read()):
                skipped = min(offset, len(data))
                offset -= skipped
                if data[skipped:]:
                    yield data[skipped:]
                data = b""
        finally:
            await stream.close()

    async def changed_files(
        self, source: ArchiveSource, select: Select, *, beside: bool = False
    ) -> ChangedFiles:
        """No agent is here to look."""
        raise NotImplementedError

    async def list_files(self, source: ArchiveSource, recursive: bool) -> FileList:
        """As `changed_files`."""
        raise NotImplementedError

    def read_file(self, source: ArchiveSource, offset: int = 0) -> FileStream:
        """As `changed_files`."""
        raise NotImplementedError

    async def keep_files(self, source: ArchiveSource, until: float) -> Kept:
        """As `changed_files`."""
        raise NotImplementedError

    async def connect(self) -> Hello:
        """See `HostLink`."""
        return Hello(facts=HostFacts(), boot_id="boot", agent_version="none")

    async def look(self, asked_at: float, timeout: float) -> Look:
        """A host without GPUs."""
        return Look(asked_at=asked_at, boot_id="boot")

    async def pushes(self) -> AsyncIterator[Push]:
        """Nothing is pushed."""
        return
        yield

    async def claim(self, claim: Claim) -> Claimed:
        """Everything may be had."""
        return Claimed(lease_ids=claim.gpus)

    async def bind(self, lease_ids: Sequence[str], workload: str, claim: Claim) -> Claimed:
        """Nobody is in the way."""
        return Claimed(lease_ids=tuple(lease_ids))

    async def release(self, lease_ids: Sequence[str]) -> None:
        """See `HostLink`."""

    async def read_log(
        self, attempt_id: str, offset: int, follow: bool
    ) -> AsyncIterator[tuple[int, bytes]]:
        """No processes here."""
        return
        yield

    async def close(self) -> None:
        """See `HostLink`."""
        self.cut()


def as_link(link: DirectLink) -> HostLink:
    """The same, for the type checker to compare with the Protocol."""
    return link
