"""Replicas on another host that end, behind a real HAProxy and the real forwarder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from hostler.model import gateway as model
from hostler.model.gateway import GatewayCheck, GatewayEntry, Through, WantedGateway
from tests.core.gateway.test_real_haproxy import WITHIN, Here, _service, here, replicas
from tests.support.machines import haproxy, sshd
from tests.support.machines.haproxy import Load, Replica, ask, free_port
from tests.support.machines.sshd import Sshd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.programs,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
    pytest.mark.skipif(not sshd.can_run(), reason=sshd.WHY_NOT),
]
__all__ = ("here", "replicas")
SELDOM = GatewayCheck("/health", every=1.0)
"""The forwarder has to notice what ends; no check does so soon."""


@pytest_asyncio.fixture(loop_scope="module")
async def far(here: Here, replicas: list[Replica]) -> AsyncIterator[WantedGateway]:
    """A gateway with two replicas on another host."""
    server = Sshd(here.folder / "sshd").start()
    server.user_key.chmod(0o644)  # for the user without rights, whose it is not
    known = here.folder / "known_hosts"
    known.write_text(server.known_line)
    await replicas[1].start()
    options = (f"UserKnownHostsFile={known}", f"IdentityFile={server.user_key}")
    words = [word for option in (*options, "IdentitiesOnly=yes") for word in ("-o", option)]
    through = Through("gpu2", (*words, "-l", "root", "-p", str(server.port), "127.0.0.1"))
    servers = tuple(model.Replica(each.name, each.address, through=through) for each in replicas)
    service = replace(_service("far", *replicas), replicas=servers, check=SELDOM)
    wanted = WantedGateway(GatewayEntry(port=free_port()), (service,))
    try:
        assert (await here.gateway.reach(wanted, WITHIN)).is_done
        yield wanted
    finally:
        await here.gateway.reach(WantedGateway(GatewayEntry(port=free_port())), WITHIN)
        server.stop()


async def test_a_replica_that_ends_costs_no_request_and_the_last_one_leaves_503(
    here: Here, replicas: list[Replica], far: WantedGateway
) -> None:
    port = far.entry.port
    load = Load(port, "/far/x")
    await load.more(20)
    await replicas[0].stop()
    await load.more(100)
    assert load.failed == []
    await load.stop()
    # Without any other: never 502, from the first request on.
    await replicas[1].stop()
    answers = [await ask(port, "/far/x") for _ in range(30)]
    assert {status for status, _ in answers} == {503}
    assert all("retry-after: 5\r\n" in said for _, said in answers)
    # It comes back by itself.
    await replicas[1].start()
    await _until(port, 200)


async def test_what_may_not_be_sent_twice_is_sent_once(
    replicas: list[Replica], far: WantedGateway
) -> None:
    """A replica ends while it works at a request that may change something."""
    port, before = far.entry.port, [each.requests for each in replicas]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /far/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
    for each in replicas:
        each.dies = True
    writer.write(f"{head}x".encode())
    said = await reader.read(-1)
    writer.close()
    assert said.startswith(b"HTTP/1.1 502 ")
    assert b"ended before it answered" in said
    assert [each.requests for each in replicas] in (
        [before[0] + 1, before[1]], [before[0], before[1] + 1]
    )  # fmt: skip
    # One that may is sent to each that there is, and is no error of the service's own.
    assert (await ask(port, "/far/x"))[0] == 503
    assert sum(each.requests for each in replicas) - sum(before) > 2


async def test_the_end_of_one_that_has_no_health_request_is_noticed_too(
    here: Here, replicas: list[Replica], far: WantedGateway
) -> None:
    (service,) = far.services
    plain = replace(service, check=GatewayCheck(every=0.1))
    assert (await here.gateway.reach(replace(far, services=(plain,)), WITHIN)).is_done
    await replicas[0].stop()
    await here.until(lambda state: not state.servers["far", "first"].is_up)
    assert (await ask(far.entry.port, "/far/x"))[0] == 200


async def test_a_forwarder_that_is_killed_comes_back_without_the_daemon(
    here: Here, far: WantedGateway
) -> None:
    before = _forwarder(here.folder)
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(WITHIN):
        while _forwarder(here.folder) in (0, before):
            await asyncio.sleep(0.05)
    seen = await _until(far.entry.port, 200)
    assert seen.keys() <= {200, 503}  # never an error of the gateway's own
    # It ends with what it is for.
    await here.gateway.reach(WantedGateway(far.entry), WITHIN)
    assert _forwarder(here.folder) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
async def test_another_user_of_its_host_reaches_nothing_of_it_but_its_port(
    here: Here, far: WantedGateway
) -> None:
    await here.gateway.counts()  # somebody reads its log
    here.folder.chmod(0o755)  # as /var/tmp is: what lies in it protects itself
    pids = _pids(here.folder)
    assert len(pids) >= 4  # HAProxy's master and worker, the forwarder, its ssh
    ports, names = _listening(pids)
    assert ports == {("0100007F", far.entry.port)}
    assert not any(each.startswith("@") for each in names)
    sockets = {str(each) for each in (here.folder / "b").rglob("*") if each.is_socket()}
    names = {Path(each).name for each in sockets}
    assert {"control.sock", "log.sock"} < names
    assert len(names) >= 5  # and ssh's own, and those of two replicas
    found = await asyncio.create_subprocess_exec(
        "setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", "/usr/bin/python3", "-c",
        _STRANGER, str(here.folder / "b"), *map(str, pids), "--", *sorted(sockets),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await found.communicate()
    assert said.decode().split() == []
    # The login itself reaches all of them: only rights keep others out.
    own = await asyncio.create_subprocess_exec(
        "setpriv", f"--reuid={haproxy.NOBODY}", f"--regid={haproxy.NOBODY}", "--clear-groups",
        "/usr/bin/python3", "-c", _STRANGER, str(here.folder / "b"), "--", *sorted(sockets),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await own.communicate()
    assert {Path(each).name for each in said.decode().split()} >= {"gateway", *names}


_STRANGER = """
import os, socket, sys
folder, *rest = sys.argv[1:]
pids, sockets = rest[:rest.index("--")], rest[rest.index("--") + 1:]
def may(what, *words):
    try:
        what(*words)
    except OSError:
        return False
    return True
