"""`ports.HostLink` to a simulated host, through the real wire format; refuses daemons of an older
generation, as real hosts do."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hostler.base.errors import AgentError, EngineError, Refused, Superseded, Unreachable
from hostler.model.codec import to_json
from hostler.model.files import ChangedFiles, FileList, Kept, Select
from hostler.model.generations import Generation
from hostler.model.host_reports import claimed, greeting
from hostler.model.hosts import Look
from hostler.model.jobs import Claim, Claimed
from hostler.ports import ArchiveSource, ByteStream, Dropped, Hello, Push
from hostler.sim.agent import answer
from hostler.sim.behaviour import next_line_at
from hostler.sim.files import changed, chosen, listed, plain
from hostler.sim.gateway import SimSocket, said
from hostler.sim.host import SimHost
from hostler.sim.lab import SimLab
from hostler.sim.session import Session
from hostler.sim.view import hello_line, sections
from hostler_agent import wire
from hostler_agent.generations import CHANGING
from hostler_agent.json_values import Outgoing, table

T = TypeVar("T")

_CHUNK = 64 * 1024
_TRANSFER_TIMEOUT_S = 60.0


class SimLink:
    """A simulated host as one daemon reaches it."""

    def __init__(
        self, lab: SimLab, host: str, daemon_id: str, generation: Generation | None = None
    ) -> None:
        self._lab, self._daemon_id, self._generation = lab, daemon_id, generation
        self._host = lab.host(host)
        self._session: Session | None = None

    @property
    def host(self) -> str:
        """The host's name in the config."""
        return self._host.name

    async def connect(self) -> Hello:
        """Connect and read the facts. Raises Unreachable, Refused or AgentError."""
        self._end("connected anew")
        trouble, pace = self._host.trouble, self._lab.pace
        await asyncio.sleep(pace.message + trouble.slow)
        self._lab.advance()
        if trouble.cut_since is not None:
            await self._host.bell.wait(pace.notice)
        if trouble.cut_since is not None:
            raise Unreachable(self.host, "no route to host")
        if trouble.refuses is not None:
            remedy = f"log in by hand once: ssh {self.host}"
            raise Refused(self.host, trouble.refuses, remedy=remedy)
        admit_generation(self._host, self._daemon_id, self._generation)
        said = greeting(wire.decode_line(hello_line(self._host)).get("hello"), "hello")
        self._session = Session(self._lab, self._host)
        return Hello(said.facts, said.boot_id, said.agent)

    async def look(self, asked_at: float, timeout: float) -> Look:
        """One observation, encoded and decoded as a real one."""
        session = self._connected()
        line = await session.ask("look", lambda: self._look_line(session), timeout)
        try:
            return session.decoder.apply(wire.decode_line(line).get("ok"), asked_at)
        except ValueError as error:
            session.end("the agent broke the protocol")
            raise AgentError(
                self.host, f"the agent sent a look that cannot be read: {error}"
            ) from (error)

    async def pushes(self) -> AsyncIterator[Push]:
        """Messages that the agent sends without a request; ends with `Dropped`."""
        session = self._session
        if session is None:
            yield Dropped("not connected")
            return
        while True:
            push = await session.pushed.get()
            yield push
            if isinstance(push, Dropped):
                return

    async def claim(self, claim: Claim) -> Claimed:
        """Hold GPUs, all or none, after checking on the host that each is free."""
        return claimed(await self.call("claim", to_json(claim)), "claim")

    async def bind(self, lease_ids: Sequence[str], workload: str, claim: Claim) -> Claimed:
        """Tie leases to the container or process that is to use the GPUs, after checking again."""
        payload = {"lease_ids": list(lease_ids), "workload": workload, "claim": to_json(claim)}
        return claimed(await self.call("bind", payload), "bind")

    async def release(self, lease_ids: Sequence[str]) -> None:
        """Release leases."""
        await self.call("release", {"lease_ids": list(lease_ids)})

    async def call(self, verb: str, payload: Outgoing, timeout: float = 10.0) -> dict[str, Any]:
        """Any request to the agent; its answer, both through the real wire."""
        line = wire.encode({"id": 1, verb: dict(payload)})
        pace = self._lab.pace
        takes = {"claim": pace.claim, "job.create": pace.create, "job.start": pace.start,
                 "job.remove": pace.remove}.get(verb, 0.0)  # fmt: skip

        def effect() -> bytes:
            if verb in CHANGING:
                check_generation(self._host, self._daemon_id, self._generation)
            asked = table(wire.decode_line(line)[verb])
            return wire.encode({"id": 1, "ok": answer(self._host, verb, asked)})

        found = wire.decode_line(await self._connected().ask(verb, effect, timeout, takes))["ok"]
        assert isinstance(found, dict)
        return found

    async def put_blob(self, digest: str, path: Path) -> None:
        """Put a file into the host's cache. Raises AgentError if its digest is wrong."""
        data = await asyncio.to_thread(path.read_bytes)

        def effect() -> None:
            if hashlib.sha256(data).hexdigest() != digest:
                raise AgentError(self.host, f"the bytes sent are not {digest[:12]}")
            self._host.blobs[digest] = data

        await self._transfer("blob.put", effect)

    async def place_blob(self, digest: str, source: ArchiveSource) -> None:
        """Unpack a cached blob at `source.path` of a workload that has not started."""
        place = self._host.place
        await self._transfer("place", lambda: place(source.attempt_id, digest, source.path))

    def read_archive(
        self, source: ArchiveSource, offset: int = 0, paths: Sequence[str] | None = None
    ) -> SimArchive:
        """A tar stream of a workload's folder, from byte `offset`; the same bytes each time."""
        return SimArchive(self, source, offset, paths)

    async def changed_files(
        self, source: ArchiveSource, select: Select, *, beside: bool = False
    ) -> ChangedFiles:
        """New and changed files of a workload."""

        def effect() -> ChangedFiles:
            now = self._host.files_of(source.attempt_id)
            work = self._host.works[source.attempt_id]
            return changed(now, work.placed, select, work.ended_at or self._host.clock.now())

        return await self._transfer("changes", effect)

    async def list_files(self, source: ArchiveSource, recursive: bool) -> FileList:
        """The present content of a folder of a workload."""

        def effect() -> FileList:
            now = self._host.files_of(source.attempt_id)
            return listed(now, source.path, self._host.clock.now(), recursive=recursive)

        return await self._transfer("list", effect)

    def read_file(self, source: ArchiveSource, offset: int = 0) -> SimFile:
        """One plain file of a workload, from byte `offset`."""
        return SimFile(self, source, offset)

    async def keep_files(self, source: ArchiveSource, until: float) -> Kept:
        """Mark an ended workload to be kept."""
        return await self._transfer("keep", lambda: self._host.keep(source.attempt_id, until))

    async def read_plain(self, source: ArchiveSource) -> tuple[bytes, float]:
        """The content of a file, and its time."""

        def effect() -> tuple[bytes, float]:
            now = self._host.files_of(source.attempt_id)
            return plain(now, source.path), self._host.clock.now()

        return await self._transfer("read", effect)

    async def read_log(
        self, attempt_id: str, offset: int, follow: bool
    ) -> AsyncIterator[tuple[int, bytes]]:
        """A workload's log from a byte offset: (offset, bytes), live with `follow`."""
        while True:
            state = partial(self._log_state, attempt_id, offset)
            data, rest = await self._transfer("log", state)
            if data:
                yield offset, data
                offset += len(data)
            elif rest is None or not follow:
                return
            else:
                await self._host.bell.wait(max(0.005, min(rest, self._lab.pace.pulse)))

    async def open_docker(self) -> ByteStream:
        """Fails: nothing outside the lab can reach its Docker."""
        raise EngineError(self.host, "a simulated Docker has no socket")

    async def docker_url(self) -> str:
        """A URL that leads nowhere: nothing outside the lab can reach its Docker."""
        return f"sim://{self.host}"

    async def open_socket(self, path: str) -> ByteStream:
        """A connection to a gateway's socket; there are no others."""
        await self.ask_socket(path, "")
        return SimSocket(partial(self.ask_socket, path))

    async def ask_socket(self, path: str, line: str) -> bytes:
        """The answer of a gateway to a line. Raises EngineError if none runs, Unreachable."""
        return await self._transfer("socket", lambda: said(self._host, path, line))

    async def close(self) -> None:
        """End the connection; workloads continue, and earlier requests are still carried out."""
        self._end("closed")

    async def read_tar(self, source: ArchiveSource, paths: Sequence[str] | None) -> bytes:
        """The whole archive of a path, or of these files in it."""
        if paths is not None:
            files_of = self._host.files_of
            return await self._transfer(
                "archive", lambda: chosen(files_of(source.attempt_id), source.path, paths)
            )
        return await self._transfer(
            "archive", lambda: self._host.read(source.attempt_id, source.path)
        )

    async def pass_along(self) -> None:
        """Let one more piece of a transfer pass. Raises Unreachable when cut."""
        await self._transfer("piece", lambda: None)

    async def _transfer(self, verb: str, effect: Callable[[], T]) -> T:
        return await self._connected().ask(verb, effect, _TRANSFER_TIMEOUT_S)

    def _connected(self) -> Session:
        if self._session is None:
            raise Unreachable(self.host, "not connected")
        if self._session.gone.done():
            raise Unreachable(self.host, self._session.gone.result())
        return self._session

    def _end(self, why: str) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.end(why, lost=False)

    def _look_line(self, session: Session) -> bytes:
        if self._generation is not None:  # else it only asks; the agent would have been ended
            check_generation(self._host, self._daemon_id, self._generation)
        trouble = self._host.trouble
        if trouble.garbage:
            trouble.garbage -= 1
            return wire.encode({"id": 1, "ok": {"boot": 7, "work": "many"}})
        return session.encoder.line(1, sections(self._host))

    def _log_state(self, attempt_id: str, offset: int) -> tuple[bytes, float | None]:
        """New bytes, and real seconds to the next (None: it has ended)."""
        host = self._host
        work = host.work(attempt_id)
        now = host.clock.now()
        data = work.log(now)[offset:]
        if not work.running:
            return data, None if work.started_at is not None else self._lab.pace.pulse
        elapsed = work.elapsed(now)
        due = next_line_at(work.behaviour, elapsed)
        return data, self._lab.pace.pulse if due is None else host.clock.real(due - elapsed)


