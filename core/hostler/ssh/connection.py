"""Opens one authenticated SSH connection to a host, through at most 8 jump hosts: the order of
ciphers and host keys, no passwords, no forwarded agent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncssh

from hostler.base.errors import Refused
from hostler.model.timings import DEFAULT, SshTimings
from hostler.ssh.config import Resolved, resolve
from hostler.ssh.faults import Login, lost_reason, mapped_login
from hostler.ssh.keys import Keyring, Offer, gather_keys
from hostler.ssh.known_hosts import load_known_hosts, stamp
from hostler.ssh.reconnects import JUMP_PREFIX, Connects
from hostler.ssh.target import SshSettings, SshTarget

_MAX_HOPS = 8
_HOST_KEYS = "+ssh-ed25519,ecdsa-sha2-nistp*,rsa-sha2-*"
"""Added after the known key types of a host: so a host that changed to a key of another type is
reported as changed, and the handshake does not fail for another reason."""
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Placed before other ciphers, because processors have instructions for them. Logs arrive as many
small packets; each costs half as much time as with asyncssh's first choice, on both sides."""


@dataclass(slots=True)
class Connection:
    """An open connection. `lost` is done once the connection is closed or lost; its result is the
    reason, for people."""

    raw: asyncssh.SSHClientConnection
    found: Resolved
    lost: asyncio.Future[str]
    hop: tuple[str, ...] = ()

    async def close(self) -> None:
        """Close the connection; takes at most a second, even if the other side does not answer."""
        self.raw.abort()
        try:
            async with asyncio.timeout(1.0):
                await self.raw.wait_closed()
        except TimeoutError:
            return


class Dialler:
    """Opens connections for a whole process; hosts behind the same jump host share its
    connection."""

    def __init__(
        self,
        settings: SshSettings,
        connects: Connects | None = None,
        timings: SshTimings = DEFAULT.ssh,
    ) -> None:
        self.settings = settings
        self.timings = timings
        self.connects = connects or Connects(timings=timings)
        self._hops: dict[tuple[str, ...], _Hop] = {}

    async def dial(self, target: SshTarget) -> Connection:
        """Connect and log in, when it is this host's turn. Raises Unreachable or Refused.

        After a Refused, the host is not tried again until the facts behind it have changed.
        """
        return await self.connects.attempt(
            target.name,
            lambda: self.dial_now(target),
            lambda refused: self._evidence(target, refused),
        )

    async def dial_now(self, target: SshTarget) -> Connection:
        """Like `dial`, without waiting for a turn."""
        found = resolve(target, self.settings)
        return await self._dial_through(target, found, found.jumps)

    async def hang_up(self, connection: Connection) -> None:
        """Close a connection, and that of its jump host if no other host uses it."""
        await connection.close()
        await self.give_back(connection.hop)

    async def borrow_hop(self, host: str, jumps: tuple[str, ...]) -> Connection | None:
        """The connection to the last of these jump hosts; the caller gives it back. None: there are
        no jump hosts."""
        if not jumps:
            return None
        hop = self._hops.get(jumps)
        if hop is None or hop.dead:
            hop = self._hops[jumps] = _Hop(asyncio.ensure_future(self._dial_hop(jumps)))
        hop.users += 1
        try:
            return await asyncio.shield(hop.task)
        except BaseException as error:
            await self._let_go(jumps, hop)
            if isinstance(error, Refused):
                raise Refused(host, error.message, remedy=error.remedy) from error
            raise

    async def give_back(self, jumps: tuple[str, ...]) -> None:
        """Return a borrowed connection to a jump host."""
        hop = self._hops.get(jumps)
        if hop is not None:
            await self._let_go(jumps, hop)

    async def _dial_through(
        self, target: SshTarget, found: Resolved, jumps: tuple[str, ...]
    ) -> Connection:
        if len(jumps) > _MAX_HOPS:
            raise Refused(target.name, "ProxyJump forms a loop", remedy="correct it in ssh_config")
        hop = await self.borrow_hop(target.name, jumps)
        try:
            async with self.connects.gate(f"{found.hostname}:{found.port}"):
                connection = await _log_in(target, found, self.settings, hop)
        except BaseException:
            await self.give_back(jumps)
            raise
        connection.hop = jumps
        return connection

    async def _dial_hop(self, jumps: tuple[str, ...]) -> Connection:
        target = _hop_target(jumps[-1])
        found = resolve(target, self.settings)
        before = jumps[:-1] or found.jumps
        if jumps[-1] in before:
            raise Refused(target.name, "ProxyJump forms a loop", remedy="correct it in ssh_config")
        return await self.connects.attempt(
            target.name,
            lambda: self._dial_through(target, found, before),
            lambda refused: self._evidence(target, refused),
        )

    async def _let_go(self, jumps: tuple[str, ...], hop: _Hop) -> None:
        hop.users -= 1
        if hop.users > 0:
            return
        if self._hops.get(jumps) is hop:
            del self._hops[jumps]
        if not hop.task.done():
            hop.task.cancel()
        elif not hop.task.cancelled() and hop.task.exception() is None:
            await self.hang_up(hop.task.result())

    def _evidence(self, target: SshTarget, refused: Refused) -> object:
        """The facts that must change before a refused host is tried again."""
        config = stamp(self.settings.config_files)
        try:
            found = resolve(target, self.settings)
        except Refused:
            return config
        if isinstance(
            refused.__cause__, asyncssh.HostKeyNotVerifiable | asyncssh.KeyExchangeFailed
        ):
            return config, stamp(found.known_hosts)
        return config, found.agent, stamp(found.identity_files)


