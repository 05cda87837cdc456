"""What the client does, step by step and without a daemon."""

from __future__ import annotations

import asyncio
import socket

import pytest

from hostler.base.errors import HostlerError, NoDaemonError
from hostler.client import AsyncClient, Client, calls
from hostler.client.exchange import ask
from hostler.client.flow import Flow, Io, Line, Local, Open, Receive, Send, Step
from hostler.model.views.daemon import DaemonView
from hostler.quick.socket import Found

FOUND = Found("/nowhere/x.sock", "flag")
ANSWER = b'HTTP/1.1 200 X\r\ncontent-length: 16\r\n\r\n{"version": "1"'


def asked() -> tuple[Io[DaemonView], Step]:
    """A call up to the step that sends it."""
    work = ask(calls.version())
    step = next(work)
    assert isinstance(step, Open)
    step.line.begin(FOUND, 5.0)
    return work, work.send(b"")


def test_a_call_is_steps_that_a_transport_carries_out() -> None:
    work, step = asked()
    assert isinstance(step, Send)
    assert step.data.startswith(b"GET /v1/version HTTP/1.1\r\n")
    step = work.send(b"")
    for begin in range(0, len(ANSWER), 7):
        assert isinstance(step, Receive)
        assert step.line.timeout == 5.0
        step = work.send(ANSWER[begin : begin + 7])
    with pytest.raises(StopIteration) as end:
        work.send(b"}")
    assert end.value.value == DaemonView(version="1")


def test_an_answer_that_came_before_the_request_was_read_is_heard() -> None:
    work, _ = asked()
    step = work.throw(BrokenPipeError())
    assert isinstance(step, Receive)
    with pytest.raises(HostlerError, match="status 413"):
        work.send(b"HTTP/1.1 413 X\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(("answer", "why"), [(b"", "was lost"), (b"nonsense\r\n\r\n", "not HTTP")])
def test_a_daemon_that_goes_away_is_told(answer: bytes, why: str) -> None:
    work, _ = asked()
    work.send(b"")
    with pytest.raises(NoDaemonError, match=why):
        work.send(answer)


@pytest.mark.parametrize("usual", [0.5, 600.0])
def test_a_change_may_take_longer_than_a_question(usual: float) -> None:
    line = Line(least=60.0)
    line.begin(FOUND, usual)
    assert line.timeout == max(60.0, usual)


def test_an_interruption_ends_the_connection() -> None:
    ours, theirs = socket.socketpair()

    def interrupted(client: object) -> None:
        raise KeyboardInterrupt

    def flow() -> Flow[None]:
        line = Line(connection=ours)
        try:
            yield Local(interrupted)
        finally:
            line.close()

    with pytest.raises(KeyboardInterrupt):
        list(Client(found=FOUND).each(flow()))
    assert theirs.recv(1) == b""
    theirs.close()


def test_a_cancelled_call_ends_its_connection() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def waiting() -> Io[bytes]:
        line = Line(found=FOUND, connection=ours)
        try:
            return (yield Receive(line))
        finally:
            line.close()

    async def main() -> None:
        task = asyncio.create_task(AsyncClient(found=FOUND).carry_out(waiting()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert theirs.recv(1) == b""
    theirs.close()
