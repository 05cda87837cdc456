"""The real agent as a subprocess, spoken to in its own protocol."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostler.model.codec import to_json
from hostler.model.host_reports import LookDecoder, fault, workload
from hostler_agent import bundle, wire
from tests.support.programs.cache import cache
from tests.support.programs.warm_agents import Piped, begin


def find_python(version: str) -> str:
    """A Python of that version on PATH or under pyenv; "" where this machine has none."""
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        return sys.executable
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python3"))
    candidates = [*map(str, found), shutil.which(f"python{version}"), "/usr/bin/python3"]
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    for path in filter(None, candidates):
        if not os.access(path, os.X_OK):
            continue
        said = subprocess.run([path, "-I", "-c", asked], capture_output=True, text=True)
        if said.stdout.strip() == version:
            return path
    return ""


PYTHONS = {version: find_python(version) for version in ("3.8", "3.11", "3.13", "3.14")}


class AgentSaysNo(Exception):
    """An answer with an error; `kind` and the message as the agent gave them."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.kind: str = error["kind"]


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of `condition`, asked again and again; AssertionError when none came."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def soonest(call: Callable[[], Any], tries: int = 5) -> float:
    """Seconds that a call takes when nothing else delays it: the least of some."""
    took = []
    for _ in range(tries):
        began = time.monotonic()
        call()
        took.append(time.monotonic() - began)
    return min(took)


