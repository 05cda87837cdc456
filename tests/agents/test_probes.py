"""How the agent asks a service whether it is healthy, against servers that are hostile or slow."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hostler_agent.json_values import Message
from hostler_agent.probed import Probed
from hostler_agent.probes import Prober, ask, other_listener

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handle = Callable[[socket.socket, bytes], None]


@contextmanager
def serving(handle: Handle) -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback; its port, and the requests that it got."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    data = connection.recv(65536)
                    asked.append(data)
                    with suppress(OSError):
                        handle(connection, data)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1], asked
        finally:
            server.shutdown(socket.SHUT_RDWR)


def answering(data: bytes) -> Handle:
    """Sends this and closes."""
    return lambda connection, _asked: connection.sendall(data)


HTTP: Message = {"path": "/health", "method": "GET", "timeout": 0.5}


def test_a_request_and_its_good_answer() -> None:
    asked: Message = {
        **HTTP, "method": "POST", "body": "{}", "headers": {"X-A": "b", "host": "model"},
    }  # fmt: skip
    with serving(answering(OK)) as (port, requests):
        assert ask(port, asked, os.getuid()) is None
    head, _, body = requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /health HTTP/1.1"
    assert {b"X-A: b", b"host: model", b"Content-Length: 2", b"Connection: close"} <= {*lines}
    assert not any(line.startswith(b"Host:") for line in lines)
    assert body == b"{}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\n", "HTTP status 503"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "HTTP status 302"),
        (b"SSH-2.0-OpenSSH\r\n", "its answer is not HTTP/1.1"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "its answer is not HTTP/1.1"),
        (b"x" * 200_000, "its answer is not HTTP/1.1"),
        (b"", "it closed the connection without an answer"),
    ],
)
def test_a_bad_answer_is_told_and_no_redirect_followed(answer: bytes, said: str) -> None:
    with serving(answering(answer)) as (port, requests):
        assert ask(port, HTTP, None) == said
        assert len(requests) == 1


def test_a_status_that_was_asked_for_is_good() -> None:
    with serving(answering(b"HTTP/1.1 401 No\r\n\r\n")) as (port, _):
        assert ask(port, {**HTTP, "status": [200, 401]}, None) is None


def test_a_server_that_drips_is_not_waited_for() -> None:
    def drip(connection: socket.socket, _asked: bytes) -> None:
        for byte in b"HTTP/1.1 200 OK" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    with serving(drip) as (port, _):
        begun = time.monotonic()
        assert ask(port, {**HTTP, "timeout": 0.3}, None) == "no answer in 0.3 s"
        assert time.monotonic() - begun < 60  # the whole answer would take twelve minutes


def test_an_answer_without_end_is_good_by_its_status_and_not_read_for_ever() -> None:
    def flood(connection: socket.socket, _asked: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with serving(flood) as (port, _):
        assert ask(port, HTTP, None) is None


def test_tcp_is_an_accepted_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ask(port, {"timeout": 1.0}, os.getuid()) is None
    assert ask(port, {"timeout": 1.0}, None) == f"nothing listens on port {port}"


def test_a_port_of_another_user_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
        "   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001 0 7\n"
        "   1: 0100007F:4E21 00000000:0000 01 00000000:00000000 00:00000000 00000000  1002 0 7\n"
    )
    assert other_listener(20000, 1000, str(tmp_path)) == 1001
    assert other_listener(20000, 1001, str(tmp_path)) is None
    assert other_listener(20001, 1000, str(tmp_path)) is None
    with serving(answering(OK)) as (port, requests):
        said = ask(port, HTTP, os.getuid() + 1)
        assert said == f"port {port} is used by another user of the host (uid {os.getuid()})"
        assert requests == []


def _table(*listeners: tuple[str, int]) -> str:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    rest = "00000000:0000 0A 00000000:00000000 00:00000000 00000000"
    return head + "".join(f"   0: {at}:4E20 {rest}  {uid} 0 7\n" for at, uid in listeners)


LOOPBACK_4, OTHER_4, ANY_4 = "0100007F", "0200007F", "00000000"
MAPPED_6, LOOPBACK_6, ANY_6 = "0000000000000000FFFF00000100007F", "0" * 24 + "01000000", "0" * 32


@pytest.mark.skipif(sys.byteorder != "little", reason="the addresses are of such a machine")
@pytest.mark.parametrize(
    ("tcp", "tcp6", "other"),
    [
        # Anybody may listen at other addresses, without getting a request of the replica's.
        ([(LOOPBACK_4, 1000), (OTHER_4, 1001)], [(LOOPBACK_6, 1001)], None),
        ([(LOOPBACK_4, 1000)], [(ANY_6, 1001)], None),
        ([(ANY_4, 1000)], [(ANY_6, 1001)], None),
        ([(OTHER_4, 1001)], [(LOOPBACK_6, 1001)], None),
        ([(LOOPBACK_4, 1001)], [(ANY_6, 1000)], 1001),
        ([(ANY_4, 1001)], [], 1001),
        ([], [(ANY_6, 1001)], 1001),
        ([], [(MAPPED_6, 1001)], 1001),
        ([], [(ANY_6, 1000)], None),
    ],
)
def test_only_who_gets_the_requests_counts(
    tcp: list[tuple[str, int]], tcp6: list[tuple[str, int]], other: int | None, tmp_path: Path
) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(_table(*tcp))
    (tmp_path / "net" / "tcp6").write_text(_table(*tcp6))
    assert other_listener(20000, 1000, str(tmp_path)) == other


def test_a_listener_at_another_loopback_address_stops_no_check() -> None:
    with serving(answering(OK)) as (port, _requests), socket.socket() as beside:
        beside.bind(("127.0.0.2", port))
        beside.listen()
        assert other_listener(port, os.getuid()) is None
        assert other_listener(port, os.getuid() + 1) == os.getuid()


def test_a_prober_warms_up_once_and_notes_when_it_turned() -> None:
    answers = {b"/warm": OK, b"/health": OK}

    def answer(connection: socket.socket, asked: bytes) -> None:
        connection.sendall(answers[asked.split(b" ")[1]])

    with serving(answer) as (port, requests):
        spec: Message = {"health": {**HTTP, "every": 0.1}, "warmup": {**HTTP, "path": "/warm"}}
        one = Probed("a-1", "d", "ref", port, spec, None)
        prober = Prober()
        assert not prober.rows([one])[0].ok

        def until(ok: bool) -> None:
            deadline = time.monotonic() + 60
            while prober.rows([one])[0].ok is not ok:
                assert time.monotonic() < deadline
                time.sleep(0.01)

        until(True)
        answers[b"/health"] = b"HTTP/1.1 500 No\r\n\r\n"
        since = prober.rows([one])[0].since
        until(False)
        row = prober.rows([one])[0]
        assert (row.said, row.since >= since) == ("HTTP status 500", True)
        assert sum(r.startswith(b"GET /warm ") for r in requests) == 1
        assert prober.rows([]) == []
