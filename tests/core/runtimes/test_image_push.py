"""The push endpoint, over streams in memory: what a Docker sends, and what somebody else may."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import ANY

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.units import MIB
from hostler.runtimes.docker.images import receiver as module
from hostler.runtimes.docker.images.push import outside
from hostler.runtimes.docker.images.push_calls import (
    BeginUpload,
    Finish,
    NoSuchCall,
    may_push,
    read_call,
)
from hostler.runtimes.docker.images.push_connection import PushConnection
from hostler.runtimes.docker.images.push_connections import PushConnections
from hostler.runtimes.docker.images.receiver import Receiver
from hostler.store.content import ContentStore
from tests.support.values.images import MadeImage, make_image, sha256

ROOT = "/v2/mine/"


async def test_who_has_no_password_makes_room_for_who_comes_later(content: ContentStore) -> None:
    receiver = Receiver(content, "mine", lambda _: False, MIB)
    connections = PushConnections(receiver, "gpu1", most=2)
    first, second, third, fourth = (Client(receiver, connections=connections) for _ in range(4))
    assert await third.ask("GET", "/v2/") == (200, ANY)
    assert await fourth.ask("GET", "/v2/") == (200, ANY)
    for client in (first, second):
        assert await client.pipe.to_client.get() == b""  # closed
    late = Client(receiver, connections=connections)
    assert await late.pipe.to_client.get() == b""
    assert (await third.ask("GET", "/v2/"))[0] == 200
    await connections.close()
    assert third.pipe.closed


class Pipe:
    """Both ends of a stream in memory."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[bytes] = asyncio.Queue()
        self.to_client: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False

    async def read(self, limit: int = 65536) -> bytes:
        return await self.to_server.get()

    async def write(self, data: bytes) -> None:
        await self.to_client.put(data)

    async def close(self) -> None:
        self.closed = True
        await self.to_client.put(b"")


