"""Host names and ports of services at a real HAProxy."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from hostler.base.errors import EngineError
from hostler.gateway.control import Gateway
from hostler.model import gateway as model
from hostler.model.addresses import address_of
from hostler.model.gateway import (
    GatewayCheck,
    GatewayEntry,
    GatewayService,
    GatewayToken,
    WantedGateway,
)
from hostler.model.timings import GatewayTimings
from hostler.model.traffic import NOBODY, Traffic
from tests.support.machines import haproxy
from tests.support.machines.haproxy import Replica, ask, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.programs,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
]
DAEMON = "e" * 32
CHECK = GatewayCheck("/health", every=0.1)
WITHIN = 30.0
NAME = "a.lab.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    """One for all tests; each of them says anew what it is to serve."""
    with haproxy.folder_of_nobody() as folder:
        async with haproxy.linked(folder, DAEMON) as link:
            made = Gateway(link, DAEMON, timings=GatewayTimings(poll=0.02, port_again=0.2))
            try:
                yield made
            finally:
                await made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def replicas() -> AsyncIterator[list[Replica]]:
    """Three, of services of their own."""
    made = [await Replica(name).start() for name in ("one", "two", "three")]
    yield made
    for each in made:
        await each.stop()


def _service(address: str, *servers: Replica, **changes: object) -> GatewayService:
    """Called as its first replica."""
    found = tuple(model.Replica(each.name, each.address) for each in servers)
    made = GatewayService(servers[0].name, address_of(address), found, CHECK)
    return replace(made, **changes)  # type: ignore[arg-type]


async def _bring(gateway: Gateway, wanted: WantedGateway) -> None:
    assert (await gateway.reach(wanted, WITHIN)).is_done


async def _bring_all(gateway: Gateway, wanted: WantedGateway) -> None:
    """With the ports, which any program of this machine may have for a moment."""
    async with asyncio.timeout(WITHIN):
        while not (await gateway.step(wanted)).is_done or gateway.taken:
            await asyncio.sleep(0.02)


async def _raw(port: int, *lines: str) -> str:
    """What is answered to a request that is written by hand."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
    try:
        return (await reader.read(-1)).decode("latin-1")
    finally:
        writer.transport.abort()


def _whose(said: str) -> str:
    """Who answered: a replica's name, else the status."""
    status, _, rest = said.partition("\r\n")
    body = rest.partition("\r\n\r\n")[2]
    return body.split("\n")[0] if " 200 " in status else status.split(" ")[1]


