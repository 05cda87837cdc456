"""How many files one command crosses: `hostler run --wait -- true` against a daemon that is up.

The daemon works for this machine alone, without SSH, in a temporary folder. What it does before
anybody asks is its idle loop; what it does while the command runs is added to that.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WANTED = 80
OLDEST = (3, 12)
COMMAND = ("run", "--wait", "--", "true")
IDLE_SECONDS = 10.0
_PATIENCE = 120.0
_WATCHED = Path(__file__).with_name("watched.py")


class WalkError(Exception):
    """The command could not be followed."""


@dataclass(frozen=True)
class Walk:
    """Files by who ran them; those of the idle loop are among the daemon's."""

    client: frozenset[str]
    daemon: frozenset[str]
    idle: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """Files of which something ran."""
        return self.client | self.daemon


@dataclass(frozen=True)
class Place:
    """A folder for one walk, and who runs there."""

    folder: Path
    root: Path
    python: str

    @property
    def env(self) -> dict[str, str]:
        """Of every process: this tree, and nothing of whoever measures."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HOSTLER_", "SSH_"))}
        return kept | {
            "HOME": str(self.folder),
            "HOSTLER_STATE": str(self.folder / "state"),
            "HOSTLER_CONFIG": str(self.folder / "config.toml"),
            "PYTHONPATH": os.pathsep.join(str(self.root / f) for f in ("core", "tui", "agents")),
        }

    def argv(self, notes: str, *words: str) -> list[str]:
        """A watched command."""
        return [self.python, "-P", str(_WATCHED), str(self.root), str(self.folder / notes), *words]

    def plain(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command that is not watched."""
        return self._run([self.python, "-P", "-m", "hostler", *words])

    def watched(self, notes: str, *words: str) -> frozenset[str]:
        """The files of a command that has to succeed."""
        done = self._run(self.argv(notes, *words))
        if done.returncode:
            raise WalkError(f"`hostler {' '.join(words)}` failed: {done.stderr.strip()[-500:]}")
        return frozenset(json.loads((self.folder / f"{notes}.json").read_text()))

    def _run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        work = self.folder / "work"
        return subprocess.run(
            argv, cwd=work, env=self.env, timeout=_PATIENCE, text=True,
            stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip


def walk(root: Path, python: str, idle_seconds: float = IDLE_SECONDS) -> Walk:
    """Follow the command through the tree at `root`, with a Python that has what Hostler needs."""
    with tempfile.TemporaryDirectory(prefix="hostler-house-") as folder:
        place = Place(Path(folder), root, python)
        with _daemon(place) as ask:
            ask("phase idle")
            time.sleep(idle_seconds)  # no wait for something: this long is what is measured
            idle = ask("files idle")
            ask("phase run")
            client = place.watched("client", *COMMAND)
            return Walk(client, ask("files run") | idle, idle)


@contextmanager
def _daemon(place: Place) -> Iterator[Callable[[str], frozenset[str]]]:
    """A watched daemon that has looked at this machine; gives what asks for its notes."""
    (place.folder / "work").mkdir()
    (place.folder / "config.toml").write_text('[hosts.here]\ntransport = "local"\n')
    told = place.folder / "told"
    with told.open("w") as output:
        process = subprocess.Popen(
            place.argv("daemon", "serve", "--personal"), env=place.env, cwd=place.folder,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait_until_up(place, process, told)
        yield lambda line: _ask(place.folder / "daemon", line)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(place: Place, process: subprocess.Popen[bytes], told: Path) -> None:
    ends = time.monotonic() + _PATIENCE
    while not _has_looked(place):
        if process.poll() is not None:
            raise WalkError(f"the daemon ended: {told.read_text().strip()[-500:]}")
        if time.monotonic() > ends:
            raise WalkError("the daemon does not see its host")
        time.sleep(0.2)


def _has_looked(place: Place) -> bool:
    if not (place.folder / "state/hostler.sock").exists():
        return False
    said = place.plain("gpus", "--json")
    return said.returncode == 0 and all(
        host["age_s"] is not None for host in json.loads(said.stdout)["hosts"]
    )


def _ask(path: Path, line: str) -> frozenset[str]:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_PATIENCE)
        asking.connect(str(path))
        with asking.makefile("rw") as lines:
            lines.write(f"{line}\n")
            lines.flush()
            return frozenset(json.loads(lines.readline()))
