"""Draws the README's picture of a terminal: a release, its answer, the next one, and the way back.

    .venv/bin/python scripts/terminal_picture.py docs/pictures/deploy.svg

All of it is run for real on this machine, with a state folder of its own. It needs HAProxy, and
port 8080. The person is called ana in the picture, and the machine gpu1.
"""

from __future__ import annotations

import fcntl
import getpass
import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from demo_serving import Load, read_images, wait_for
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples/digits"
WIDTH = 110
PORT = 8080
URL = f"http://127.0.0.1:{PORT}/digits/"
CONFIG = '[hosts.gpu1]\ntransport = "local"\n'
GATEWAY = f'[gateway]\nhost = "gpu1"\nport = {PORT}\n'
COUNTED_S = 4.0
"""For the daemon to read the gateway's log."""


class Terminal:
    """Runs commands in a folder, and keeps what a person would see."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder, self._env = folder, env
        self.seen = ""

    def show(self, line: str) -> None:
        """A command, with its output."""
        self.seen += f"\033[1m$ {line}\033[0m\n{self._output(line)}\n"

    def quiet(self, line: str) -> None:
        """One that is not seen."""
        where = {"cwd": self._folder, "env": self._env}
        subprocess.run(line, shell=True, check=True, capture_output=True, **where)  # noqa: S602

    def _output(self, line: str) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
        with subprocess.Popen(  # noqa: S602
            line, shell=True, cwd=self._folder, env=self._env,
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        ) as process:  # fmt: skip
            os.close(theirs)
            found = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
        if process.returncode:
            sys.exit(f"{line}: {found.decode()}")
        return found.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # everybody has left it
        return b""


def main(target: Path) -> None:
    """Run it all, and draw."""
    with tempfile.TemporaryDirectory() as base:
        work = Path(base) / "digits"
        shutil.copytree(DIGITS, work)
        config = Path(base) / "config.toml"
        config.write_text(CONFIG + GATEWAY)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"HOSTLER_STATE": f"{base}/state", "HOSTLER_CONFIG": str(config), "PATH": path}
        terminal = Terminal(work, {**os.environ, **own})
        try:
            _releases(terminal, work)
        finally:
            terminal.quiet("hostler stop -q -y digits || true")
            config.write_text(CONFIG)
            wait_for(lambda: _is_free() or None, f"port {PORT} is free again")
            terminal.quiet("hostler daemon stop -q")
    target.write_text(picture(terminal.seen))
    print(f"drew {target}")


def _releases(terminal: Terminal, work: Path) -> None:
    terminal.quiet("hostler run --wait pipeline.toml && hostler get last/select best")
    images = read_images(work / "data/digits.csv.gz")
    (work / "image.json").write_text(str(images[0][0]))
    ask = f"curl -s -d @image.json {URL}"
    terminal.show("hostler deploy serve.toml -y")
    terminal.quiet(f"until {ask} | grep -q digit; do sleep 0.2; done")
    load = Load(URL, images)
    load.start()
    terminal.show(ask)
    terminal.show("hostler deploy serve.toml --env RELEASE=second -y")
    terminal.show(ask)
    terminal.show("hostler rollback digits -y")
    terminal.show(ask)
    if load.stop():
        sys.exit("requests failed")
    time.sleep(COUNTED_S)
    terminal.show("hostler releases digits")


def _is_free() -> bool:
    return (
        subprocess.run(["curl", "-s", URL], check=False, stdout=subprocess.DEVNULL).returncode == 7
    )


def picture(seen: str) -> str:
    """What was seen, as an SVG that needs nothing from elsewhere."""
    name = getpass.getuser()
    seen = re.sub(rf"\b{re.escape(name)}\b", "ana".ljust(len(name)), seen)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(seen.rstrip()))
    svg = console.export_svg(title="a release, the next one, and back", unique_id="deploy")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
