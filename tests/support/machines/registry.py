"""A registry of one image, enough for `docker pull`."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """Serves the image `NAME:1` of one layer at 127.0.0.1, which Docker takes without TLS."""

    def __init__(self, layer: bytes) -> None:
        packed = gzip.compress(layer, 1)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        ).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, config),
                "layers": [_descriptor(_LAYER, packed)],
            }
        ).encode()
        self.blobs = {_digest(packed): packed, _digest(config): config}
        self.port = 0
        self.refuse: int | None = None
        """Answer everything with this status."""
        self.login: str | None = None
        """NAME:PASSWORD that everything needs."""

    @property
    def image(self) -> str:
        """The reference to pull."""
        return f"127.0.0.1:{self.port}/lab/tool:1"

    @property
    def digest(self) -> str:
        """Of its manifest."""
        return _digest(self.manifest)


def _descriptor(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(data), "digest": _digest(data)}


@contextmanager
def serve(layer: bytes) -> Iterator[Registry]:
    """A running registry."""
    registry = Registry(layer)

    class Handler(BaseHTTPRequestHandler):
        default_request_version = "HTTP/1.0"
        """So that whoever begins with TLS sees that this is HTTP."""

        def do_GET(self) -> None:
            kind, body = "application/octet-stream", None
            if self.path == "/v2/":
                body = b"{}"
            elif "/manifests/" in self.path and self.path.endswith(("/1", registry.digest)):
                kind, body = _MANIFEST, registry.manifest
            elif "/blobs/" in self.path:
                body = registry.blobs.get(self.path.rsplit("/", 1)[1])
            status = registry.refuse or (200 if body is not None else 404)
            if registry.login is not None and not self._is_let_in(registry.login):
                status = 401
            body = (
                body
                if status == 200 and body is not None
                else b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
            )
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="lab"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", _digest(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def _is_let_in(self, login: str) -> bool:
            wanted = base64.b64encode(login.encode()).decode()
            return self.headers.get("Authorization") == f"Basic {wanted}"

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
