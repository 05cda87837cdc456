"""A package index on this machine, with wheels that are made here."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PURE = "py3-none-any"


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    tag: str = PURE,
    *,
    needs: Sequence[str] = (),
    python: str = "",
    filling: int = 0,
) -> Path:
    """A wheel with a module of the package's name, whose VERSION is the version."""
    folder.mkdir(parents=True, exist_ok=True)
    plain, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    about = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    about += [f"Requires-Python: {python}\n"] if python else []
    about += [f"Requires-Dist: {need}\n" for need in needs]
    files = {
        f"{plain}.py": f"VERSION = {version!r}\n".encode() + b"#" * filling,
        f"{info}/METADATA": "".join(about).encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n"
        .encode(),
    }  # fmt: skip
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    made = folder / f"{plain}-{version}-{tag}.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(path, data)
    return made


def sha256(path: Path) -> str:
    """The hash of a file, as pip wants it in requirements."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


class Index:
    """Serves the files of a folder as packages."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.asked: list[str] = []
        """Paths, in order."""
        self.before: Callable[[str], None] = lambda path: None
        """Called for each path before it is answered."""

    def page(self, path: str) -> bytes | None:
        """What is at a path."""
        parts = path.strip("/").split("/")
        if parts[0] == "files" and len(parts) == 2:
            file = self.folder / parts[1]
            return file.read_bytes() if file.is_file() else None
        names = [f.name for f in sorted(self.folder.iterdir()) if _package(f.name) == parts[-1]]
        if parts[0] != "simple" or not names:
            return None
        links = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in names)
        return f"<!DOCTYPE html><html><body>{links}</body></html>".encode()


def _package(file: str) -> str:
    return file.split("-")[0].replace("_", "-").lower()


@contextlib.contextmanager
def index_of(folder: Path) -> Iterator[Index]:
    """A running index; it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            index.before(self.path)
            page = index.page(self.path)
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(page or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index = Index(folder, f"http://127.0.0.1:{server.server_port}/simple")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
