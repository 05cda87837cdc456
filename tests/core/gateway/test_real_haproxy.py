"""A real HAProxy without rights, under the shim, through the agent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from hostler.base.errors import EngineError, Unreachable
from hostler.gateway.control import Gateway
from hostler.gateway.states import GatewayState
from hostler.gateway.steps import Steps
from hostler.link.agent_link import AgentLink
from hostler.model import gateway as model
from hostler.model.addresses import AddressKind, ServiceAddress
from hostler.model.gateway import (
    GatewayCheck,
    GatewayEntry,
    GatewayService,
    GatewayToken,
    WantedGateway,
)
from hostler.model.timings import GatewayTimings
from hostler.model.traffic import Traffic
from tests.support.machines import haproxy
from tests.support.machines.haproxy import Load, Replica, ask, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.programs,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
]
DAEMON = "d" * 32
CHECK = GatewayCheck("/health", every=0.1)
WITHIN = 30.0


@dataclass(frozen=True)
class Here:
    """A gateway, its link and its folder."""

    link: AgentLink
    folder: Path
    gateway: Gateway

    async def until(self, condition: Callable[[GatewayState], bool]) -> GatewayState:
        """Its state, once that is so."""
        async with asyncio.timeout(WITHIN):
            while True:
                state = await self.gateway.look(tokens=False)
                if state is not None and condition(state):
                    return state
                await asyncio.sleep(0.02)

    async def waits(self, wanted: WantedGateway) -> Steps:
        """What is left once all is done but what has to happen by itself."""
        async with asyncio.timeout(WITHIN):
            while True:
                left = await self.gateway.step(wanted)
                assert not left.is_done
                if left.waits and not left.commands:
                    return left
                await asyncio.sleep(0.02)

    @property
    def pid(self) -> int:
        """Of HAProxy's master."""
        journal = self.folder / "b" / "jobs" / self.gateway.job_id / "journal"
        events = [json.loads(line) for line in journal.read_text().split("\n") if line]
        return int(next(event["pid"] for event in events if event["event"] == "started"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here() -> AsyncIterator[Here]:
    """One for all tests; each of them says anew what it is to serve."""
    with haproxy.folder_of_nobody() as folder:
        async with haproxy.linked(folder, DAEMON) as link:
            gateway = Gateway(link, DAEMON, timings=GatewayTimings(poll=0.02))
            try:
                yield Here(link, folder, gateway)
            finally:
                await gateway.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def replicas() -> AsyncIterator[list[Replica]]:
    """Two; the second does not listen yet."""
    made = [Replica("first"), Replica("second")]
    await made[0].start()
    yield made
    for each in made:
        await each.stop()


def _service(name: str = "digits", *servers: Replica, **changes: object) -> GatewayService:
    found = tuple(model.Replica(each.name, each.address) for each in servers)
    address = ServiceAddress(AddressKind.PATH, f"/{name}")
    return replace(GatewayService(name, address, found, CHECK), **changes)  # type: ignore[arg-type]


async def test_a_release_takes_over_without_a_lost_request(
    here: Here, replicas: list[Replica]
) -> None:
    entry, (first, second) = GatewayEntry(port=free_port()), replicas
    gateway = here.gateway

    def wanted(*services: GatewayService) -> WantedGateway:
        return WantedGateway(entry, services)

    assert (await gateway.reach(wanted(_service()), WITHIN)).is_done
    assert os.geteuid() != 0 or os.stat(f"/proc/{here.pid}").st_uid == haproxy.NOBODY
    status, said = await ask(entry.port, "/digits/x")
    assert (status, "retry-after: 5\r\n" in said) == (503, True)
    assert (await ask(entry.port, "/digit"))[0] == 404

    assert (await gateway.reach(wanted(_service("digits", first)), WITHIN)).is_done
    load = Load(entry.port, "/digits/x")
    await load.more(20)
    # Nothing listens yet: it is added, and gets no request.
    both = wanted(_service("digits", first, second))
    assert len((await here.waits(both)).waits) == 1
    await load.more(50)
    await second.start()
    assert (await gateway.reach(both, WITHIN)).is_done
    while not second.requests:
        await load.more(1)
    # A new service is a reload, which keeps the servers.
    more = wanted(_service("digits", first, second), _service("other", second))
    assert (await gateway.reach(more, WITHIN)).is_done
    await load.more(50)
    assert (await ask(entry.port, "/other/"))[1].split("\r\n\r\n")[1].startswith("second")
    # The first goes, drained before it is removed.
    rest = wanted(_service("digits", second), _service("other", second))
    assert (await gateway.reach(rest, WITHIN)).is_done
    seen = first.requests
    await load.more(50)
    await load.stop()
    assert (load.failed, first.requests) == ([], seen)
    state = await gateway.look(tokens=False)
    assert state is not None
    assert set(state.servers) == {("digits", "second"), ("other", "second")}


async def test_a_dead_replica_is_taken_out_and_comes_back(
    here: Here, replicas: list[Replica]
) -> None:
    entry, (first, second) = GatewayEntry(port=free_port()), replicas
    await second.start()
    wanted = WantedGateway(entry, (_service("digits", first, second),))
    assert (await here.gateway.reach(wanted, WITHIN)).is_done
    load = Load(entry.port, "/digits/x", people=2)
    await load.more(10)
    await first.stop()
    await here.until(lambda state: not state.servers["digits", "first"].is_up)
    second.healthy = False
    await here.until(lambda state: not state.servers["digits", "second"].is_up)
    await load.stop()
    assert (await ask(entry.port, "/digits/x"))[0] == 503
    second.healthy = True
    await first.start()
    await here.until(lambda state: all(each.is_up for each in state.servers.values()))
    assert (await ask(entry.port, "/digits/x"))[0] == 200
    assert (await here.gateway.step(wanted)).is_done


async def test_a_replica_behind_a_socket_stays_over_a_reload(
    here: Here, replicas: list[Replica]
) -> None:
    """As the forwarder to another host makes it."""
    entry, (_, far) = GatewayEntry(port=free_port()), replicas
    far.socket = here.folder / "far.sock"
    wanted = WantedGateway(entry, (_service("digits", far),))
    assert len((await here.waits(wanted)).waits) == 1
    await far.start()
    assert (await here.gateway.reach(wanted, WITHIN)).is_done
    load = Load(entry.port, "/digits/x")
    await load.more(20)
    assert (await here.gateway.reach(replace(wanted, services=(
        *wanted.services, _service("other", far))), WITHIN)).is_done  # fmt: skip
    await load.more(50)
    await load.stop()
    assert load.failed == []
    await far.stop()
    await here.until(lambda state: not state.servers["digits", "second"].is_up)
    assert (await here.gateway.reach(WantedGateway(entry), WITHIN)).is_done


def _token(token_id: str, text: str, *services: str, until: int = 4102444800) -> GatewayToken:
    return GatewayToken(
        token_id, "ana", hashlib.sha256(text.encode()).hexdigest(), services, until
    )  # fmt: skip


async def _stream(
    port: int, path: str, headers: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).split()[1] in (b"200", b"101")
    return reader, writer


WEBSOCKET = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def test_tokens(here: Here, replicas: list[Replica]) -> None:
    entry, first = GatewayEntry(port=free_port(), tokens=True), replicas[0]
    digits, other = _service("digits", first), _service("other", first)
    one, old = _token("t1", "hst_one", "digits"), _token("t3", "hst_old", "*", until=1_700_000_000)
    every = _token("t2", "hst_two", "*")
    gateway = here.gateway
    assert (await gateway.reach(WantedGateway(entry, (digits, other), (one, old)), WITHIN)).is_done
    port, mine, theirs = entry.port, "Authorization: Bearer hst_one\r\n", "Bearer hst_two\r\n"
    basic = base64.b64encode(b"anybody:hst_one").decode()

    async def status(path: str, headers: str) -> int:
        return (await ask(port, path, headers))[0]

    for headers, found in (
        ("", 401), (mine, 200), (f"authorization: basic {basic}\r\n", 200),
        ("Authorization: Bearer hst_old\r\n", 401), ("Authorization: Bearer \r\n", 401),
        ("Authorization: " + theirs, 401), (f"Authorization: Bearer {one.digest}\r\n", 401),
    ):  # fmt: skip
        assert await status("/digits/x", headers) == found, headers
    assert await status("/other/x", mine) == 403
    hostile = "".join(
        f"{name}: root\r\n"
        for name in (
            "X-Hostler-User",
            "x_hostler_user",
            "X.Hostler~User",
            "X_FORWARDED_FOR",
            "Proxy",
        )
    )
    said = (await ask(port, "/digits/x", f"{mine}{hostile}Connection: x-hostler-user\r\n"))[1]
    assert "x-hostler-user: ana\r\n" in said
    assert "root" not in said
    # Nor does a service send browsers elsewhere with what they ask of others at this address.
    assert "alt-svc" not in said.lower()
    assert "hst_one" not in said
    # Through another protocol they would name themselves: a replica sees no wish for one.
    for asked in ("h2c", "TLS/1.0, websocket2"):
        hostile = f"{mine}Upgrade: {asked}\r\n"
        said = (await ask(port, "/digits/x", f"{hostile}Connection: upgrade\r\n"))[1]
        assert "upgrade" not in said.lower(), asked

    assert (
        await gateway.reach(WantedGateway(entry, (digits, other), (one, every)), WITHIN)
    ).is_done
    assert await status("/other/x", "Authorization: " + theirs) == 200
    before = [
        await _stream(port, "/digits/stream", mine),
        await _stream(port, "/digits/upgrade", mine + WEBSOCKET),
    ]
    before[1][1].write(b"hello")
    assert await before[1][0].readexactly(5) == b"hello"
    kept = await _stream(port, "/digits/stream", "Authorization: " + theirs)
    more = WantedGateway(entry, (digits, other, _service("third")), (one, every))
    assert (await gateway.reach(more, WITHIN)).is_done
    # These streams are another process's now.
    state = await gateway.look()
    assert state is not None
    assert state.old_workers
    after = await _stream(port, "/digits/stream", mine)
    await gateway.revoke(one)
    assert await status("/digits/x", mine) == 401
    async with asyncio.timeout(WITHIN):
        for reader, writer in (*before, after):
            while await reader.read(1000):
                pass
            writer.close()
    assert await kept[0].readexactly(500)
    # And without it being said to the running one: the next step does the same.
    assert (await gateway.reach(replace(more, tokens=()), WITHIN)).is_done
    async with asyncio.timeout(WITHIN):
        while await kept[0].read(1000):
            pass
    kept[1].close()


async def test_no_request_passes_whose_stream_could_not_be_closed(
    here: Here, replicas: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostler.gateway.text.STREAMS", "1")
    entry, headers = (
        GatewayEntry(port=free_port(), tokens=True),
        "Authorization: Bearer hst_one\r\n",
    )
    token = _token("t1", "hst_one", "*")
    wanted = WantedGateway(entry, (_service("digits", replicas[0]),), (token,))
    assert (await here.gateway.reach(wanted, WITHIN)).is_done
    reader, writer = await _stream(entry.port, "/digits/stream", headers)
    status, said = await ask(entry.port, "/digits/x", headers)
    assert (status, "retry-after: 5" in said.lower()) == (503, True)
    await here.gateway.revoke(token)
    async with asyncio.timeout(WITHIN):
        while await reader.read(1000):
            pass
    writer.close()


async def test_a_silent_gateway_revokes_nothing(here: Here) -> None:
    entry = GatewayEntry(port=free_port(), tokens=True)
    token = _token("t1", "hst_one", "*")
    wanted = WantedGateway(entry, (_service(),), (token,))
    assert (await here.gateway.reach(wanted, WITHIN)).is_done
    impatient = Gateway(here.link, DAEMON, timings=GatewayTimings(answer=0.3, start=1))
    state = here.folder / "b" / "gateway" / DAEMON
    os.kill(here.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable, match="does not answer"):
            await impatient.revoke(token)
        with pytest.raises(Unreachable, match="does not answer"):
            await impatient.step(wanted)
    finally:
        os.kill(here.pid, signal.SIGCONT)
    await here.gateway.revoke(token)
    assert (state.stat().st_mode & 0o777, (state / "control.sock").stat().st_mode & 0o777) == (
        0o700, 0o600,
    )  # fmt: skip


async def test_hostile_text_of_a_check_arrives_as_it_is(
    here: Here, replicas: list[Replica]
) -> None:
    letters, first = "".join(map(chr, range(33, 127))), replicas[0]
    body, value = "a\nb\"'%[src] é #$HOME\\", "%[src]'\"; \\ " + letters
    headers = {f"x-{number}": "" for number in range(15)} | {
        "X-A'%b": value
    }  # as many as there may be
    check = GatewayCheck("/health?" + letters, "POST", body, headers, (200, 204), 0.1)
    wanted = WantedGateway(
        GatewayEntry(port=free_port()), (_service("digits", first, check=check),)
    )
    assert (await here.gateway.reach(wanted, WITHIN)).is_done
    line, got, sent = first.checks[-1]
    assert line == f"POST /health?{letters} HTTP/1.1"
    assert (got["x-a'%b"], got["x-0"], sent) == (value, "", body.encode())


async def test_addresses_limits_and_browsers_that_stay(here: Here, replicas: list[Replica]) -> None:
    entry, (first, second) = GatewayEntry(port=free_port()), replicas
    await second.start()
    own = str(free_port())
    services = (
        _service("named", first, address=ServiceAddress(AddressKind.HOST, "named.example.org")),
        _service("own", second, address=ServiceAddress(AddressKind.PORT, own), maxconn=1),
        _service("sticky", first, second, sticky=True),
    )
    assert (await here.gateway.reach(WantedGateway(entry, services), WITHIN)).is_done
    for host in ("named.example.org", "NAMED.example.org:8080"):
        assert (await ask(entry.port, "/a/b", host=host))[1].count("GET /a/b ") == 1
    assert (await ask(entry.port, "/a/b", host="named.example.org.evil"))[0] == 404
    assert "second" in (await ask(int(own), "/deep/path"))[1]
    said = (await ask(entry.port, "/sticky/a/../b"))[1]
    assert "GET /a/../b " in said
    cookie = said.partition("set-cookie: ")[2].partition(";")[0]
    again = {
        (await ask(entry.port, "/sticky/", f"Cookie: {cookie}\r\n"))[1].split("\r\n\r\n")[1][:6]
        for _ in range(6)
    }
    assert len(again) == 1


async def test_a_killed_gateway_is_started_again_and_a_running_one_is_found(
    here: Here, replicas: list[Replica]
) -> None:
    wanted = WantedGateway(GatewayEntry(port=free_port()), (_service("digits", replicas[0]),))
    assert (await here.gateway.reach(wanted, WITHIN)).is_done
    another = Gateway(here.link, DAEMON)  # as a daemon that was started again
    pid = here.pid
    assert (await another.step(wanted)).is_done
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(WITHIN):
        with contextlib.suppress(Unreachable):  # a connection that it had taken already
            while await here.gateway.look() is not None:
                await asyncio.sleep(0.02)
        while (await here.link.call("job.inspect", {"attempt_id": here.gateway.job_id}))[
            "workload"
        ]["running"]:
            await asyncio.sleep(0.02)
    assert (await another.reach(wanted, WITHIN)).is_done
    assert here.pid != pid
    assert (await ask(wanted.entry.port, "/digits/"))[0] == 200


async def test_tls(here: Here, replicas: list[Replica]) -> None:
    path = here.folder / "lab.pem"
    entry = GatewayEntry(port=free_port(), tls_cert=str(path), tokens=True)
    wanted = WantedGateway(entry, (_service("digits", replicas[0]),), (_token("t1", "x", "*"),))
    with pytest.raises(EngineError, match=r"lab\.pem"):
        await here.gateway.reach(wanted, WITHIN)
    haproxy.certificate(path)
    assert (await here.gateway.reach(wanted, WITHIN)).is_done
    trusting = ssl.create_default_context(cafile=str(path))
    reader, writer = await asyncio.open_connection("127.0.0.1", entry.port, ssl=trusting)
    head = (
        "GET /digits/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer x\r\n\r\n"
    )
    writer.write(head.encode())
    said = (await reader.read(-1)).decode()
    writer.close()
    assert said.startswith("HTTP/1.1 200")
    assert "x-forwarded-proto: https\r\n" in said
    assert (await ask(entry.port, "/digits/"))[0] != 200


async def test_its_log_is_counted(here: Here, replicas: list[Replica]) -> None:
    # A name of its own: lines of earlier requests may still be on their way.
    wanted = WantedGateway(GatewayEntry(port=free_port()), (_service("counted", replicas[0]),))
    assert (await here.gateway.reach(wanted, WITHIN)).is_done
    # None is lost while the agent does not get the processor.
    agent = int(next((here.folder / "b" / "notify").iterdir()).stem)
    os.kill(agent, signal.SIGSTOP)
    try:
        load = Load(wanted.entry.port, "/counted/")
        await load.more(100)
        await load.stop()
    finally:
        os.kill(agent, signal.SIGCONT)
    async with asyncio.timeout(WITHIN):
        while True:
            found = (await here.gateway.counts()).servers.get(("counted", "first"), Traffic())
            if found.requests == load.answered:
                break
            await asyncio.sleep(0.02)
    assert (found.failed, found.percentile(0.5) is not None) == (0, True)


async def test_no_haproxy_is_said_with_the_way_to_get_it(here: Here) -> None:
    await here.gateway.stop()
    for named in ("/bin/true", "/nowhere/haproxy"):
        gateway = Gateway(here.link, DAEMON, named)
        with pytest.raises(EngineError, match="dpkg -x"):
            await gateway.step(WantedGateway())
    await here.gateway.reach(WantedGateway(GatewayEntry(port=free_port())), WITHIN)