class Client:
    """Speaks HTTP to a receiver."""

    def __init__(
        self, receiver: Receiver, password: str | None = None,
        connections: PushConnections | None = None,
    ) -> None:  # fmt: skip
        self.pipe = Pipe()
        if connections is not None:
            connections.accept(self.pipe)
        else:
            self.serving = asyncio.create_task(PushConnection(self.pipe, receiver).serve())
        self._http = h11.Connection(h11.CLIENT)
        login = f"hostler:{receiver.password if password is None else password}"
        self._login = f"Basic {base64.b64encode(login.encode()).decode()}"

    async def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Status and headers of the answer; -1 where the connection was closed without one."""
        headers = [("Host", "x"), ("Content-Length", str(len(body)))]
        if self._login:
            headers.append(("Authorization", self._login))
        sent = self._http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        if body:
            sent += self._http.send(h11.Data(data=body)) or b""
        await self.pipe.to_server.put(sent + (self._http.send(h11.EndOfMessage()) or b""))
        found: tuple[int, dict[str, str]] = (-1, {})
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                read = {k.decode(): v.decode() for k, v in event.headers}
                found = (event.status_code, read)
            elif isinstance(event, h11.ConnectionClosed):
                return found
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return found

    async def _event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            self._http.receive_data(await self.pipe.to_client.get())

    async def close(self) -> None:
        self.serving.cancel()
        await asyncio.gather(self.serving, return_exceptions=True)


@pytest.fixture
def receiver(content: ContentStore) -> Receiver:
    return Receiver(content, "mine", lambda _digest: False, MIB)


@pytest.fixture
async def client(receiver: Receiver) -> AsyncIterator[Client]:
    made = Client(receiver)
    yield made
    await made.close()
    receiver.close()


async def upload(client: Client, data: bytes, digest: str | None = None) -> int:
    """Send a blob in two pieces; the last status."""
    status, headers = await client.ask("POST", f"{ROOT}blobs/uploads/")
    assert status == 202
    half = len(data) // 2
    status, headers = await client.ask("PATCH", headers["location"], data[:half])
    if status != 202:
        return status
    target = f"{headers['location']}?digest=sha256:{digest or sha256(data)}"
    return (await client.ask("PUT", target, data[half:]))[0]


async def push(client: Client, image: MadeImage) -> int:
    for blob in image.blobs.values():
        assert await upload(client, blob) == 201
    return (await client.ask("PUT", f"{ROOT}manifests/push", image.manifest.data))[0]


async def test_a_push(client: Client, receiver: Receiver, content: ContentStore) -> None:
    image = make_image({"a": b"1"})
    assert (await client.ask("GET", "/v2/"))[0] == 200
    digest = image.manifest.config.digest
    assert (await client.ask("HEAD", f"{ROOT}blobs/sha256:{digest}"))[0] == 404
    assert await push(client, image) == 201
    assert receiver.tagged == image.manifest.digest
    assert (await client.ask("HEAD", f"{ROOT}blobs/sha256:{digest}"))[0] == 200
    assert all(content.has(blob) for blob in image.blobs)


async def test_without_the_password_nothing_is_said_and_nothing_taken(
    receiver: Receiver, content: ContentStore
) -> None:
    for password in ("", "guess", "hostler", receiver.password[:-1], receiver.password + "x"):
        stranger = Client(receiver, password)
        for method, target in (("GET", "/v2/"), ("POST", f"{ROOT}blobs/uploads/"), ("PUT", "/x")):
            status, headers = await stranger.ask(method, target)
            assert status == 401
            assert "location" not in headers
        await stranger.close()
    assert not content.sizes()
    assert receiver.refusal is None


async def test_whoever_does_not_log_in_is_sent_away_however_much_they_say(
    receiver: Receiver,
) -> None:
    """Be it slowly, or in many requests: they hold a place of those that Docker needs."""
    slow = Pipe()
    serving = PushConnection(slow, receiver, login_within=0.2).serve()
    waiting = asyncio.create_task(serving)
    head = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 10_000
    for byte in head:
        if waiting.done():
            break
        await slow.to_server.put(bytes([byte]))
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 60)
    assert slow.closed
    connection = PushConnection(pipe := Pipe(), receiver, login_within=0.2)
    waiting = asyncio.create_task(connection.serve())
    while not waiting.done():
        await pipe.to_server.put(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0)
    assert pipe.closed


async def test_the_password_ends_with_the_push(receiver: Receiver, client: Client) -> None:
    receiver.close()
    assert (await client.ask("GET", "/v2/"))[0] == 401


async def test_content_of_others_cannot_be_asked_for(client: Client, content: ContentStore) -> None:
    with content.partial("source") as partial:
        partial.append(b"somebody's code")
        digest = partial.finish()
    assert (await client.ask("HEAD", f"{ROOT}blobs/sha256:{digest}"))[0] == 404
    assert (await client.ask("GET", f"{ROOT}blobs/sha256:{digest}"))[0] == 405


async def test_a_wrong_digest_is_refused(
    client: Client, receiver: Receiver, content: ContentStore
) -> None:
    assert await upload(client, b"x" * 100, "0" * 64) == 400
    assert receiver.refusal is not None
    assert "has the digest" in receiver.refusal
    assert not content.sizes()


async def test_an_endless_layer_is_refused(
    client: Client, receiver: Receiver, content: ContentStore
) -> None:
    _, headers = await client.ask("POST", f"{ROOT}blobs/uploads/")
    statuses = [(await client.ask("PATCH", headers["location"], b"0" * (MIB // 2)))[0]
                for _ in range(2)]  # fmt: skip
    assert statuses == [202, 202]
    assert (await client.ask("PATCH", headers["location"], b"0"))[0] == 400
    assert receiver.refusal is not None
    assert "the image is larger than the 1 MiB that the daemon has room for" in receiver.refusal
    receiver.close()
    assert not content.abandoned(float("inf"))


async def test_a_disk_that_others_fill_meanwhile_ends_a_push(content: ContentStore) -> None:
    left = [1, 1, 0]
    receiver = Receiver(content, "mine", lambda _: False, MIB, is_full=lambda: not left.pop(0))
    client = Client(receiver)
    _, headers = await client.ask("POST", f"{ROOT}blobs/uploads/")
    found = [(await client.ask("PATCH", headers["location"], b"0"))[0] for _ in range(3)]
    assert found == [202, 202, 400]
    assert "no room for the rest of the image" in str(receiver.refusal)
    receiver.close()


async def test_a_manifest_with_a_missing_layer_or_a_wrong_size_is_refused(
    client: Client, receiver: Receiver
) -> None:
    image = make_image({"a": b"1"})
    target = f"{ROOT}manifests/push"
    assert (await client.ask("PUT", target, image.manifest.data))[0] == 400
    assert "lacks its blob" in str(receiver.refusal)
    for blob in image.blobs.values():
        await upload(client, blob)
    value = json.loads(image.manifest.data)
    value["layers"][0]["size"] += 1
    receiver.refusal = None
    assert (await client.ask("PUT", target, json.dumps(value).encode()))[0] == 400
    assert "a wrong size" in str(receiver.refusal)
    assert receiver.tagged is None


async def test_manifests_are_counted_also_where_they_are_refused(
    client: Client, receiver: Receiver
) -> None:
    target = f"{ROOT}manifests/push"
    assert {(await client.ask("PUT", target, b"{}"))[0] for _ in range(64)} == {400}
    receiver.refusal = None
    assert (await client.ask("PUT", target, b"{}"))[0] == 400
    assert "more than 64 manifests" in str(receiver.refusal)


async def test_others_have_their_turns_while_a_manifest_comes_byte_by_byte(
    receiver: Receiver,
) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    login = base64.b64encode(f"hostler:{receiver.password}".encode()).decode()
    head = (
        f"PUT {ROOT}manifests/push HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    pipe = Pipe()
    await pipe.to_server.put(head.encode() + b"1\r\n{\r\n" * 2000 + b"0\r\n\r\n")
    serving = asyncio.create_task(PushConnection(pipe, receiver).serve())
    assert b" 400 " in await pipe.to_client.get()
    assert turns > 1000
    for task in (serving, counting):
        task.cancel()
    await asyncio.gather(serving, counting, return_exceptions=True)


async def test_a_layer_that_is_finished_while_the_push_is_cancelled_leaves_no_open_file(
    receiver: Receiver, content: ContentStore
) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        pieces: tuple[bytes, ...] = ()
        for piece in pieces:
            yield piece

    begun = await receiver.answer(BeginUpload(), nothing())
    upload = dict(begun.headers)["Docker-Upload-UUID"]
    file = receiver._uploads[upload].partial._file
    loop, released = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, released.wait)
    finishing = asyncio.create_task(receiver.answer(Finish(upload, sha256(b"")), nothing()))
    while upload in receiver._uploads:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    receiver.close()
    released.set()
    await busy
    await loop.run_in_executor(None, int)  # what waited for the thread has had it
    assert file.closed


async def test_many_uploads_at_once_are_refused(client: Client) -> None:
    statuses = [(await client.ask("POST", f"{ROOT}blobs/uploads/"))[0] for _ in range(33)]
    assert statuses == [202] * 32 + [429]


async def test_a_push_brings_so_many_files_only(
    client: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BLOBS", 3)
    assert [await upload(client, bytes([n])) for n in range(3)] == [201] * 3
    assert (await client.ask("POST", f"{ROOT}blobs/uploads/"))[0] == 429
    assert receiver.refusal == "the image has more than 3 blobs"


async def test_tls_is_answered_in_plain_http(receiver: Receiver) -> None:
    client = Client(receiver)
    await client.pipe.to_server.put(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert (await client.pipe.to_client.get()).startswith(b"HTTP/1.0 400")
    await client.serving
    assert client.pipe.closed


async def test_a_head_without_end_is_not_collected(receiver: Receiver) -> None:
    client = Client(receiver)
    await client.pipe.to_server.put(b"GET /v2/ HTTP/1.1\r\nx: " + b"y" * 20_000)
    await client.serving
    assert client.pipe.closed


@given(st.text(max_size=120), st.sampled_from(("GET", "PUT", "PATCH", "POST", "HEAD", "DELETE")))
def test_any_target_is_read(target: str, method: str) -> None:
    assert read_call(method, target, "mine") is not None


@pytest.mark.parametrize(
    "target",
    ["/v2/other/blobs/uploads/", "/v2/mine/../other/blobs/uploads/", "/v2/mine/tags/list",
     "/v2/_catalog", "http://elsewhere/v2/", "//elsewhere/v2/", "/v2/mine/manifests/latest",
     f"/v2/mine/blobs/uploads/{'0' * 31}", "/v2/mine/blobs/sha256:..%2f..", "http://[", ""],
)  # fmt: skip
def test_other_targets_are_no_calls(target: str) -> None:
    assert all(isinstance(read_call(method, target, "mine"), NoSuchCall)
               for method in ("GET", "PUT", "PATCH", "POST", "HEAD"))  # fmt: skip


@given(st.text(max_size=60))
def test_no_other_header_is_a_login(header: str) -> None:
    assert not may_push(header, "x" * 43)


def test_only_loopback_is_inside() -> None:
    assert outside(["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.0.1"]) == []
    others = ["0.0.0.0", "::", "192.0.2.1", "::ffff:0.0.0.0", "fe80::1", "rubbish", ""]
    assert outside(others) == others
