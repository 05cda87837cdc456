"""A small server with all that a service needs: it listens at $HOSTLER_PORT, is healthy only once
its model is loaded, knows who asks, and answers what it has begun before it ends."""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOADING_S = float(os.environ.get("LOADING_S", "1"))
loaded = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """GET /health, GET / and GET /stream."""

    protocol_version = "HTTP/1.1"
    # In one piece: a check leaves after the first line, and a second write would fail.
    wbufsize = -1

    def do_GET(self) -> None:
        """Below a gateway, / is what others call /NAME/."""
        if self.path == "/health":
            self.answer(200 if loaded.is_set() else 503, {"loaded": loaded.is_set()})
        elif self.path == "/stream":
            self.stream()
        elif self.path == "/":
            user = self.headers.get("X-Hostler-User", "")
            self.answer(200, {"release": os.environ.get("RELEASE", ""), "user": user})
        else:
            self.answer(404, {"error": "there is /, /health and /stream"})

    def answer(self, status: int, value: dict[str, object]) -> None:
        """One JSON object."""
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self) -> None:
        """Server-sent events, as of a model that writes word by word."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for word in ("one", "word", "after", "another"):
            self.wfile.write(f"data: {word}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.2)

    def log_message(self, *words: object) -> None:
        """The gateway counts requests."""


class Server(ThreadingHTTPServer):
    """Its end waits for open requests."""

    daemon_threads = False


def main() -> None:
    """Listen at once, load, and serve until TERM."""
    # A process is reached at the loopback of its host; a container listens on all its addresses.
    address = os.environ.get("ADDRESS", "127.0.0.1"), int(os.environ["HOSTLER_PORT"])
    server = Server(address, Handler)
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
    )
    threading.Timer(LOADING_S, loaded.set).start()
    print(f"listening at {address[0]}:{address[1]}", flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
