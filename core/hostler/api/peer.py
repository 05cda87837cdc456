"""Who calls (the kernel's answer for the Unix socket, SO_PEERCRED), and the protocol that drops
a connection when connection_limits.py says so."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import State
from uvicorn.protocols.http.h11_impl import H11Protocol

from hostler.api.answers import service_of
from hostler.api.connection_limits import Peer, admit, is_late
from hostler.api.limits import is_stream
from hostler.model.calls import Call, Caller
from hostler.model.timings import ApiTimings

_STRANGERS_PIECE = 1024
_PIECE = 64 * 1024
"""Bytes read at a time, of users not authorised so far and of others: to parse a body in chunks of
one byte takes a hundred times as long as to parse it in one piece."""
_UCRED = struct.Struct("3i")


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with the `Peer` in `request.state.peer`. Connections of peers that
    are idle, do not read, or are unauthorised are closed, see `connection_limits`."""

    peer: Peer
    _tick: asyncio.TimerHandle
    _unread = 0
    _is_dropped = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read SO_PEERCRED once, when the connection is accepted, and apply the connection
        limits."""
        now = self.loop.time()
        self.peer = Peer(_peer_uid(transport.get_extra_info("socket")), since=now, moved=now)
        for other in admit(self.peer, self._guests, self._others(), now, self._times):
            other._drop()
        self.app_state = {**self.app_state, "peer": self.peer}
        self._tick = self.loop.call_later(self._times.tick, self._look)
        super().connection_made(transport)
        self._set_piece()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching the connection."""
        self._tick.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, and note the time if one is under way."""
        self._set_piece()
        super().data_received(data)
        self._note_request()
        if self.peer.is_asking and not self.peer.let_in:
            self.flow.pause_reading()  # until whoever is let in is asked for the body
        if self.peer.is_asking:  # a request that never gets whole is none
            self.peer.moved = self.loop.time()

    def on_response_complete(self) -> None:
        """An answer is complete; the connection of an unauthorised user is closed after it."""
        self.peer.is_asking, self.peer.moved = False, self.loop.time()
        if not self.peer.let_in:
            self.transport.close()
        super().on_response_complete()
        self._note_request()  # the next one may have been here already

    def _set_piece(self) -> None:
        size = _PIECE if self.peer.let_in else _STRANGERS_PIECE
        self.transport.max_size = size  # type: ignore[attr-defined]  # asyncio's, of every socket

    def _drop(self) -> None:
        # Not `close`: that waits for the peer to read, and its descriptor with it.
        self._is_dropped = True
        self.transport.abort()

    def _others(self) -> list[PeerProtocol]:
        return [
            other
            for other in self.connections
            if isinstance(other, PeerProtocol) and not other._is_dropped
        ]

    @property
    def _state(self) -> State:
        state: State = self.config.app.state  # type: ignore[union-attr]
        return state

    @property
    def _guests(self) -> set[int]:
        guests: set[int] = self._state.guests
        return guests

    @property
    def _times(self) -> ApiTimings:
        times: ApiTimings = self._state.times()
        return times

    def _note_request(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            return
        path = str(self.scope["path"])
        self.peer.is_asking = self.peer.asked_before = True
        self.peer.is_streaming = is_stream(path)

    def _look(self) -> None:
        """Check whether the peer is still active; repeated until the connection ends."""
        now = self.loop.time()
        unread, asking = self.transport.get_write_buffer_size(), self.peer.is_asking
        waits_for_body = asking and self.cycle.more_body and not self.flow.read_paused
        self.peer.is_stuck = self.flow.write_paused or waits_for_body
        if unread != self._unread or (asking and not self.peer.is_stuck):
            self._unread, self.peer.moved = unread, now
        if is_late(self.peer, now, self._times):
            self._drop()
            return
        self._tick = self.loop.call_later(self._times.tick, self._look)


def _peer_uid(peer: socket.socket) -> int:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, _gid = _UCRED.unpack(raw)
    return int(uid)


async def caller_of(request: Request) -> Caller:
    """The caller, whom the door has authorised. A coroutine, as `may_look` is: FastAPI hands a
    plain function to a thread, for each request."""
    caller: Caller = request.state.caller
    return caller


Who = Annotated[Caller, Depends(caller_of)]
"""In the parameters of a route: the caller."""


async def may_look(request: Request) -> None:
    """Every route checks this first; routes that change state check more, see
    `daemon/rights.py`."""
    service_of(request).authorize(await caller_of(request), Call.LOOK)
