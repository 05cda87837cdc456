"""Reads the state of a running gateway from HAProxy's answers: which servers are good, up,
draining, idle. Pure; what does not fit is left out.

Lines end with a line feed and nothing else. A replica chooses the reason of its HTTP status, which
`show stat` repeats: `str.splitlines` would take U+2028 in it for the end of a line, and what
follows for a row about somebody else's service.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hostler.gateway.text import backend_name
from hostler.model.addresses import is_port

_BACKEND = backend_name("")
_MAP_WORDS = 3
_MOST_LINES = 200_000


@dataclass(frozen=True, slots=True)
class Server:
    """A replica as HAProxy sees it."""

    address: str
    status: str
    """"UP", "DOWN", "DRAIN", "MAINT", or one of them with more text after it."""
    check: str = ""
    """How the last check ended, like "L7OK"."""
    check_code: int = 0
    sessions: int = 0
    queued: int = 0
    weight: int = 0
    maxconn: int = 0
    requests: int = 0
    failed: int = 0
    """Answers of 500 and above, and requests without any."""

    @property
    def is_good(self) -> bool:
        """Whether its last check found it healthy."""
        return self.check.startswith("L") and self.check.removesuffix("C").endswith("OK")

    @property
    def is_up(self) -> bool:
        """Whether it gets requests."""
        return self.status.startswith(("UP", "no check"))

    @property
    def is_draining(self) -> bool:
        """Whether it was set to accept no new requests."""
        return self.status.startswith(("DRAIN", "NOLB"))

    @property
    def is_in_maintenance(self) -> bool:
        """Whether it gets no requests and no checks."""
        return self.status.startswith("MAINT")

    @property
    def is_idle(self) -> bool:
        """Whether it has no open or waiting requests."""
        return self.sessions == 0 and self.queued == 0


ServerKey = tuple[str, str]
"""Service and replica."""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """A running gateway at one moment."""

    structure: str
    """The structure of the configuration that it was started with; see `text.structure`."""
    version: str = ""
    servers: Mapping[ServerKey, Server] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    """Requests of a service that wait for any of its replicas."""
    ports: frozenset[int] = frozenset()
    """Ports of services with their own ports at which it listens."""
    drained: frozenset[ServerKey] = frozenset()
    """Servers that were set to drain, even if they are down."""
    tokens: Mapping[str, str] = field(default_factory=dict)
    grants: frozenset[str] = frozenset()
    old_workers: tuple[int, ...] = ()
    """PIDs of workers from before the last reload, with streams that have not ended."""


def read_info(text: str) -> dict[str, str]:
    """`show info`."""
    pairs = (line.partition(": ") for line in _lines(text))
    return {name.lower(): value.strip() for name, between, value in pairs if between}


def read_servers(text: str) -> tuple[dict[ServerKey, Server], dict[str, int]]:
    """`show stat`: the servers, and the queues of services."""
    servers: dict[ServerKey, Server] = {}
    queues: dict[str, int] = {}
    lines = _lines(text.lstrip("# \n"))[:_MOST_LINES]
    for row in csv.DictReader(lines, restval=""):
        backend, name = row.get("pxname") or "", row.get("svname") or ""
        if not backend.startswith(_BACKEND):
            continue
        service = backend.removeprefix(_BACKEND)
        if name == "BACKEND":
            queues[service] = _number(row, "qcur")
        elif name != "FRONTEND":
            servers[service, name] = _server(row)
    return servers, queues


def read_ports(text: str) -> frozenset[int]:
    """`show stat`: the ports of services, by the names of frontends."""
    names = (line.partition(",FRONTEND,") for line in _lines(text)[:_MOST_LINES])
    parts = (name.split(".", 2) for name, between, _ in names if between)
    return frozenset(
        int(part[1]) for part in parts if len(part) == 3 and part[0] == "p" and is_port(part[1])
    )


def with_sessions(
    servers: Mapping[ServerKey, Server], old: Mapping[ServerKey, Server]
) -> dict[ServerKey, Server]:
    """Add the streams that a worker from before a reload has not ended."""
    return {
        key: replace(server, sessions=server.sessions + old[key].sessions) if key in old else server
        for key, server in servers.items()
    }


def read_drained(text: str) -> frozenset[ServerKey]:
    """`show servers state`: the servers that were set to drain."""
    rows = (line.split(" ") for line in _lines(text))
    return frozenset(
        (row[1].removeprefix(_BACKEND), row[3])
        for row in rows
        if len(row) > 6 and row[1].startswith(_BACKEND) and row[6].isdigit()
        if int(row[6]) & _DRAIN
    )


_DRAIN = 0x08 | 0x10
"""Bits of `srv_admin_state`: set directly, and inherited."""


def read_map(text: str) -> dict[str, str]:
    """`show map FILE`: keys and values."""
    rows = (line.split(" ", _MAP_WORDS - 1) for line in _lines(text)[:_MOST_LINES])
    return {row[1]: row[2] for row in rows if len(row) == _MAP_WORDS}


def read_workers(text: str) -> tuple[int, ...]:
    """`show proc`: the PIDs of workers from before the last reload."""
    old: list[int] = []
    part = ""
    for line in _lines(text):
        fields = line.split()
        if line.startswith("#"):
            part = line
        elif part == "# old workers" and len(fields) > 1 and fields[1] == "worker":
            old += [int(fields[0])] if fields[0].isdigit() else []
    return tuple(old)


def read_streams(text: str) -> list[tuple[str, str]]:
    """`show table streams`: the peers (address:port) that have streams now, with token ids."""
    found = []
    for line in _lines(text)[:_MOST_LINES]:
        fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
        peer, between, token_id = fields.get("key", "").rpartition("/")
        if between and fields.get("conn_cur", "0") != "0":
            found.append((peer, token_id))
    return found


def sessions_of(text: str, peers: Iterable[str]) -> list[str]:
    """`show sess`: the ids of the streams that these peers have."""
    wanted = {f"src={peer}" for peer in peers}
    lines = (line.split() for line in _lines(text))
    return [f[0].rstrip(":") for f in lines if f and f[0].startswith("0x") and wanted & set(f[:4])]


def log_sessions_of(text: str) -> list[str]:
    """`show sess`: the ids of the streams to the reader of the log, which have no client."""
    lines = (line.split() for line in _lines(text))
    return [f[0].rstrip(":") for f in lines if len(f) > 1 and f[1] == "proto=?"]


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _server(row: Mapping[str, str]) -> Server:
    return Server(
        address=row.get("addr") or "",
        status=row.get("status") or "",
        check=(row.get("check_status") or "").removeprefix("* "),
        check_code=_number(row, "check_code"),
        sessions=_number(row, "scur"),
        queued=_number(row, "qcur"),
        weight=_number(row, "uweight"),
        maxconn=_number(row, "slim"),
        requests=_number(row, "stot"),
        failed=_number(row, "hrsp_5xx") + _number(row, "econ"),
    )


def _number(row: Mapping[str, str], name: str) -> int:
    text = row.get(name) or "0"
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