print(*(f for f in [folder, folder + "/gateway", folder + "/jobs"] if may(os.listdir, f)))
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    print(*(s for s in sockets if may(socket.socket(socket.AF_UNIX, kind).connect, s)))
for pid in pids:
    print(*(f for f in ("environ", "mem") if may(open, f"/proc/{pid}/{f}")))
    print(*(["fd"] if may(os.listdir, f"/proc/{pid}/fd") else []))
    print(*(["kill"] if may(os.kill, int(pid), 0) else []))
"""
"""Prints what it can do."""


def _pids(folder: Path) -> list[int]:
    """Processes of this gateway: the agent, which reads its log, those under a shim, and theirs."""
    mark, found = f"={folder}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def _listening(pids: list[int]) -> tuple[set[tuple[str, int]], set[str]]:
    """Addresses and ports, and Unix sockets by the names that they were made with, at which these
    take connections. "@": known to everybody, in no folder."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # a process may end meanwhile, and close its sockets
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    link = os.readlink(f"/proc/{pid}/fd/{name}")
                    inodes.add(link.removeprefix("socket:[").removesuffix("]"))
    ports = set()
    for name in ("tcp", "tcp6"):
        for row in map(str.split, Path(f"/proc/net/{name}").read_text().splitlines()[1:]):
            if row[3] == "0A" and row[9] in inodes:
                address, port = row[1].split(":")
                ports.add((address, int(port, 16)))
    rows = [r.split() for r in Path("/proc/net/unix").read_text().splitlines()[1:]]
    accepting = [r for r in rows if int(r[3], 16) & 0x10000 and r[6] in inodes]
    return ports, {r[7] if len(r) > 7 else "@" for r in accepting}


def _forwarder(folder: Path) -> int:
    """Its process, if there is one."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"/forwarder.py\0" in words and str(folder).encode() in words:
            return int(entry.name)
    return 0


async def _until(port: int, status: int) -> Counter[int]:
    """All answers until that one."""
    seen: Counter[int] = Counter()
    async with asyncio.timeout(WITHIN):
        while not seen[status]:
            seen[(await ask(port, "/far/x"))[0]] += 1
            await asyncio.sleep(0.02)
    return seen