class SimArchive:
    """A tar stream that can be continued; `sha256`, of all its bytes, is known at the end."""

    def __init__(
        self, link: SimLink, source: ArchiveSource, offset: int, paths: Sequence[str] | None
    ) -> None:
        self.sha256: str | None = None
        self._link, self._source, self._offset = link, source, offset
        self._paths = paths
        self._data: bytes | None = None

    def __aiter__(self) -> SimArchive:
        return self

    async def __anext__(self) -> bytes:
        if self._data is None:
            self._data = await self._link.read_tar(self._source, self._paths)
        else:
            await self._link.pass_along()
        piece = self._data[self._offset : self._offset + _CHUNK]
        self._offset += len(piece)
        if not piece:
            self.sha256 = hashlib.sha256(self._data).hexdigest()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Stop before the end."""


class SimFile:
    """`ports.FileStream` of a simulated workload."""

    def __init__(self, link: SimLink, source: ArchiveSource, offset: int) -> None:
        self.size: int | None = None
        self.mtime: float | None = None
        self.sha256: str | None = None
        self._link, self._source, self._offset = link, source, offset
        self._data: bytes | None = None

    async def begin(self) -> None:
        """Open it."""
        await self._opened()

    async def _opened(self) -> bytes:
        if self._data is None:
            self._data, self.mtime = await self._link.read_plain(self._source)
            self.size = len(self._data)
        return self._data

    def __aiter__(self) -> SimFile:
        return self

    async def __anext__(self) -> bytes:
        data = await self._opened()
        piece = data[self._offset : self._offset + _CHUNK]
        if not piece:
            self.sha256 = hashlib.sha256(data).hexdigest()
            raise StopAsyncIteration
        await self._link.pass_along()
        self._offset += len(piece)
        return piece

    async def aclose(self) -> None:
        """Stop before the end."""


def check_generation(host: SimHost, daemon_id: str, told: Generation | None) -> None:
    """Raises Superseded for all but the newest generation of a daemon."""
    newest = host.generations.get(daemon_id)
    if newest is not None and newest.number > (0 if told is None else told.number):
        said = f"a newer generation of this daemon ({newest.number}) uses this host"
        raise Superseded(host.name, said, number=newest.number, mark=newest.mark)


def admit_generation(host: SimHost, daemon_id: str, told: Generation | None) -> None:
    """An agent begins to serve. Raises Superseded."""
    if told is not None:
        check_generation(host, daemon_id, told)
        host.generations[daemon_id] = told
