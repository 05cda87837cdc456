"""A person at a desk: an empty HOME, an SSH config, a Hostler config, and the command line.

desk = Desk.at_lab(lab, folder, user="ana")
desk.hostler("gpus")
run = desk.submit(PIPELINE)
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import signal
import socket
import stat as stat_module
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hostler.base.errors import HostlerError, NoDaemonError
from hostler.base.paths import SOCKET_NAME
from hostler.base.private import make_private
from hostler.cli.parser import COMMANDS
from hostler.client import Client
from hostler.client.daemon_start import _starting_lock, stop
from hostler.client.submission import submitted
from hostler.model.codec import to_json
from hostler.model.views.gpus import HostGpus
from hostler.quick.socket import Found
from hostler.submit.body import pipeline_body
from hostler.submit.remembered import silent
from tests.lab.lab import Lab
from tests.support.programs import warm, warm_agents

_STARTERS = {*COMMANDS["Look"], *COMMANDS["Run"], "drain", "undrain"} - {"gpus"}
"""Commands that start the daemon where none runs."""
_Answer = TypeVar("_Answer")
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer as a JSON value."""
        return json.loads(self.out)


class Desk:
    """Runs `hostler` as one person would, with everything of theirs in one folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.work = folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        self.config = folder / "config.toml"
        self.python = sys.executable
        """Whose Hostler is run: that of another environment is another version."""
        self.more_env: dict[str, str] = {}
        """Of every command, and so of a daemon that it starts."""
        self.cold = False
        """Whether each command is the true program, and starts the daemon itself where none runs,
        as for people. Else both are forked (`warm`), which costs a fraction."""

    @classmethod
    def at_lab(
        cls,
        lab: Lab,
        folder: Path,
        *,
        user: str = "ana",
        more: str = "",
        hosts: Collection[str] = (),
    ) -> Desk:
        """Somebody whose SSH config names every host of the lab, and whose Hostler config these
        `hosts`, or every one."""
        desk = cls(folder)
        ssh = folder / ".ssh"
        ssh.mkdir(mode=0o700)
        text = lab.ssh_config.read_text()
        (ssh / "config").write_text(text.replace("User ana", f"User {user}"))
        shutil.copy(lab.paths.known_hosts, ssh / "known_hosts")
        known = hosts or [host.name for host in lab.hosts]
        desk.config.write_text(more + "".join(f'[hosts.{n}]\nuser = "{user}"\n' for n in known))
        return desk

    def at_work(self, folder: Path) -> Desk:
        """The same person with the same daemon, in a work folder of their own."""
        other = copy.copy(self)
        other.work = folder
        other.work.mkdir(parents=True, exist_ok=True)
        return other

    @property
    def env(self) -> dict[str, str]:
        """The environment of every command."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HOSTLER_", "SSH_"))}
        for name in ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "CONDA_PREFIX"):
            kept.pop(name, None)  # environments of who runs the tests are on no host of a lab
        return kept | {
            "HOME": str(self.home),
            "HOSTLER_STATE": str(self.state),
            "HOSTLER_CONFIG": str(self.config),
            **self.more_env,
        }

    def hostler(
        self,
        *words: str,
        timeout: float = 60,
        cwd: Path | None = None,
        given: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Said:
        """Run one command to its end, with more variables, and bytes to read; see `cold`."""
        if words and words[0] in _STARTERS and not self.cold and not self._listens():
            self._forked()
        all_env, folder = self.env | dict(env or {}), cwd or self.work
        if not self.cold and self.python == sys.executable and warm.can_run(words, all_env):
            done = warm.run(words, all_env, folder, timeout, given)
        else:
            done = subprocess.run(
                [self.python, "-m", "hostler", *words],
                stdin=subprocess.DEVNULL if given is None else None, input=given,
                capture_output=True, env=all_env, cwd=folder, timeout=timeout,
            )  # fmt: skip
        return Said(done.returncode, _text(done.stdout), _text(done.stderr))

    def ok(self, *words: str, timeout: float = 60) -> Said:
        """Run one command that has to succeed."""
        said = self.hostler(*words, timeout=timeout)
        assert said.code == 0, (words, said)
        return said

    def submit(self, pipeline: str, *words: str) -> str:
        """Write `pipeline.toml`, submit it, and give the run's id. See `show`: the command is run
        where the daemon is of another version, and for more words."""
        file = self.work / "pipeline.toml"
        file.write_text(pipeline)
        if words or self.python != sys.executable:
            return self.ok("run", "-d", "-q", *words).out.strip()
        self.start_daemon()
        client = Client(self.state / SOCKET_NAME)
        client.revive = self.start_daemon
        body = pipeline_body(file, {}, self.env) | {"file": file.name, "title": "", "priority": 0}
        return client.carry_out(submitted(body, self.work, silent)).run_id

    def start_daemon(self) -> None:
        """Start the daemon unless it runs, as `hostler daemon start` does, for tests of something
        else: forked, where that shows the same (`warm`)."""
        if self._daemon_answers() or (not self.cold and self._forked()):
            return
        self.ok("daemon", "start")

    def _forked(self) -> bool:
        """Whether a daemon was forked where that shows the same, and answers."""
        if self.python != sys.executable or not warm.can_start(self.env):
            return False
        with contextlib.suppress(OSError, HostlerError):  # the command says what is wrong there
            make_private(str(self.state))
            with _starting_lock(str(self.state / "start.lock"), time.monotonic() + 60):
                return self._daemon_answers() or self._fork()
        return False

    def _fork(self) -> bool:
        warm_agents.stand_by()
        with warm.start_daemon(self.state, self.env, self.work) as begun:
            up = lambda: begun.has_ended() or self._daemon_answers()  # noqa: E731
            wait_until(up, "the daemon answers", 60, every=0.02)
            return not begun.has_ended()

    def _listens(self) -> bool:
        """Whether a daemon holds the socket, be it one that hangs."""
        with socket.socket(socket.AF_UNIX) as link:
            return link.connect_ex(str(self.state / SOCKET_NAME)) == 0

    def _daemon_answers(self) -> bool:
        try:
            Client(self.state / SOCKET_NAME).version()
        except NoDaemonError:
            return False
        return True

    def run(self, pipeline: str, *words: str, timeout: float = 90) -> dict[str, Any]:
        """Submit a pipeline, wait for its end, and give the run object."""
        run_id = self.submit(pipeline, *words)
        return self.ended(run_id, timeout=timeout)

    def ended(self, run_id: str, *, timeout: float = 90) -> dict[str, Any]:
        """The run object once the run has ended."""
        said = self._waited(run_id, timeout)
        run = self.show(run_id)
        assert run["outcome"] is not None, (said, self.hostler("why", run_id), self.log())
        return run

    def _waited(self, run_id: str, timeout: float) -> object:
        """Wait for the end of a run, or so long; what was said. See `show`."""
        try:
            return Client(self.state / SOCKET_NAME).wait(run_id, timeout=timeout)
        except TimeoutError as error:
            return error
        except NoDaemonError:
            words = ("wait", run_id, "--timeout", f"{timeout:g}s")
            return self.hostler(*words, timeout=timeout + 20)

    def show(self, run_id: str) -> dict[str, Any]:
        """The run object as it is now.

        A command would take a process of its own, which costs as much as all that is tested here;
        it is run where the daemon is of another version. Where none answers, one is started.
        """
        try:
            return self._shown(run_id)
        except NoDaemonError:
            if self.python != sys.executable:
                run: dict[str, Any] = self.ok("show", run_id, "--json").json
                return run
            self.start_daemon()
            return self._shown(run_id)

    def _shown(self, run_id: str) -> dict[str, Any]:
        run: dict[str, Any] = to_json(Client(self.state / SOCKET_NAME).show(run_id))
        return run

    def output(self, run_id: str, stage: str) -> str:
        """What a stage of a run printed."""
        return b"".join(Client(self.state / SOCKET_NAME).logs(run_id, stage)).decode()

    def hosts(self) -> list[dict[str, Any]]:
        """All hosts as the daemon sees them; see `show`."""
        try:
            return [to_json(host) for host in Client(self.state / SOCKET_NAME).hosts()]
        except NoDaemonError:
            return list(self.ok("hosts", "--json").json["hosts"])

    def gpus(self) -> list[HostGpus]:
        """The hosts with their GPUs as the daemon sees them; see `show`. Starts none."""
        try:
            return list(Client(self.state / SOCKET_NAME).gpus()["hosts"])
        except NoDaemonError:
            return list(self.ok("gpus", "--json").json["hosts"])

    def services(self) -> list[dict[str, Any]]:
        """The services that were not stopped, as the daemon sees them; see `show`."""
        return [to_json(each) for each in self._asked(lambda client: client.services())]

    def releases(self, service: str) -> list[dict[str, Any]]:
        """The releases of a service, the newest first, as the daemon sees them; see `show`."""
        return [to_json(each) for each in self._asked(lambda client: client.releases(service))]

    def why(self, run_id: str) -> str:
        """All that `hostler why` says of a run, as one text; see `show`."""
        return json.dumps(to_json(self._asked(lambda client: client.why(run_id))))

    def standing(self) -> dict[str, Any]:
        """The daemon's generation, as `hostler daemon status --json` says it; see `show`."""
        standing: dict[str, Any] = to_json(self._asked(lambda client: client.version()).generation)
        return standing

    def _asked(self, ask: Callable[[Client], _Answer]) -> _Answer:
        client = Client(self.state / SOCKET_NAME)
        try:
            return ask(client)
        except NoDaemonError:
            self.start_daemon()
            return ask(client)

    def until(
        self,
        run_id: str,
        condition: Callable[[dict[str, Any]], bool],
        *,
        timeout: float = 60,
    ) -> dict[str, Any]:
        """The run object as soon as it meets a condition."""
        deadline, pause = time.monotonic() + timeout, 0.03
        while True:
            run = self.show(run_id)
            if condition(run):
                return run
            assert time.monotonic() < deadline, (run, self.hostler("why", run_id).out)
            time.sleep(pause := min(0.25, pause * 1.3))

    def daemon_pid(self) -> int:
        """The process id of this person's daemon."""
        return int(json.loads((self.state / "daemon.lock").read_text())["pid"])

    def kill_daemon(self) -> None:
        """kill -9, and wait until it is gone; none is no error."""
        if not (self.state / "daemon.lock").exists():
            return
        pid = self.daemon_pid()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.wait_death(pid, 60)

    def wait_death(self, pid: int, timeout: float) -> None:
        """Until that daemon is gone."""
        wait_until(lambda: not _alive(pid), f"the daemon {pid} dies", timeout, every=0.01)

    def close(self) -> None:
        """Stop the daemon, as `hostler daemon stop` does."""
        with contextlib.suppress(HostlerError):
            stop(Found(str(self.state / SOCKET_NAME), "personal"))

    def log(self) -> str:
        """What the daemon wrote."""
        path = self.state / "daemon.log"
        return path.read_text() if path.exists() else ""


def _text(data: bytes) -> str:
    """As `subprocess.run` decodes it."""
    return data.decode().replace("\r\n", "\n").replace("\r", "\n")


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Its first thread may be a zombie while others still end, and hold its files and locks.
    state, threads = status[0], int(status[17])
    return state != "Z" or threads > 1


@contextlib.contextmanager
def desk_folder() -> Iterator[Path]:
    """A short folder: the path of a Unix socket may have 107 bytes. What still runs with it as its
    home is ended with it, stages that outlive their daemon, say."""
    folder = Path(tempfile.mkdtemp(prefix="hd-", dir="/tmp"))
    try:
        yield folder
    finally:
        _end_at_home(folder)
        shutil.rmtree(folder, ignore_errors=True)


def files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """All plain files there, each with what it holds. Those that go meanwhile, or may not be read,
    are left out: a daemon may be at work there."""
    for where, _, names in os.walk(folder):
        for path in (Path(where, name) for name in names):
            with contextlib.suppress(OSError):
                if stat_module.S_ISREG(path.lstat().st_mode):
                    yield path, path.read_bytes()


def _end_at_home(home: Path) -> None:
    ours = b"\0HOME=%s\0" % os.fsencode(home)
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if ours in b"\0" + path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def local_desk(folder: Path) -> Desk:
    """Somebody with this machine only, no SSH."""
    desk = Desk(folder)
    desk.config.write_text('[hosts.here]\ntransport = "local"\n')
    return desk


def stage(run: dict[str, Any], name: str) -> dict[str, Any]:
    """One stage of a run object."""
    found: dict[str, Any] = next(s for s in run["stages"] if s["name"] == name)
    return found


def wait_until(
    condition: Callable[[], bool], what: str, timeout: float = 60, *, every: float | None = None
) -> None:
    """Return once the condition is true; fail after `timeout` seconds. Asks less and less often,
    unless `every` says how often, and half of the time at most: what is waited for needs the
    processor, too."""
    deadline, pause = time.monotonic() + timeout, every or 0.05
    while True:
        begun = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        assert now < deadline, f"never came true: {what}"
        time.sleep(max(pause, now - begun))
        pause = every or min(0.25, pause * 1.3)
