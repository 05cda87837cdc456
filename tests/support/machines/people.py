"""Other users of this machine who run `hostler`: real processes with their uids."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.machines.desk import wait_until

_ROOT = Path(__file__).resolve().parents[3]
_PACKAGES = (_ROOT / "core/hostler", _ROOT / "agents/hostler_agent")
_START = """
import os, sys
sys.path.insert(0, {copy!r})
from hostler.base import paths as places
places.SYSTEM_SOCKET, places.SYSTEM_CONFIG = {system!r}, {config!r}
from hostler.cli import main
from hostler.client import daemon_start
daemon_start.COMMAND = [{python!r}, "-c", "import sys; sys.exit('hostler: it is not to start')"]
sys.exit(main(sys.argv[1:]))
"""


_SERVE = """
from hostler.base import paths as places
places.SYSTEM_SOCKET, places.SYSTEM_CONFIG = {system!r}, {config!r}
from hostler.api.serve import main
main({config!r})
"""


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str


@functools.cache
def python_for_all() -> str:
    """An interpreter that every user may run: this test's own may lie in a closed folder."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [python, "-I", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
                user=65534, group=65534, extra_groups=[], capture_output=True,
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("Python 3.11 is not installed here")


@functools.cache
def code_for_all() -> Path:
    """A folder with a copy of Hostler's commands that every user may read, and one named `compiled`
    where all of them leave what they compiled: else each command would compile all again."""
    folder = Path(tempfile.mkdtemp(prefix="hc-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    for package in _PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, folder / package.name, ignore=ignore)
    (folder / "compiled").mkdir()
    (folder / "compiled").chmod(0o1777)
    return folder


class Machine:
    """A folder that stands for a machine: its shared daemon's socket and config. Daemons of their
    own do not start on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.run.mkdir(mode=0o755)
        self.socket = self.run / "hostler" / "hostler.sock"
        self.config = folder / "config.toml"

    def hostler(self, uid: int, *words: str, gid: int | None = None, groups: tuple[int, ...] = (),
                cwd: Path = Path("/"), given: str = "", **env: str) -> Said:  # fmt: skip
        """Run a command as that user, in no group but `gid` and `groups`; it reads what is given
        from a pipe."""
        python, code = python_for_all(), code_for_all()
        home = self.folder / f"home-{uid}"
        if not home.exists():
            home.mkdir(mode=0o700)
            shutil.chown(home, uid, uid if gid is None else gid)
        program = _START.format(
            copy=str(code), system=str(self.socket), config=str(self.config), python=python
        )
        done = subprocess.run(
            [python, "-I", "-X", f"pycache_prefix={code}/compiled", "-c", program, *words],
            user=uid, group=uid if gid is None else gid, extra_groups=list(groups),
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", **env},
            cwd=cwd, input=given, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def as_user(self, uid: int, program: str, path: str) -> Said:
        """Run a piece of Python as that user, with a path in this folder as its argument."""
        done = subprocess.run(
            [python_for_all(), "-I", "-c", program, str(self.folder / path)],
            user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def served(self, daemon: str, *, processes: str = "trusted") -> Iterator[None]:
        """Root's `hostler serve` with these lines under [daemon], until the block ends. "trusted":
        members' processes may run on this machine, the only one."""
        self.config.write_text(
            f'[daemon]\nstate = "{self.folder}/state"\n{daemon}\n'
            f'[policy]\nprocesses = "{processes}"\n[hosts.here]\ntransport = "local"\n'
        )
        program = _SERVE.format(system=str(self.socket), config=str(self.config))
        log = self.folder / "serve.log"
        with log.open("wb") as file:
            serving = subprocess.Popen(
                [sys.executable, "-c", program], stdout=file, stderr=file,
                stdin=subprocess.DEVNULL, env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin"},
            )  # fmt: skip
        try:
            wait_until(
                lambda: "listening on" in log.read_text() or serving.poll() is not None,
                "the daemon listens",
            )
            assert serving.poll() is None, log.read_text()
            yield
        finally:
            serving.terminate()
            serving.wait(30)

    def origin(self, uid: int, **options: int) -> str:
        """Which daemon that user's commands speak with: "system", "personal"."""
        said = self.hostler(uid, "daemon", "status", "--json", gid=options.get("gid"))
        return str(json.loads(said.out)["origin"])