class Place:
    """Folders and variables of a made-up host, all below one folder."""

    def __init__(self, folder: Path, python: str = sys.executable, fresh: bool = False) -> None:
        """`fresh`: the agent was never there; else it is there, compiled, as most often in life."""
        self.base, self.fresh = folder / "b", fresh
        if not fresh:
            self.base.mkdir(mode=0o700)
            (self.base / "agent").symlink_to(cache("hostler-test-agents"))
        self.leases = folder / "l" / "leases"
        self.python = python
        self.variables: dict[str, str] = {"DOCKER_HOST": f"unix://{folder}/no-docker.sock"}

    def env(self) -> dict[str, str]:
        """The agent's whole environment."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept, "USER": "tester", "HOSTLER_FOLDER": str(self.base),
            "HOSTLER_LEASES": str(self.leases), **self.variables,
        }  # fmt: skip

    def popen(self, shell: str = "sh") -> subprocess.Popen[bytes]:
        """The agent's command, as sshd would run it."""
        command = bundle.command(bundle.build().hash)
        command = command.replace("python3", shlex.quote(self.python), 1)
        return subprocess.Popen(
            [*shell.split(), "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.env(), bufsize=0,
        )  # fmt: skip

    def begin(self, mode: str) -> subprocess.Popen[bytes] | Piped:
        """An agent that is to run in that mode: the command, or a fork that stands for it."""
        warm = None if self.fresh or self.python != sys.executable else begin(mode, self.env())
        return warm or self.popen()


class Talk:
    """A started agent: lines in and out with a deadline."""

    def __init__(self, process: subprocess.Popen[bytes] | Piped) -> None:
        self.process = process
        self._data = b""
        self.uploaded = False
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin.fileno(), process.stdout.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """One line."""
        self.write(json.dumps(message).encode() + b"\n")

    def write(self, data: bytes) -> None:
        """Raw bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._in, view) :]

    def some(self, seconds: float = 60.0) -> bytes:
        """Bytes as they come; b"" at the end. AssertionError when none come in time."""
        if self._data:
            data, self._data = self._data, b""
            return data
        assert select.select([self._out], [], [], seconds)[0], "the agent says nothing"
        return os.read(self._out, 65536)

    def line(self, seconds: float = 60.0) -> dict[str, Any]:
        """The next line. EOFError when the agent has ended, with its last words."""
        held = self._data
        self._data = b""
        while b"\n" not in held:
            data = self.some(seconds)
            if not data:
                raise EOFError(self.last_words())
            held += data
        line, _, self._data = held.partition(b"\n")
        value: dict[str, Any] = json.loads(line)
        return value

    def last_words(self) -> str:
        """What it wrote to stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def bootstrap(self) -> None:
        """Until the agent is ready, with the archive if it asks for it."""
        built = bundle.build()
        first = self.line()
        if first.get("agent") == "need":
            self.uploaded = True
            self.write(b"%d\n" % len(built.data) + built.data)
            first = self.line()
        assert first == {"agent": "ready"}, first

    def close(self, seconds: float = 60.0) -> int:
        """EOF, and its exit status."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()


class Agent(Talk):
    """An agent in mode `serve`."""

    def __init__(self, place: Place, daemon: str = "d1", **mode: Any) -> None:
        super().__init__(place.begin("serve"))
        self.place = place
        self.pushes: deque[dict[str, Any]] = deque()
        self._decoder = LookDecoder()
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self.bootstrap()
        self.send({"mode": "serve", "daemon": daemon, "protocol": wire.PROTOCOL, **mode})
        self.first = self.line()

    def ask(self, verb: str, payload: dict[str, Any] | None = None, **fields: Any) -> Any:
        """A request's answer. Raises AgentSaysNo."""
        return self.answer(self.post(verb, payload, **fields))

    def post(self, verb: str, payload: dict[str, Any] | None = None, **fields: Any) -> int:
        """Send a request; its number."""
        self._number += 1
        self.send({"id": self._number, verb: {**(payload or {}), **fields}})
        return self._number

    def answer(self, number: int, seconds: float = 60.0) -> Any:
        """The answer to a request that was posted. Raises AgentSaysNo."""
        while number not in self._answers:
            self._take(seconds)
        message = self._answers.pop(number)
        if "error" in message:
            raise AgentSaysNo(message["error"])
        return message["ok"]

    def _take(self, seconds: float) -> None:
        message = self.line(seconds)
        if "id" in message:
            self._answers[message["id"]] = message
        else:
            self.pushes.append(message)

    def push(self, seconds: float = 60.0) -> dict[str, Any]:
        """The next thing that the agent says by itself."""
        while not self.pushes:
            self._take(seconds)
        return self.pushes.popleft()

    def look(self) -> dict[str, Any]:
        """A whole look."""
        found: dict[str, Any] = to_json(self._decoder.apply(self.ask("look"), time.time()))
        return found

    def job(self, attempt: str, argv: list[str], **fields: Any) -> dict[str, Any]:
        """Make and start a job; its workload."""
        created = {
            "attempt_id": attempt, "daemon_id": "d1", "run_id": "r", "stage": "s", "owner": "me",
            "gpus": fields.pop("gpus", []), "log_cap": fields.pop("log_cap", 1 << 20), "grace": 5,
            "checkpoint": fields.pop("checkpoint", None),
            "checkpoint_key": fields.pop("checkpoint_key", None),
        }  # fmt: skip
        self.ask("job.create", created)
        workload: dict[str, Any] = self.ask(
            "job.start", {"attempt_id": attempt, "argv": argv, "env": {}, **fields}
        )
        return workload

    def ended(self, attempt: str, seconds: float = 60.0) -> dict[str, Any]:
        """The workload of a job once it has ended."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.ask("job.inspect", attempt_id=attempt)["workload"]
            return None if found["running"] else found

        result: dict[str, Any] = eventually(look, seconds)
        return result


def pushed(message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind of what an agent said by itself, and its fields as the daemon reads them."""
    if "exit" in message:
        return "exit", to_json(workload(message["exit"], "exit"))
    return "xid", to_json(fault(message["xid"], "xid"))


@contextlib.contextmanager
def serving(place: Place, daemon: str = "d1", **mode: Any) -> Iterator[Agent]:
    """An agent for the time of the block."""
    agent = Agent(place, daemon, **mode)
    try:
        yield agent
    finally:
        agent.close()


class Bulk(Talk):
    """An agent in mode `bulk`."""

    def __init__(self, place: Place, **mode: Any) -> None:
        super().__init__(place.begin("bulk"))
        self._frames = wire.FrameReader()
        self._found: deque[bytes | dict[str, Any] | None] = deque()
        self.bootstrap()
        self.send({"mode": "bulk", **mode})

    def frame(self, seconds: float = 60.0) -> bytes | dict[str, Any] | None:
        """The next frame; EOFError when the agent ended."""
        while not self._found:
            data = self.some(seconds)
            if not data:
                raise EOFError(self.last_words())
            self._found.extend(self._frames.feed(data))
        return self._found.popleft()

    def result(self) -> dict[str, Any]:
        """The next frame, which is an object."""
        found = self.frame()
        assert isinstance(found, dict), found
        return found

    def data(self) -> tuple[bytes, list[dict[str, Any]]]:
        """All bytes to the end frame, and the objects among them."""
        found = b""
        objects: list[dict[str, Any]] = []
        while True:
            frame = self.frame()
            if frame is None:
                return found, objects
            if isinstance(frame, bytes):
                found += frame
            else:
                objects.append(frame)


@contextlib.contextmanager
def transfer(place: Place, **mode: Any) -> Iterator[Bulk]:
    """A bulk agent for the time of the block."""
    bulk = Bulk(place, **mode)
    try:
        yield bulk
    finally:
        bulk.close()
