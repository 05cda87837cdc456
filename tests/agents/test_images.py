"""The agent's part in loading images: the archive that it composes, and the ports that it sees."""

from __future__ import annotations

import base64
import hashlib
import io
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler_agent import http, images, ports
from hostler_agent.folders import Folders, Refusal
from hostler_agent.http import Connection, HttpError
from hostler_agent.json_values import Message
from hostler_agent.wire import Frame


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(str(tmp_path / "h"))
    made.make()
    return made


def cached(folders: Folders, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    path = Path(folders.blob(digest))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


def inline(name: str, data: bytes) -> Message:
    return {"name": name, "data": base64.b64encode(data).decode()}


class Docker:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent = b""
        self.size: int | None = None
        self.closed = False

    def stream(self, method: str, path: str, size: int, body: Iterator[bytes]) -> Iterator[bytes]:
        assert (method, path) == ("POST", "/images/load?quiet=1")
        self.size = size
        self.sent = b"".join(body)
        yield b'{"stream":"Loaded"}\n'

    def close(self) -> None:
        self.closed = True


def load(folders: Folders, *frames: Frame) -> Docker:
    docker = Docker()
    images.load(frames, folders, docker)  # type: ignore[arg-type]
    return docker


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    found: list[bytes] = []
    monkeypatch.setattr(images, "send", found.append)
    return found


def test_the_archive_is_a_tar_of_what_was_asked_for(folders: Folders, said: list[bytes]) -> None:
    blob = bytes(range(256)) * 3000
    name = f"blobs/sha256/{cached(folders, blob)}"
    asked: Message = {"name": name, "digest": name[13:], "size": len(blob)}
    docker = load(folders, inline("oci-layout", b"{}"), inline("index.json", b""), asked, None)
    assert docker.size == len(docker.sent)
    with tarfile.open(fileobj=io.BytesIO(docker.sent)) as tar:
        found = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    assert found == {"oci-layout": b"{}", "index.json": b"", name: blob}
    assert b"Loaded" in said[0]
    assert b'"ok"' in said[-1]
    assert docker.closed


def test_a_size_of_8_gib_fits_into_the_header() -> None:
    entry = images.Entry("blobs/sha256/" + "a" * 64, 9 * 1024**3, b"", None)
    found = tarfile.TarInfo.frombuf(images._header(entry), "utf-8", "strict")
    assert (found.name, found.size) == (entry.name, entry.size)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (inline("../evil", b""), "is no file of an image"),
        (inline("blobs/sha256/../../x", b""), "is no file of an image"),
        ({"name": "index.json", "data": "!"}, "not in base64"),
        ({"name": "index.json", "digest": "../x", "size": 1}, "is not a SHA-256"),
        ({"name": "index.json", "digest": "0" * 64, "size": 1}, "no longer in the cache"),
        (b"bytes", "should be an object"),
    ],
)
def test_anything_else_is_refused(folders: Folders, frame: Frame, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        load(folders, frame, None)


def test_a_cut_list_is_not_loaded(folders: Folders) -> None:
    with pytest.raises(Refusal, match="was cut"):
        load(folders, inline("index.json", b""))


def test_a_blob_of_another_size_is_refused(folders: Folders) -> None:
    digest = cached(folders, b"four")
    asked: Message = {"name": f"blobs/sha256/{digest}", "digest": digest, "size": 5}
    with pytest.raises(Refusal, match="has 4 bytes, not 5"):
        load(folders, asked, None)


def test_too_many_files_are_refused(folders: Folders) -> None:
    with pytest.raises(Refusal, match="too many files"):
        load(folders, *([inline("index.json", b"")] * 513), None)


@pytest.mark.parametrize(
    ("family", "address", "shown"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "0.0.0.0"),
        (socket.AF_INET6, "::1", "::1"),
    ],
)
def test_where_a_port_is_listened_to(family: int, address: str, shown: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip("no such address here")
        server.listen()
        assert shown in ports.listening(server.getsockname()[1])


def test_a_proc_that_says_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    lines = ["sl local", "0: 0100007F:1F90 0:0 0A x", "1: 0100007F:1F90 0:0 01 x", "2: zz 0 0A", ""]
    (tmp_path / "net" / "tcp").write_text("\n".join(lines))
    assert ports.listening(0x1F90, str(tmp_path)) == ["127.0.0.1"]


def test_a_docker_that_refuses_before_it_has_read_all_is_heard(tmp_path: Path) -> None:
    """Its disk is full, say. What it says is the cause, and not that it cut the connection."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        connection = Connection(str(tmp_path / "s"), 10.0)
        docker, _ = server.accept()
        body = b'{"message": "write /x: no space left on device"}'
        docker.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        docker.close()
        with pytest.raises(HttpError, match="no space left") as raised:
            list(connection.stream("POST", "/images/load", 10**6, [b"x" * 10**6]))
        assert raised.value.status == 500
        connection.close()


def test_a_docker_that_ends_meanwhile_gave_no_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        connection = Connection(str(tmp_path / "s"), 10.0)
        server.accept()[0].close()
        with pytest.raises(HttpError, match="Docker cut the connection") as raised:
            list(connection.stream("POST", "/images/load", 10**6, [b"x" * 10**6]))
        assert raised.value.status == 0
        connection.close()


def test_while_docker_unpacks_layers_the_other_side_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take two minutes of silence for an end."""
    monkeypatch.setattr(http, "_STEP", 0.01)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        calls: list[int] = []

        def waiting() -> None:
            calls.append(1)
            if len(calls) == 3:
                docker.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        connection = Connection(str(tmp_path / "s"), 10.0, waiting)
        docker, _ = server.accept()
        assert b"".join(connection.stream("POST", "/images/load", 1, [b"x"])) == b"{}"
        assert len(calls) == 3
        docker.close()
        connection.close()
