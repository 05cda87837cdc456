"""The wanted state of a gateway (services, replicas, users), and the gateway's defaults: waiting in
the queue, time for an answer, checks of a replica.

A value of these classes is valid: each checks itself, so that no name, header or path that reaches
HAProxy's configuration can mean anything else there.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hostler.base.errors import InputError
from hostler.base.text import shown
from hostler.model.addresses import AddressKind, ServiceAddress, is_ip, is_port
from hostler_agent.forwards import SOCKETS

EVERY_SERVICE = "*"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,61}[a-z0-9])?")
_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_URL_PATH = re.compile(r"/[!-~]{0,2000}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_METHOD = re.compile(r"[A-Z]{1,10}")
_FILE = re.compile(r"(?:/[A-Za-z0-9_.+@=,-]+)+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOKEN_ID = re.compile(r"[a-z0-9]{1,32}")
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_LONGEST_SOCKET = 100
_LONGEST_BODY = 16 * 1024
_MOST_HEADERS = 16
"""Most headers of a check: HAProxy reads 64 words of a line, and refuses the whole configuration
otherwise."""


class ServerState(StrEnum):
    """Which traffic a replica gets."""

    READY = "ready"
    """Requests, once a check of the gateway succeeded."""
    DRAIN = "drain"
    """No new requests; open ones continue."""
    CUT = "cut"
    """Nothing: open requests are closed, and the replica is removed."""


@dataclass(frozen=True, slots=True)
class Through:
    """A host other than the gateway's."""

    host: str
    ssh: tuple[str, ...]
    """Arguments of `ssh`: options and, last, the destination."""

    def __post_init__(self) -> None:
        _require(self.ssh and all(self.ssh), self.ssh, "a way to a host")


@dataclass(frozen=True, slots=True)
class Replica:
    """One server. Its name is never reused: a new attempt is a new server."""

    name: str
    address: str
    """`127.0.0.1:8000`, `[::1]:8000`, or the path of a Unix socket."""
    state: ServerState = ServerState.READY
    weight: int = 100
    through: Through | None = None
    """The host whose loopback `address` means, if the gateway reaches it by SSH."""

    def __post_init__(self) -> None:
        _require(_SERVER.fullmatch(self.name), self.name, "the name of a replica")
        _require(_is_endpoint(self.address), self.address, "the address of a replica")
        _require(1 <= self.weight <= 256, self.weight, "a weight from 1 to 256")


@dataclass(frozen=True, slots=True)
class GatewayCheck:
    """How the gateway finds out whether a replica answers."""

    path: str | None = None
    """None: an accepted connection is enough."""
    method: str = "GET"
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: tuple[int, ...] = ()
    """Status codes of a good answer; empty: 200 to 299."""
    every: float = 0.5
    timeout: float = 2.0
    fall: int = 2
    """After so many failed checks in a row a replica gets no requests."""

    def __post_init__(self) -> None:
        if self.path is not None:
            _require(_URL_PATH.fullmatch(self.path), self.path, "the path of a check")
        _require(_METHOD.fullmatch(self.method), self.method, "a method of HTTP")
        fits = len(self.body.encode("utf-8", "replace")) <= _LONGEST_BODY and "\0" not in self.body
        _require(fits, self.body[:40], "the body of a check (at most 16 KiB, without NUL)")
        most = f"a number of headers that a gateway can send with a check (at most {_MOST_HEADERS})"
        _require(len(self.headers) <= _MOST_HEADERS, len(self.headers), most)
        _refuse_twice("header", (name.lower() for name in self.headers))
        for name, value in self.headers.items():
            _require(_HEADER.fullmatch(name), name, "the name of a header")
            good = len(value) <= 1000 and value.isascii() and (not value or value.isprintable())
            _require(good, value, "the value of a header (one line in ASCII)")
        _require(all(100 <= code <= 599 for code in self.status), self.status, "states of HTTP")
        _require(0.1 <= self.every <= 3600, self.every, "a pause from 0.1 to 3600 seconds")
        _require(0.1 <= self.timeout <= 3600, self.timeout, "a time from 0.1 to 3600 seconds")
        _require(1 <= self.fall <= 100, self.fall, "a number of checks from 1 to 100")


@dataclass(frozen=True, slots=True)
class GatewayService:
    """One service at the gateway."""

    name: str
    address: ServiceAddress
    replicas: tuple[Replica, ...] = ()
    check: GatewayCheck = field(default_factory=GatewayCheck)
    maxconn: int = 0
    """Requests that a replica gets at once; more wait for it. 0: no limit."""
    sticky: bool = False
    """Whether a browser stays with its replica."""
    answer_within: float = 600.0
    """Seconds without a byte of an answer until the request is cut."""
    queue_for: float = 30.0
    retry_after: int = 5
    """The answer when no replica serves: try again after so many seconds."""
    is_shut: bool = False
    """The gateway does not listen at its port: another program does. Everything else is as
    usual."""

    def __post_init__(self) -> None:
        _require(_NAME.fullmatch(self.name), self.name, "the name of a service")
        _require(0 <= self.maxconn <= 100_000, self.maxconn, "a limit from 0 to 100000")
        _require(1 <= self.answer_within <= 86400, self.answer_within, "a time within a day")
        _require(1 <= self.queue_for <= 86400, self.queue_for, "a time within a day")
        _require(1 <= self.retry_after <= 86400, self.retry_after, "a time within a day")
        _refuse_twice(f"replica of {self.name}", (each.name for each in self.replicas))


