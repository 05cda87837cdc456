"""The proxy before dockerd: what it takes down, and that it changes nothing on the way."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from tests.chaos.dockerproxy import Connection, Record, named


@pytest.mark.parametrize(
    ("request_line", "call"),
    [
        (b"POST /v1.45/containers/create?name=hostler-a-1&x=2 HTTP/1.1", ("create", "hostler-a-1")),
        (b"POST /containers/abc/start HTTP/1.1", ("start", "abc")),
        (b"POST /v1.45/containers/abc/kill?signal=SIGTERM HTTP/1.1", ("kill", "abc")),
        (b"DELETE /v1.45/containers/abc?v=1 HTTP/1.1", ("remove", "abc")),
        (b"GET /containers/abc/json HTTP/1.1", None),
        (b"POST /v1.45/containers/abc/wait HTTP/1.1", None),
        (b"\x00 bytes of an archive", None),
    ],
)
def test_calls_that_change_containers_are_recognised(
    request_line: bytes, call: tuple[str, str] | None
) -> None:
    assert named(request_line + b"\r\n") == call


def recorded(tmp_path: Path, request: bytes, answer: bytes, *, reads: bool) -> list[object]:
    """What is taken down of one exchange, in which a client that `reads` gets every byte."""
    behind, record = tmp_path / "behind", tmp_path / "record"
    with socket.socket(socket.AF_UNIX) as dockerd:
        dockerd.bind(str(behind))
        dockerd.listen()
        client, near = socket.socketpair()
        one = Connection(near, str(behind), Record(str(record), "gpu1"))
        passing = threading.Thread(target=one.run)
        passing.start()
        client.sendall(request)
        server, _ = dockerd.accept()
        with server:
            assert server.recv(65536) == request
            if not reads:
                client.close()
            server.sendall(answer)
        if reads:
            with client:
                assert client.makefile("rb").read() == answer
        passing.join(10)
    lines = record.read_text().splitlines() if record.exists() else []
    return [[json.loads(line)[key] for key in ("what", "name", "status")] for line in lines]


@pytest.mark.parametrize("reads", [True, False], ids=["told", "killed meanwhile"])
def test_a_call_is_taken_down_with_its_answer(tmp_path: Path, reads: bool) -> None:
    request = b"POST /containers/abc/start HTTP/1.1\r\n\r\n"
    found = recorded(tmp_path, request, b"HTTP/1.1 204 No Content\r\n\r\n" + b"\0" * 9, reads=reads)
    assert found == [["start", "abc", 204]]


def test_a_call_without_an_answer_is_taken_down_as_such(tmp_path: Path) -> None:
    request = b"POST /containers/abc/start HTTP/1.1\r\n\r\n"
    assert recorded(tmp_path, request, b"", reads=True) == [["start", "abc", 0]]
