"""The blocking transport of the client (`Client`); aio.py is the asyncio one."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import TypeVar

from hostler.base.errors import NoDaemonError
from hostler.client.api import Api
from hostler.client.flow import (
    Blocking,
    Emit,
    Flow,
    Line,
    Local,
    Open,
    Pause,
    Receive,
    Revive,
    Send,
    Step,
)
from hostler.quick.socket import connect

T = TypeVar("T")
BLOCK = 262144
"""Bytes to receive at once."""


class Client(Api, Blocking):
    """A client of the daemon. Safe to use from several threads: each call has its own connection.

    `socket_path` names the daemon's socket; without it the usual places are searched. `timeout` is
    in seconds, for calls that only read; `revive` is called if the daemon ends during a
    submission, before that is sent again. Every method raises NoDaemonError where no daemon
    answers, and else the error the daemon gave.
    """

    def each(self, flow: Flow[T]) -> Iterator[T]:
        """The values of a flow as they arrive."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Emit):
                    yield step.value
                    step = next(flow)
                    continue
                try:
                    answer = self._do(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration:
            return
        finally:
            flow.close()

    def _do(self, step: Step) -> bytes:
        if isinstance(step, Receive):
            return _ready(step.line).recv(BLOCK)
        if isinstance(step, Send):
            _ready(step.line).sendall(step.data)
        elif isinstance(step, Open):
            step.line.begin(self.found, self.timeout)
            step.line.connection = connect(self.found, step.line.timeout)
        elif isinstance(step, Local):
            step.function(self)
        elif isinstance(step, Pause):
            time.sleep(step.seconds)
        elif isinstance(step, Revive) and self.revive is not None:
            with contextlib.suppress(NoDaemonError):  # somebody else may start it
                self.revive()
        return b""


def _ready(line: Line) -> socket.socket:
    """The connection, with the time that the next step may take."""
    assert line.connection is not None
    if line.connection.gettimeout() != line.timeout:
        line.connection.settimeout(line.timeout)
    return line.connection
