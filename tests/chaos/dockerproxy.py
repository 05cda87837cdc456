"""Stands in front of a lab host's dockerd, and records what reaches it. Standard library only.

    python3 dockerproxy.py SOCKET BEHIND RECORD HOST dockerd --host unix://BEHIND ...

Starts dockerd on the socket BEHIND and, once that is there, listens on SOCKET; ends when dockerd
ends, so that whoever asks then is refused as by Docker itself. Bytes go through untouched, both
ways, with half-closed ends, whatever they are (upgrades, archives, logs). A call is recorded when
its answer's first line comes back; status 0: the connection ended without one. Containers' exits
are taken from dockerd's own events, with the codes that the runtime told it.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import unquote

CALL = re.compile(
    rb"(POST|DELETE) (?:/v[0-9.]+)?/containers/([^/? ]+)(?:/(start|stop|kill))?(?:\?(\S*))? HTTP/1"
)
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_write_lock = threading.Lock()


def named(data: bytes) -> tuple[str, str] | None:
    """The call that begins with these bytes, if it is one of those to record: what, container."""
    match = CALL.match(data)
    if match is None:
        return None
    method, container, verb, query = (part.decode() if part else "" for part in match.groups())
    if method == "DELETE":
        return None if verb else ("remove", container)
    if verb:
        return verb, container
    if container == "create":
        name = re.search(r"(?:^|&)name=([^&]*)", query)
        return "create", unquote(name[1]) if name else ""
    return None


class Record:
    """Appends lines to a file that several processes may share."""

    def __init__(self, path: str, host: str) -> None:
        self._path, self._host = path, host

    def add(self, **entry: object) -> None:
        """One line, whole."""
        line = json.dumps({"at": time.time(), "host": self._host, **entry}) + "\n"
        with _write_lock, open(self._path, "ab", buffering=0) as file:
            file.write(line.encode())


class Connection:
    """One client's connection and its twin to dockerd."""

    def __init__(self, client: socket.socket, behind: str, record: Record) -> None:
        self._client, self._record = client, record
        self._server = socket.socket(socket.AF_UNIX)
        self._behind = behind
        self._asked: tuple[str, str] | None = None

    def run(self) -> None:
        """Until both ways have ended."""
        with self._client, self._server:
            try:
                self._server.connect(self._behind)
            except OSError:
                return
            upward = threading.Thread(target=self._requests, daemon=True)
            upward.start()
            self._answers()
            upward.join()
        if self._asked is not None:
            self._note(0)

    def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(65536):
                self._asked = named(data) or self._asked
                self._server.sendall(data)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_WR)

    def _answers(self) -> None:
        listening = True
        with contextlib.suppress(OSError):
            while data := self._server.recv(65536):
                status = STATUS.match(data) if self._asked is not None else None
                if status is not None:
                    self._note(int(status[1]))
                if listening:
                    listening = self._pass_on(data)
        # SHUT_RDWR: a client that keeps its side open must not keep this connection.
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, data: bytes) -> bool:
        """Whether the client still listens. One that was killed leaves a call whose end counts."""
        try:
            self._client.sendall(data)
        except OSError:
            return False
        return True

    def _note(self, status: int) -> None:
        assert self._asked is not None
        (what, name), self._asked = self._asked, None
        self._record.add(what=what, name=name, status=status)


def follow_exits(behind: str, record: Record) -> None:
    """Record the exits of labelled containers until dockerd ends."""
    filters = '{"type":["container"],"event":["die","oom"],"label":["hostler.attempt"]}'
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(behind)
        link.sendall(f"GET /events?filters={filters} HTTP/1.0\r\n\r\n".encode())
        for line in link.makefile("rb"):
            if line.startswith(b"{"):
                event = json.loads(line)
                labels = event["Actor"]["Attributes"]
                record.add(
                    at=event["timeNano"] / 1e9,  # dockerd's: this thread may come to it late
                    what=event["Action"],
                    attempt=labels["hostler.attempt"],
                    code=int(labels.get("exitCode", -1)),
                )


def listen(path: str) -> socket.socket:
    """A socket as dockerd makes it: group docker may use it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    os.chown(path, 0, grp.getgrnam("docker").gr_gid)
    os.chmod(path, 0o660)
    listening.listen(256)
    return listening


def main(path: str, behind: str, record_path: str, host: str, *dockerd: str) -> None:
    """Start dockerd and serve until it ends."""
    for stale in (path, behind):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(stale)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(process.pid, signal.SIGTERM))
    process = subprocess.Popen(dockerd)
    threading.Thread(target=lambda: os._exit(process.wait() & 255), daemon=True).start()
    while not os.path.exists(behind):
        time.sleep(0.02)
    record = Record(record_path, host)
    threading.Thread(target=follow_exits, args=(behind, record), daemon=True).start()
    listening = listen(path)
    while True:
        client, _ = listening.accept()
        one = Connection(client, behind, record)
        threading.Thread(target=one.run, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