@dataclass(frozen=True, slots=True)
class GatewayToken:
    """A token's owner, services and end. The token itself is not stored."""

    token_id: str
    owner: str
    digest: str
    """SHA-256 (hex) of the token."""
    services: tuple[str, ...]
    until: int
    """Seconds since the epoch: the gateway itself refuses it from then on."""
    owners: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Service -> uid: the token is not valid for another user's service of that name."""

    def __post_init__(self) -> None:
        _require(_TOKEN_ID.fullmatch(self.token_id), self.token_id, "the id of a token")
        _require(_OWNER.fullmatch(self.owner), self.owner, "a user whom a gateway can name")
        _require(_DIGEST.fullmatch(self.digest), self.digest, "a SHA-256 digest")
        _require(self.services, self.services, "a list of services")
        for name in self.services:
            good = name == EVERY_SERVICE or _NAME.fullmatch(name)
            _require(good, name, "the name of a service")
        _require(0 < self.until < 2**40, self.until, "a time")


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    """Where the gateway listens."""

    bind: tuple[str, ...] = ("127.0.0.1",)
    """IP addresses."""
    port: int = 8080
    tls_cert: str | None = None
    """A file on the gateway's host with certificate, chain and key."""
    tokens: bool = False
    """Whether a request needs a token."""
    insecure: bool = False
    """Whether it may listen for other machines without TLS or tokens."""

    def __post_init__(self) -> None:
        _require(self.bind, self.bind, "a list of addresses")
        for address in self.bind:
            _require(is_ip(address), address, "an IP address to listen at")
        _require(is_port(str(self.port)), self.port, "a port from 1024 to 65535")
        if self.tls_cert is not None:
            _require(is_plain_file(self.tls_cert), self.tls_cert, "the path of a certificate")
        if self.is_open and not self.insecure and not (self.tls_cert and self.tokens):
            raise InputError(
                f"the gateway listens at {', '.join(self.bind)} for other machines without "
                + ("tokens" if self.tls_cert else "TLS"),
                remedy="name a certificate and use tokens, listen at 127.0.0.1, or say "
                "insecure = true",
            )

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it."""
        return not all(ipaddress.ip_address(address).is_loopback for address in self.bind)


@dataclass(frozen=True, slots=True)
class WantedGateway:
    """Everything that a gateway has to serve."""

    entry: GatewayEntry = field(default_factory=GatewayEntry)
    services: tuple[GatewayService, ...] = ()
    tokens: tuple[GatewayToken, ...] = ()

    def __post_init__(self) -> None:
        _refuse_twice("service", (service.name for service in self.services))
        _refuse_twice("token", (token.token_id for token in self.tokens))
        _refuse_twice("token's digest", (token.digest for token in self.tokens))
        _refuse_overlap(self.services)
        own = ServiceAddress(AddressKind.PORT, str(self.entry.port))
        if any(service.address == own for service in self.services):
            raise InputError(
                f"port {self.entry.port} is the gateway's own",
                remedy="give the service another port, or a path",
            )


@dataclass(frozen=True, slots=True)
class GatewayFolder:
    """The folder of a gateway on its host, which only its login can enter."""

    path: str

    def __post_init__(self) -> None:
        if not is_plain_file(self.path) or len(self.path) > _LONGEST_SOCKET - len("/control.sock"):
            raise InputError(
                f"the gateway cannot live in {shown(self.path)}: its sockets need a path of less "
                "than 88 plain letters",
                remedy="set HOSTLER_FOLDER on that host to a shorter one",
            )

    @property
    def config(self) -> str:
        """HAProxy's configuration."""
        return f"{self.path}/haproxy.cfg"

    @property
    def control(self) -> str:
        """The socket of HAProxy's master, which passes commands on to its workers."""
        return f"{self.path}/control.sock"

    @property
    def log(self) -> str:
        """The socket where lines of the log arrive."""
        return f"{self.path}/log.sock"

    @property
    def tokens(self) -> str:
        """The map from a token's digest to its id, owner and end."""
        return f"{self.path}/tokens.map"

    @property
    def grants(self) -> str:
        """The map from tokens to the services that they may use."""
        return f"{self.path}/grants.map"

    def socket(self, replica: str) -> str:
        """The socket that leads to a replica on another host."""
        return f"{self.path}/{SOCKETS}/{socket_name(replica)}"

    @property
    def states(self) -> str:
        """The state of servers, for the next worker."""
        return f"{self.path}/states"


def socket_name(replica: str) -> str:
    """The name of the socket that leads to a replica on another host. It is short, because paths of
    sockets have to be."""
    return hashlib.sha256(replica.encode()).hexdigest()[:10]


def is_plain_file(value: str) -> bool:
    """Whether a text is an absolute path that needs no quotes anywhere."""
    parts = value.split("/")
    return bool(_FILE.fullmatch(value)) and len(value) <= 1000 and not {".", ".."} & set(parts)


def _is_endpoint(value: str) -> bool:
    if value.startswith("/"):
        return is_plain_file(value) and len(value) <= _LONGEST_SOCKET
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    has_port = re.fullmatch(r"[1-9][0-9]{0,4}", port) is not None and int(port) <= 65535
    return has_port and is_ip(bare) and (":" in bare) == (bare != host)


def _require(good: object, value: object, what: str) -> None:
    if not good:
        raise InputError(f"{shown(str(value))} is not {what}")


def _refuse_twice(what: str, values: Iterable[str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise InputError(f"{what} {twice[0]} is named twice", remedy="give each one of its own")


def _refuse_overlap(services: Iterable[GatewayService]) -> None:
    """No request may be for two services. In sorted order, paths below a path follow it."""
    keys = sorted((each.address.kind, f"{each.address.value}/", each.name) for each in services)
    for (kind, one, name), (other_kind, two, other) in itertools.pairwise(keys):
        if kind is other_kind and two.startswith(one):
            raise InputError(
                f"{name} and {other} overlap at the address {one[:-1]}",
                remedy="give each one of its own",
            )
