"""A Docker that only answers: reads over a Unix socket, of containers that a test puts there."""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse


def container(number: int, *, state: str = "running", **more: Any) -> dict[str, Any]:
    """What inspect says of a container, in the fields that matter. `labels`, `requests`, `env`,
    `runtime`, `devices`, `memory`, `exit`, `oom`, `user`, `finished`, `health` may be given. One
    whose name is taken away is listed, though it was removed."""
    labels = more.get("labels", {})
    name = f"hostler-{labels.get('hostler.daemon', '')[:8]}-{labels.get('hostler.attempt')}"
    return {
        "Id": f"{number:064x}",
        "Name": f"/{name}" if labels.get("hostler.attempt") else f"/box-{number}",
        "Mounts": more.get("mounts", []),
        "Config": {
            "Image": more.get("image", "busybox"), "Labels": labels,
            "Env": more.get("env", []), "WorkingDir": "/work", "User": more.get("user", ""),
        },
        "HostConfig": {
            "DeviceRequests": more.get("requests"), "Runtime": more.get("runtime", "runc"),
            "Devices": more.get("devices", []), "Memory": more.get("memory", 0),
        },
        "State": {
            "Status": state, "Running": state == "running", "ExitCode": more.get("exit", 0),
            "OOMKilled": more.get("oom", False), "Error": more.get("error", ""),
            "StartedAt": "0001-01-01T00:00:00Z" if state == "created"
            else "2025-11-24T14:00:00.123456789Z",
            "FinishedAt": more.get("finished", "2025-11-24T14:10:00.5Z") if state == "exited"
            else "0001-01-01T00:00:00Z",
            **({"Health": more["health"]} if "health" in more else {}),
        },
    }  # fmt: skip


def ours(attempt: str, daemon: str = "d1", gpus: str = "") -> dict[str, str]:
    """The labels that Hostler gives."""
    return {
        "hostler.attempt": attempt, "hostler.daemon": daemon, "hostler.run": "r",
        "hostler.stage": "s", "hostler.gpus": gpus, "hostler.owner": "alice",
    }  # fmt: skip


class FakeDocker:
    """The state of the engine; change it and `tell` an event."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.containers: dict[str, dict[str, Any]] = {}
        self.info: dict[str, Any] = {"Runtimes": {"runc": {}}, "DefaultRuntime": "runc"}
        self.requests: list[str] = []
        self.archives: dict[str, bytes] = {}
        self.stored: dict[str, bytes] = {}
        self.stats: dict[str, dict[str, Any]] = {}
        """Of paths in containers: fields of Docker's answer to a HEAD that are not a folder's."""
        self.hang = 0.0
        """Seconds that every answer is delayed by."""
        self.hang_at = ""
        """Only requests of such a path are."""
        self.odd: Any = None
        """What every request gets for an answer."""
        self._listeners: list[queue.SimpleQueue[dict[str, Any] | None]] = []
        self._lock = threading.Lock()
        docker = self

        class Handler(_Handler):
            engine = docker

        self._server = _Server(str(path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def put(self, item: dict[str, Any], event: str | None = None) -> str:
        """Add or change a container, and tell an event of it; its id."""
        self.containers[item["Id"]] = item
        if event:
            self.tell(event, item)
        return str(item["Id"])

    def tell(self, action: str, item: dict[str, Any]) -> None:
        """An event to all who listen."""
        attributes = {**item["Config"]["Labels"], "name": item["Name"]}
        event = {"Action": action, "Actor": {"ID": item["Id"], "Attributes": attributes}}
        for listener in list(self._listeners):
            listener.put(event)

    @property
    def followed(self) -> bool:
        """Somebody follows the events."""
        return bool(self._listeners)

    def listen(self) -> queue.SimpleQueue[dict[str, Any] | None]:
        """A queue of events; None ends it."""
        made: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._listeners.append(made)
        return made

    def forget(self, listener: queue.SimpleQueue[dict[str, Any] | None]) -> None:
        """The end of `listen`."""
        self._listeners.remove(listener)

    def close(self) -> None:
        """End it, with all connections."""
        for listener in list(self._listeners):
            listener.put(None)
        self.hang = 0.0
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()
        self.path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        self.open: set[Any] = set()
        super().__init__(path, handler)

    def close_connections(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(2)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: FakeDocker

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)  # type: ignore[attr-defined]

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.server.open.discard(self.connection)  # type: ignore[attr-defined]

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def address_string(self) -> str:
        return "unix"

    def do_GET(self) -> None:
        url = urlparse(self.path)
        self.engine.requests.append(self.path)
        until = time.monotonic() + self.engine.hang
        hangs = self.path.startswith(self.engine.hang_at)
        while hangs and time.monotonic() < until and self.engine.hang:
            time.sleep(0.01)
        parts = url.path.strip("/").split("/")
        if self.engine.odd is not None:
            self._json(200, self.engine.odd)
        elif parts == ["events"]:
            self._events()
        elif parts[0] == "containers" and parts[-1] == "archive":
            self._chunks([self.engine.archives[self.path.partition("?")[2]]])
        else:
            self._json(*self._answer(parts, parse_qs(url.query)))

    def do_HEAD(self) -> None:
        """What lies at a path; a folder, unless a test says otherwise."""
        self.engine.requests.append(self.path)
        path = parse_qs(urlparse(self.path).query)["path"][0]
        told = {"name": Path(path).name, "size": 4096, "mode": 0x80000000 | 0o755}
        told |= {"mtime": "2025-11-24T14:00:00Z", "linkTarget": ""} | self.engine.stats.get(
            path, {}
        )
        self.send_response(200)
        packed = base64.b64encode(json.dumps(told).encode()).decode()
        self.send_header("X-Docker-Container-Path-Stat", packed)
        self.end_headers()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.engine.stored[self.path] = body
        self._json(200, None)

    def _answer(self, parts: list[str], query: dict[str, list[str]]) -> tuple[int, Any]:
        engine = self.engine
        if parts == ["version"]:
            return 200, {"Version": "28.1.0"}
        if parts == ["info"]:
            return 200, engine.info
        if parts == ["containers", "json"]:
            return 200, [self._short(c) for c in engine.containers.values() if _listed(c, query)]
        found = engine.containers.get(parts[1]) if parts[0] == "containers" else None
        if found is not None and found["Name"]:
            return 200, found
        return 404, {"message": "No such container"}

    @staticmethod
    def _short(item: dict[str, Any]) -> dict[str, Any]:
        labels = item["Config"]["Labels"]
        state, health = item["State"]["Status"], item["State"].get("Health")
        status = f"Up 2 minutes ({health['Status']})" if health else "Up 2 minutes"
        return {
            "Id": item["Id"], "Names": [item["Name"]] if item["Name"] else [],
            "State": state, "Status": status, "Labels": labels,
        }  # fmt: skip

    def _json(self, status: int, value: Any) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _chunks(self, pieces: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in [*pieces, b""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def _events(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        listener = self.engine.listen()
        try:
            while (event := listener.get()) is not None:
                data = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
        finally:
            self.engine.forget(listener)
        self.close_connection = True


def _listed(item: dict[str, Any], query: dict[str, list[str]]) -> bool:
    if "all" not in query and item["State"]["Status"] != "running":
        return False
    filters = json.loads(query["filters"][0]) if "filters" in query else {}
    return all(label in item["Config"]["Labels"] for label in filters.get("label", []))


@contextlib.contextmanager
def fake_docker(path: Path) -> Iterator[FakeDocker]:
    """An engine for the time of the block."""
    docker = FakeDocker(path)
    try:
        yield docker
    finally:
        docker.close()
