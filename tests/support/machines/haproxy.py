"""A real HAProxy behind a link, as an unprivileged user; replicas, and people who send requests."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import hashlib
import ipaddress
import os
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import agent_program
from hostler.local.door import LocalDoor, ProcessStream
from tests.support.machines.sshd import free_port as free_port

NOBODY = 65534
WHY_NOT = "HAProxy is not installed here"


def can_run() -> bool:
    """Whether there is an HAProxy, and a way to a user without rights."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


class UserDoor(LocalDoor):
    """This machine as a user who is not root; where the tests are not, that user."""

    async def exec_agent(self, command: str) -> ProcessStream:
        """See `Door`."""
        if os.geteuid() != 0:
            return await super().exec_agent(command)
        become = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups"
        return await super().exec_agent(f"cd / && exec {become} /bin/sh -c {shlex.quote(command)}")


@contextlib.contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """A folder that this user can enter, with a short path."""
    path = Path(tempfile.mkdtemp(prefix="hgw-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.asynccontextmanager
async def linked(folder: Path, daemon_id: str) -> AsyncIterator[AgentLink]:
    """A link to an agent of that user. It is started as /usr/bin/python3, which all may use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTLER_FOLDER", str(folder / "b"))
        patch.setenv("HOSTLER_LEASES", str(folder / "l" / "leases"))
        patch.setenv("DOCKER_HOST", f"unix://{folder}/no-docker.sock")
        patch.setenv("HOME", str(folder))
        link = AgentLink(
            UserDoor("here"), agent_program().with_python("/usr/bin/python3"), daemon_id
        )
        await link.connect()
        try:
            yield link
        finally:
            await link.close()


def certificate(path: Path) -> None:
    """One of its own making, for 127.0.0.1; with its key in the same file, as HAProxy wants it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    text = made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, *form)
    path.write_bytes(text)
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


class Replica:
    """A small server: says who it is and what it was sent, or streams until it is cut."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.healthy = True
        self.dies = False
        """Whether it ends each connection with a request unanswered."""
        self.requests = 0
        """Without checks."""
        self.checks: list[tuple[str, dict[str, str], bytes]] = []
        self.socket: Path | None = None
        """Where it listens instead of its port."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """As HAProxy wants it."""
        return f"127.0.0.1:{self.port}" if self.socket is None else str(self.socket)

    async def start(self) -> Replica:
        """Listen."""
        if self.socket is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        else:
            self._server = await asyncio.start_unix_server(self._serve, self.socket)
            self.socket.chmod(0o777)
        return self

    async def stop(self) -> None:
        """Be gone at once, with all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")[:-2]
        headers = {k.lower(): v.strip() for k, _, v in (each.partition(":") for each in rest)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = line.split(" ")[1]
        if path.startswith("/health"):
            self.checks.append((line, headers, body))
            status = "200 OK" if self.healthy else "500 Ill"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        self.requests += 1
        if self.dies:
            return False
        if path.startswith("/upgrade"):
            key = headers.get("sec-websocket-key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept
            )
            while data := await reader.read(100):
                writer.write(data)
            return False
        if path.startswith("/stream"):
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            while True:
                writer.write(b"8\r\ndata: x\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        said = f"{self.name}\n{head}".encode("latin-1")
        head_back = b'HTTP/1.1 200 OK\r\nAlt-Svc: h2=":1"\r\nContent-Length: %d\r\n\r\n'
        writer.write(head_back % len(said) + said)
        return True


async def ask(
    port: int, path: str, headers: str = "", *, host: str = "localhost"
) -> tuple[int, str]:
    """A request of its own connection: status, and head with body. 0: there was no answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        writer.write(head.encode("latin-1"))
        data = (await reader.read(-1)).decode("latin-1")
    except ConnectionError:
        return 0, ""
    finally:
        writer.transport.abort()
    return (int(data[9:12]) if data.startswith("HTTP/1.1 ") else 0), data


class Load:
    """People who send requests one after another, until told to stop."""

    def __init__(self, port: int, path: str, people: int = 4) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._tasks = [asyncio.create_task(self._send(port, path)) for _ in range(people)]
        self._over = False

    async def _send(self, port: int, path: str) -> None:
        while not self._over:
            try:
                status, data = await ask(port, path)
            except OSError as error:
                status, data = 0, str(error)
            self.answered += 1
            if status != 200:
                self.failed.append(f"{status} {data[:300]}")

    async def more(self, number: int) -> None:
        """Wait until so many more have been answered."""
        wanted = self.answered + number
        while self.answered < wanted:
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """No more; those that are on the way are answered."""
        self._over = True
        await asyncio.gather(*self._tasks)
