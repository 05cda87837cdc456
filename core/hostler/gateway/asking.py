"""Requests to HAProxy's runtime socket that need several lines: what a gateway serves, its workers,
closing of streams."""

from __future__ import annotations

from hostler.gateway import states
from hostler.gateway.runtime_socket import RuntimeSocket
from hostler.gateway.states import GatewayState
from hostler.model.gateway import GatewayFolder


async def look_at(socket: RuntimeSocket, folder: GatewayFolder, *, tokens: bool) -> GatewayState:
    """The state of a running gateway. Raises HostError."""
    info = states.read_info(await socket.ask_worker("show info"))
    statistics = await socket.ask_worker("show stat")
    servers, queues = states.read_servers(statistics)
    drained = states.read_drained(await socket.ask_worker("show servers state"))
    workers = states.read_workers(await socket.ask("show proc"))
    known, grants = {}, frozenset[str]()
    if tokens:
        known = states.read_map(await socket.ask_worker(f"show map {folder.tokens}"))
        grants = frozenset(states.read_map(await socket.ask_worker(f"show map {folder.grants}")))
    return GatewayState(
        structure=info.get("description", ""),
        version=info.get("version", ""),
        servers=servers,
        queues=queues,
        ports=states.read_ports(statistics),
        drained=drained,
        tokens=known,
        grants=grants,
        old_workers=workers,
    )


async def workers_of(socket: RuntimeSocket) -> tuple[int | None, ...]:
    """Workers from before a reload come first; None is the worker that accepts connections."""
    return (*states.read_workers(await socket.ask("show proc")), None)


async def cut_log(socket: RuntimeSocket, pid: int | None) -> None:
    """Close the streams of a worker to the reader of its log."""
    for session in states.log_sessions_of(await socket.ask_worker("show sess", pid)):
        await socket.ask_worker(f"shutdown session {session}", pid)


async def close_streams(socket: RuntimeSocket, token_ids: set[str], pid: int | None) -> None:
    """Close the open streams of a worker that use one of these tokens."""
    said = await socket.ask_worker("show table streams data.conn_cur gt 0", pid)
    peers = [peer for peer, token_id in states.read_streams(said) if token_id in token_ids]
    if not peers:
        return
    sessions = await socket.ask_worker("show sess", pid)
    for session in states.sessions_of(sessions, peers):
        await socket.ask_worker(f"shutdown session {session}", pid)