class _Hop:
    """A shared connection to a jump host, or the attempt to open one."""

    def __init__(self, task: asyncio.Task[Connection]) -> None:
        self.task = task
        self.users = 0
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def dead(self) -> bool:
        """Whether it can no longer be used for new work."""
        if not self.task.done():
            return False
        if self.task.cancelled() or self.task.exception() is not None:
            return True
        return self.task.result().lost.done()


class _Client(asyncssh.SSHClient):
    """Reports the progress of a login, enforces its deadline, and accepts no key by itself."""

    def __init__(
        self,
        login: Login,
        clock: asyncio.Timeout,
        ends: float,
        settings: SshSettings,
        named: bool,
    ) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ring: Keyring | None = None
        self._login, self._clock, self._ends = login, clock, ends
        self._settings, self._named = settings, named

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """The TCP connection is open: greeting and host key follow."""
        self._step("exchanging keys")

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Called for keys that are not in known_hosts: stores the key for the error message, and
        refuses it."""
        self._login.offered_key = key
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """The same for the certificate authority that signed a host certificate."""
        return False

    def begin_auth(self, username: str) -> None:
        """The host's identity is confirmed: the login follows."""
        self._step("logging in")

    async def public_key_auth_requested(self) -> Sequence[Offer] | None:
        """All keys at the first call, no keys at later calls."""
        if self.ring is not None:
            return None
        self.ring = await gather_keys(self._login.found, self._named)
        self._login.keys, self._login.remarks = self.ring.names, self.ring.remarks
        return self.ring.offers

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed or lost."""
        silence = self._settings.keepalive * (self._settings.keepalive_count + 1)
        if not self.lost.done():
            self.lost.set_result(lost_reason(exc, silence))

    def _step(self, doing: str) -> None:
        self._login.doing, self._login.deadline = doing, self._settings.connect_timeout
        self._clock.reschedule(self._ends)


async def _log_in(
    target: SshTarget, found: Resolved, settings: SshSettings, hop: Connection | None
) -> Connection:
    login = Login(target.name, found, via=hop.found.login if hop else "")
    login.deadline = settings.tcp_timeout
    now = asyncio.get_running_loop().time()
    ends = now + settings.connect_timeout
    named = found.identity_files != settings.default_keys
    clients: list[_Client] = []
    with mapped_login(login):
        try:
            async with asyncio.timeout_at(now + settings.tcp_timeout) as clock:

                def client() -> _Client:
                    clients.append(_Client(login, clock, ends, settings, named))
                    return clients[-1]

                raw = await _connect(target, found, settings, hop, client)
        finally:
            for made in clients:
                if made.ring is not None:
                    made.ring.close()
    return Connection(raw, found, clients[-1].lost)


def _connect(
    target: SshTarget,
    found: Resolved,
    settings: SshSettings,
    hop: Connection | None,
    client: Callable[[], asyncssh.SSHClient],
) -> Awaitable[asyncssh.SSHClientConnection]:
    """Connect with asyncssh. All options that ssh_config could weaken are set: host keys are
    checked (asyncssh's default and `UserKnownHostsFile none` would not), nothing is forwarded,
    passwords are not used, and asyncssh never opens a jump host itself, because it would check it
    by its defaults."""
    return asyncssh.connect(
        target.destination,
        port=target.port if target.port is not None else (),
        username=target.user if target.user is not None else (),
        config=list(found.config_files),
        known_hosts=load_known_hosts(found.known_hosts).trusted,
        server_host_key_algs=() if found.host_key_algorithms else _HOST_KEYS,
        encryption_algs=() if found.ciphers else _CIPHERS,
        client_factory=client,
        tunnel=hop.raw if hop else None,
        proxy_command=None if target.jump is not None else (),
        client_keys=None,
        x509_trusted_certs=None,
        password_auth=False,
        kbdint_auth=False,
        gss_delegate_creds=False,
        agent_forwarding=False,
        x11_forwarding=False,
        request_pty=False,
        env=None,
        send_env=None,
        encoding=None,
        connect_timeout=None,
        login_timeout=0,  # the deadline around the call uses the configured time
        keepalive_interval=settings.keepalive,
        keepalive_count_max=settings.keepalive_count,
    )


def _hop_target(text: str) -> SshTarget:
    user, _, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if not colon or not port.isdigit() or host.endswith(":"):
        host, port = rest, ""
    return SshTarget(
        name=f"{JUMP_PREFIX}{text}",
        address=host.strip("[]"),
        user=user or None,
        port=int(port) if port else None,
    )
