"""The process behind `warm`: it has loaded Hostler, and forks for each command that is asked for.

Run as `python warm_server.py FD PACKAGE`, of which it loads all, or as `python -I -S warm_server.py
FD hostler_agent FOLDER`, where it forks agents with the code that was unpacked there. FD is a Unix
socket (SOCK_SEQPACKET) that listens for test processes. A message is a request in JSON with four
descriptors: stdin, stdout, stderr, and a pipe that is told the process id and, at the end, the wait
status. It ends when the last test process has gone; its children go on. A command that starts a
daemon asks the server of daemons beside this one for it, where that runs; a daemon has its agents
forked by the server of agents.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

LONGEST = 1 << 18
"""Bytes of a request."""
DAEMONS, COMMANDS = "hostler", "hostler.cli"
"""The packages of these two servers, with which the names of their sockets end."""
AGENTS = "hostler_agent"


def load(package: str) -> None:
    """Load all of it, and check that a fork is safe."""
    if not sys.flags.safe_path:
        del sys.path[0]  # of this file; `_become` puts there what `python -m` would
    gc.disable()
    for name in _modules(package):
        importlib.import_module(name)
    if package == AGENTS:
        importlib.import_module("pynvml")
    else:
        _read_ahead(package)
    if package == DAEMONS:
        _make_ahead()
        _answer_ahead()
        _load_door()
    gc.freeze()
    gc.enable()
    assert threading.active_count() == 1, "a module has started a thread: a fork would lose it"


def _modules(package: str) -> Iterator[str]:
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            yield module.name


def _read_ahead(package: str) -> None:
    """What most commands, and each daemon, make when they first read an object of the API, words
    of the command line or a stored run."""
    from hostler.cli import parser
    from hostler.model import attempts, codec, hosts, pipelines
    from hostler.model.views.daemon import DaemonView
    from hostler.model.views.runs import NewRun, RunDetail, RunList

    if package == DAEMONS:
        for stored in (attempts.Source, hosts.Workload, pipelines.Stage):
            codec._reader(stored, False)
        parser.parse("serve", parser.load("serve"), ["--personal"])
    else:
        for told in (DaemonView, NewRun, RunDetail, RunList):
            codec._reader(told, True)
        parser.parse("ps", parser.load("ps"), [])


def _answer_ahead() -> None:
    """What the first request to a daemon has it make and load, always the same."""
    from typing import cast

    from hostler.api.app import make_app
    from hostler.daemon.service import Service

    importlib.import_module("anyio._backends._asyncio")
    for route in make_app(cast("Service", None)).routes:
        route.matches({"type": "http", "method": "GET", "path": "/", "headers": []})


def _load_door() -> None:
    """Of this repository, where Python does not look."""
    sys.path.insert(0, os.path.abspath(os.path.join(__file__, *[os.pardir] * 4)))
    importlib.import_module("tests.support.machines.warm_door")
    del sys.path[0]


def _fork_agents(run: str) -> None:
    """In a daemon: have its agents on this machine forked, too. `run`: the folder of the test run,
    which the daemon's own variables do not name."""
    from pathlib import Path

    from hostler.link import factory
    from tests.support.machines.warm_door import WarmDoor
    from tests.support.programs import testrun

    testrun.folder = lambda: Path(run)
    vars(factory)["LocalDoor"] = WarmDoor


def _make_ahead() -> None:
    """What each daemon would make for itself, always the same."""
    from hostler.link.agent_start import agent_program
    from hostler.store.metrics_migrations import METRICS
    from hostler.store.migrations import STATE
    from hostler.store.schema import empty_database

    agent_program()
    for schema in (STATE, METRICS):
        empty_database(schema)