@contextlib.contextmanager
def _taken(address: str = "127.0.0.1") -> Iterator[str]:
    """A port at which another program listens; HAProxy would share it with one of its own user."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((address, 0))
        other.listen()
        yield str(other.getsockname()[1])


async def test_each_request_finds_its_service_or_none(
    gateway: Gateway, replicas: list[Replica]
) -> None:
    entry, own = GatewayEntry(port=free_port()), free_port()
    one, two, three = replicas
    services = (_service(NAME, one), _service(f":{own}", two), _service("/three/", three))
    await _bring(gateway, WantedGateway(entry, services))
    port = entry.port

    async def at(*lines: str) -> str:
        return _whose(await _raw(port, *lines))

    for host in (NAME, f"{NAME}:{port}", NAME.upper(), f"{NAME}.", f"{NAME}.:{port}", f"\t{NAME} "):
        assert await at("GET /three/ HTTP/1.1", f"Host: {host}") == "one", host
    for host in (f"x.{NAME}", "lab.example", f"{NAME}x", "localhost", "", f"{NAME}-"):
        assert await at("GET / HTTP/1.1", f"Host: {host}") == "404", host
        assert await at("GET /three/ HTTP/1.1", f"Host: {host}") == "three", host
    assert await at("GET / HTTP/1.0") == "404"
    # What could mean two hosts is refused: a service would see another one than was looked at.
    for lines in (
        ("GET / HTTP/1.1", f"Host: b.example, {NAME}"), ("GET / HTTP/1.1", f"Host: {NAME}/b"),
        ("GET / HTTP/1.1", f"Host: b@{NAME}"),
        ("GET / HTTP/1.1", "Host: b.example", f"Host: {NAME}"),
        ("GET / HTTP/1.1", f"Host: {NAME}", "Host: b.example"),
        (f"GET http://{NAME}/ HTTP/1.1", "Host: b.example"),
        ("GET http://b.example/ HTTP/1.1", f"Host: {NAME}"),
    ):  # fmt: skip
        assert await at(*lines) == "400", lines
    assert await at(f"GET http://{NAME}/x HTTP/1.1", f"Host: {NAME}") == "one"
    # A service sees the path as it was asked for, and the host.
    line, hostile = "GET /three/../%2e/x?y=/z HTTP/1.1", "X-Forwarded-Prefix: /three"
    said = await _raw(port, line, f"Host: {NAME}:{port}", hostile)
    assert "\nGET /three/../%2e/x?y=/z HTTP/1.1" in said
    assert f"host: {NAME}:{port}\r\n" in said.lower()
    assert "x-forwarded-prefix" not in said.lower()
    # Each request of one connection is looked at: what the one before asked for is forgotten.
    several = [f"GET /{n} HTTP/1.1\r\n{host}\r\n" for n, host in enumerate(
        (f"Host: {NAME}\r\n", "", "Host: b.example\r\n", f"Host: {NAME}\r\n"))]  # fmt: skip
    said = await _raw(port, "".join(several) + "GET /4 HTTP/1.1", "Host: b.example")
    assert [part.split(" ")[0] for part in said.split("HTTP/1.1 ")[1:] if part[3] == " "] == [
        "200", "404", "404", "200", "404",
    ]  # fmt: skip
    # A port is one service's, whatever is asked for there.
    for host, path in ((NAME, "/"), ("b.example", "/three/"), ("", "/one/")):
        assert _whose(await _raw(own, f"GET {path} HTTP/1.1", f"Host: {host}")) == "two"
    for where in (port, own):  # in a tunnel a client could name itself
        said = await _raw(where, f"CONNECT {NAME}:80 HTTP/1.1", f"Host: {NAME}:80")
        assert _whose(said) == "405"


async def test_a_token_is_good_at_the_address_of_its_service_only(
    gateway: Gateway, replicas: list[Replica]
) -> None:
    entry, own = GatewayEntry(port=free_port(), tokens=True), free_port()
    one, two, three = replicas
    services = (_service(NAME, one), _service(f":{own}", two), _service("/three/", three))
    tokens = [
        GatewayToken(f"t{n}", "ana", hashlib.sha256(name.encode()).hexdigest(), (name,), 2**39)
        for n, name in enumerate(("one", "two", "three"))
    ]
    await _bring(gateway, WantedGateway(entry, services, tuple(tokens)))
    for name, port, host, path in (
        ("one", entry.port, NAME, "/"), ("two", own, NAME, "/"),
        ("three", entry.port, "x", "/three/"),
    ):  # fmt: skip
        assert (await ask(port, path, host=host))[0] == 401
        for token in ("one", "two", "three"):
            status, said = await ask(port, path, f"Authorization: Bearer {token}\r\n", host=host)
            assert status == (200 if token == name else 403), (name, token)
            assert ("x-hostler-user: ana\r\n" in said) == (token == name)


async def test_nobody_answers_and_browsers_stay_at_each_kind_of_address(
    gateway: Gateway, replicas: list[Replica]
) -> None:
    entry, own = GatewayEntry(port=free_port()), free_port()
    one, two, _ = replicas
    named = _service(NAME, one, two, name="at-name", sticky=True)
    ported = _service(f":{own}", one, two, name="at-port", sticky=True)
    await _bring(gateway, WantedGateway(entry, (named, ported)))
    places = {"at-name": (entry.port, NAME), "at-port": (own, "x")}
    for port, host in places.values():
        said = (await ask(port, "/", host=host))[1]
        cookie = said.partition("set-cookie: ")[2].partition(";")[0]
        again = [await ask(port, "/", f"Cookie: {cookie}\r\n", host=host) for _ in range(4)]
        assert len({_whose(each[1]) for each in again}) == 1
    # Its servers stay as they are where only the address changes, and are gone then.
    await _bring(gateway, WantedGateway(entry, (replace(named, address=address_of("/n")), ported)))
    assert (await ask(entry.port, "/n/", host=NAME))[0] == 200
    assert (await ask(entry.port, "/", host=NAME))[0] == 404
    empty = [replace(each, replicas=()) for each in (named, ported)]
    await _bring(gateway, WantedGateway(entry, tuple(empty)))
    for port, host in places.values():
        status, said = await ask(port, "/", host=host)
        assert (status, "retry-after: 5\r\n" in said) == (503, True)
    async with asyncio.timeout(WITHIN):
        while True:
            servers = (await gateway.counts()).servers
            if all(servers.get((name, NOBODY), Traffic()).requests for name in places):
                break
            await asyncio.sleep(0.02)
    for name in places:
        met = [traffic for key, traffic in servers.items() if key[0] == name and key[1] != NOBODY]
        assert sum(traffic.requests for traffic in met) >= 5
        assert all(traffic.percentile(0.5) is not None for traffic in met)


async def test_a_taken_port_is_one_services_trouble(
    gateway: Gateway, replicas: list[Replica]
) -> None:
    entry, (one, two, three) = GatewayEntry(port=free_port()), replicas
    wanted = WantedGateway(entry, (_service("/one/", one),))
    await _bring(gateway, wanted)
    with _taken() as own:
        more = replace(wanted, services=(*wanted.services, _service(f":{own}", two)))
        await _bring(gateway, more)
        assert gateway.taken == {int(own): f"port {own} on here is used by another program"}
        # Its replicas are checked and known, so that a release of it goes on.
        state = await gateway.look()
        assert state is not None
        assert state.servers["two", "two"].is_up
        # Others come and go meanwhile; and so the gateway itself, which begins with nothing.
        services = (*more.services, _service(NAME, three))
        await _bring(gateway, replace(more, services=services))
        assert _whose((await ask(entry.port, "/", host=NAME))[1]) == "three"
        await gateway.stop()
        await _bring(gateway, more)
        assert (await ask(entry.port, "/one/"))[0] == 200
        assert int(own) in gateway.taken
    await _bring_all(gateway, more)
    assert _whose((await ask(int(own), "/"))[1]) == "two"
    # The port passes to another service, at once or after a while.
    for service in (_service(f":{own}", three), _service("/x/", one), _service(f":{own}", one)):
        await _bring_all(gateway, replace(wanted, services=(service,)))
    assert _whose((await ask(int(own), "/"))[1]) == "one"


async def test_a_port_that_is_taken_after_it_was_tried_is_left_alone_then(
    gateway: Gateway, replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, (one, two, _) = GatewayEntry(port=free_port()), replicas
    with _taken() as own:
        call, asked = gateway.link.call, 0

        async def late(verb: str, *args: object) -> object:
            nonlocal asked
            if verb == "gateway.ports" and not asked:
                asked += 1
                return {"taken": []}
            return await call(verb, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(gateway.link, "call", late)
        wanted = WantedGateway(entry, (_service("/one/", one), _service(f":{own}", two)))
        with pytest.raises(EngineError, match=f"{own} for two"):
            await gateway.step(wanted)
        assert "cannot listen" in gateway.taken[int(own)]
        await _bring(gateway, wanted)
        assert (await ask(entry.port, "/one/"))[0] == 200


async def _by_http2(port: int, trust: Path, *headers: tuple[str, str]) -> str:
    """The body of what is answered to a request whose headers are as they are given. To CONNECT
    something is sent, and one answer to that is waited for."""

    def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
        begin = len(data).to_bytes(3, "big") + bytes((kind, flags))
        return begin + stream.to_bytes(4, "big") + data

    def field(text: str) -> bytes:
        return bytes((len(text),)) + text.encode()

    context = ssl.create_default_context(cafile=str(trust))
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    head = b"".join(b"\0" + field(name) + field(value) for name, value in headers)
    is_tunnel = headers[0][1] == "CONNECT"
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(_SETTINGS, 0, 0))
    writer.write(frame(_HEADERS, 4 if is_tunnel else 5, 1, head))
    body = b""
    try:
        async with asyncio.timeout(WITHIN):
            while True:
                begun = await reader.readexactly(9)
                data = await reader.readexactly(int.from_bytes(begun[:3], "big"))
                body += data if begun[3] == _DATA else b""
                is_over = begun[3] in (_DATA, _HEADERS) and begun[4] & 1
                if is_over or begun[3] in (_RESET, _GO_AWAY) or body == b"hello":
                    return body.decode()
                if begun[3] == _HEADERS and is_tunnel:
                    writer.write(frame(_DATA, 0, 1, b"hello"))
    except asyncio.IncompleteReadError:
        return body.decode()
    finally:
        writer.transport.abort()


_DATA, _HEADERS, _RESET, _SETTINGS, _GO_AWAY = 0, 1, 3, 4, 7


async def test_http2_finds_its_service_too(gateway: Gateway, replicas: list[Replica]) -> None:
    trust = Path(await _folder(gateway)) / "lab.pem"
    haproxy.certificate(trust)
    entry, own = GatewayEntry(port=free_port(), tls_cert=str(trust)), free_port()
    one, two, _ = replicas
    services = (_service(NAME, one), _service(f":{own}", two))
    await _bring(gateway, WantedGateway(entry, services))

    async def at(port: int, method: str, *more: tuple[str, str]) -> str:
        first = (":method", method), (":scheme", "https"), (":path", "/upgrade/x")
        return await _by_http2(port, trust, *first, *more)

    def get(*more: tuple[str, str]) -> Awaitable[str]:
        first = (":method", "GET"), (":scheme", "https"), (":path", "/")
        return _by_http2(entry.port, trust, *first, *more)

    for host in (NAME, f"{NAME.upper()}:{entry.port}", f"{NAME}."):
        assert (await get((":authority", host))).startswith("one\n"), host
    for more in (
        [(":authority", "b.example")], [(":authority", f"{NAME}, b.example")],
        [(":authority", "b.example"), ("host", NAME)], [(":authority", f"b@{NAME}")], [],
    ):  # fmt: skip
        assert not (await get(*more)).startswith("one\n"), more
    # A WebSocket by HTTP/2 is a CONNECT of its own kind, which passes; a plain one does not.
    for port in (entry.port, own):
        more = [(":protocol", "websocket"), (":authority", NAME), ("sec-websocket-version", "13")]
        assert await at(port, "CONNECT", *more) == "hello"
        plain = (":method", "CONNECT"), (":authority", f"{NAME}:{port}")
        assert await _by_http2(port, trust, *plain) in ("", "no service is reached by CONNECT")


async def _folder(gateway: Gateway) -> str:
    answer = await gateway.link.call("gateway.put", {"gateway": DAEMON})
    return str(answer["folder"])


async def test_as_many_services_as_there_may_be(gateway: Gateway) -> None:
    entry = GatewayEntry(port=free_port())
    services = tuple(
        GatewayService(f"s{n}", address_of(f"/s{n}" if n % 2 else f"s{n}.lab.example"))
        for n in range(200)
    )
    await _bring(gateway, WantedGateway(entry, services))
    assert (await ask(entry.port, "/s199/"))[0] == 503
    assert (await ask(entry.port, "/", host="s198.lab.example"))[0] == 503
    assert (await ask(entry.port, "/s200/"))[0] == 404
