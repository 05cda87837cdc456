"""Answers at $HOSTLER_PORT which digit an image shows, with the model in best/model.json."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from digits import scores

WEIGHTS = json.loads(Path("best/model.json").read_text())["weights"]
PIXELS, MOST_BYTES = 64, 64 * 1024


class Handler(BaseHTTPRequestHandler):
    """GET / tells that it is there, POST / takes 64 numbers from 0 to 1."""

    protocol_version = "HTTP/1.1"
    # In one piece: a check leaves after the first line, and a second write would fail.
    wbufsize = -1

    def do_GET(self) -> None:
        """Asked by Hostler, and by the gateway."""
        self.answer(200, {"ready": True})

    def do_POST(self) -> None:
        """The digit with the highest score."""
        size = int(self.headers.get("Content-Length", "0"))
        if not 0 <= size <= MOST_BYTES:
            self.close_connection = True
            self.answer(413, {"error": f"send at most {MOST_BYTES} bytes"})
            return
        try:
            found = scores(WEIGHTS, read_pixels(self.rfile.read(size)))
        except (ValueError, TypeError) as error:
            self.answer(400, {"error": str(error)})
            return
        digit = found.index(max(found))
        self.answer(200, {"digit": digit, "release": os.environ.get("RELEASE", "")})

    def answer(self, status: int, value: dict[str, object]) -> None:
        """One JSON object."""
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """The gateway counts requests."""


def read_pixels(body: bytes) -> list[float]:
    """Those of a request."""
    pixels = json.loads(body)
    if not isinstance(pixels, list) or len(pixels) != PIXELS:
        raise ValueError(f"send {PIXELS} numbers")
    return [float(pixel) for pixel in pixels]


if __name__ == "__main__":
    port = int(os.environ["HOSTLER_PORT"])
    print(f"answering at port {port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