class Server:
    """Forks on request, and reports how each child ended."""

    def __init__(self, listens: socket.socket) -> None:
        self.listens = listens
        self.asked: dict[int, socket.socket] = {}
        """Of the test processes."""
        self.told: dict[int, int] = {}
        """The pipe of each child that runs."""
        self.woken, self._wake = os.pipe()
        for end in (self.woken, self._wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def serve(self) -> list[str] | None:
        """Until no test process is left: None. In a child: the words of its command."""
        while True:
            ready = self._ready()
            if self.woken in ready:
                os.read(self.woken, 4096)
                self._reap()
            if self.listens.fileno() in ready:
                self._accept()
            for number in ready & self.asked.keys():
                words = self._answer(self.asked[number])
                if words is not None:
                    return words
            if not self.asked and self._has_left():
                return None

    def _ready(self) -> set[int]:
        waiting = select.poll()
        for number in (self.woken, self.listens.fileno(), *self.asked):
            waiting.register(number, select.POLLIN)
        return {number for number, _ in waiting.poll(None if self.asked else 1000)}

    def _accept(self) -> None:
        link, _ = self.listens.accept()
        self.asked[link.fileno()] = link

    def _answer(self, link: socket.socket) -> list[str] | None:
        data, pipes, _, _ = socket.recv_fds(link, LONGEST, 4)
        if data:
            return self._fork(json.loads(data), pipes)
        del self.asked[link.fileno()]
        link.close()
        return None

    def _has_left(self) -> bool:
        """Whether the socket is gone, so that the next test process starts another server."""
        path = str(self.listens.getsockname())
        try:
            with locked(f"{path}.lock", fcntl.LOCK_NB):
                if not select.select([self.listens], [], [], 0)[0]:
                    os.unlink(path)
                    return True
        except BlockingIOError:
            pass  # one is about to connect
        except FileNotFoundError:
            return True  # the folder of the run has been removed
        return False

    def _reap(self) -> None:
        while self.told:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            _tell(self.told[pid], status)
            os.close(self.told.pop(pid))

    def _fork(self, request: dict[str, object], pipes: list[int]) -> list[str] | None:
        pid = os.fork()
        if pid == 0:
            path = str(self.listens.getsockname())
            self._leave()
            if path.endswith(f"-{COMMANDS}"):
                Daemons(path.removesuffix(COMMANDS) + DAEMONS).start_from_here()
            elif path.endswith(f"-{DAEMONS}"):
                _fork_agents(os.path.dirname(path))
            return _become(request, pipes)
        *streams, told = pipes
        for stream in streams:
            os.close(stream)
        self.told[pid] = told
        _tell(told, pid)
        return None

    def _leave(self) -> None:
        """In a child: nothing of the server's stays."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for link in (self.listens, *self.asked.values()):
            link.close()
        for number in (self.woken, self._wake, *self.told.values()):
            os.close(number)


class Daemons:
    """In a command: has the daemon that it starts forked by the server of daemons."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.told = -1
        """The pipe that is told how the daemon ended."""

    def start_from_here(self) -> None:
        """Take the place of what starts it as a program."""
        from hostler.client import daemon_start

        program = daemon_start._spawn

        def spawn(log: str) -> int:
            try:
                return self._start(log)
            except (FileNotFoundError, ConnectionRefusedError):
                return program(log)

        has_ended = daemon_start._has_ended
        daemon_start._spawn = spawn
        daemon_start._has_ended = lambda pid: (
            has_ended(pid) if self.told < 0 else bool(select.select([self.told], [], [], 0)[0])
        )

    def _start(self, log: str) -> int:
        from hostler.base.programs import safe_environ

        request = {
            "words": ["serve", "--personal"], "env": safe_environ(), "folder": os.getcwd(),
            "session": True,
        }  # fmt: skip
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            with locked(f"{self.path}.lock"):
                link.connect(self.path)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            nothing = os.open(os.devnull, os.O_RDONLY)
            self.told, tell = os.pipe()
            socket.send_fds(link, [json.dumps(request).encode()], [nothing, out, out, tell])
            for number in (out, nothing, tell):
                os.close(number)
            line = b""
            while not line.endswith(b"\n"):
                line += os.read(self.told, 1)
        return int(line)


@contextlib.contextmanager
def locked(path: str, how: int = 0) -> Iterator[None]:
    """Hold a lock that is a file; `how` may be LOCK_NB, which raises BlockingIOError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)


def _tell(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked has ended
        os.write(pipe, b"%d\n" % number)


def _become(request: dict[str, object], pipes: list[int]) -> list[str]:
    """Take the place that a new process would have; the words of the command."""
    if request["session"]:
        os.setsid()
    for number, pipe in enumerate(pipes[:3]):
        os.dup2(pipe, number)
    for pipe in {*pipes}:
        os.close(pipe)
    os.chdir(str(request["folder"]))
    if not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())
    os.environ.clear()
    env = request["env"]
    assert isinstance(env, dict)
    os.environ.update(env)
    words = request["words"]
    assert isinstance(words, list)
    return words


def main() -> NoReturn:
    """Serve; in a child, run what was asked for."""
    listens, package, *folder = sys.argv[1:]
    sys.path[:0] = folder
    load(package)
    sys.path[:] = sys.path[len(folder) :]
    words = Server(socket.socket(fileno=int(listens))).serve()
    if words is None:
        _end(0)
    elif package == AGENTS:
        run_agent(words)
    run_command(words)


def run_agent(words: list[str]) -> NoReturn:
    """Run the agent's bootstrap, as a host's shell has Python do."""
    from hostler_agent import failpoints

    # Read anew, as when the module is loaded.
    failpoints._armed = failpoints._read(os.environ.get("HOSTLER_FAILPOINTS", ""))
    program, *arguments = words
    sys.argv[:] = ["-c", *arguments]
    exec(program, {"__name__": "__main__"})
    _end(0)


def run_command(words: list[str]) -> NoReturn:
    """Run a command of Hostler."""
    import hostler
    from hostler import cli
    from hostler.base import failpoints

    # Read anew, as when the module is loaded.
    failpoints._armed = failpoints.read_failpoints(os.environ.get(failpoints.VARIABLE, ""))
    sys.argv[:] = [os.path.join(*hostler.__path__, "__main__.py"), *words]
    _end(cli.main())


def _end(code: int) -> NoReturn:
    """End as Python would, but for taking all that is loaded apart: in a fork, which shares it with
    the server, that costs more than most commands, and as much as the start of a daemon."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
