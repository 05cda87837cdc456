"""Starts the agent on a host (bootstrap, upload, hello), and says why it does not start: no or an
old Python, a full disk, an unsafe folder in /var/tmp."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import shlex
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from hostler.base.errors import AgentError, ConfigError, Unreachable
from hostler.base.text import clean_line
from hostler.link.answers import answer_error
from hostler.link.answers import read_hello as decode_hello
from hostler.link.lines import Hostile, LineReader, parse_object, to_line
from hostler.model.config import HostConfig
from hostler.model.timings import DEFAULT
from hostler.ports import ByteStream, Door, Hello
from hostler_agent import bundle
from hostler_agent.json_values import Message, Outgoing

_MAX_NOISE = 64 * 1024
_MAX_HELLO = 256 * 1024
"""Bytes of the first line: a host may send one again and again."""
_MARK = b'{"agent":'
_PYTHONS_OWN = re.compile(r"\w(Error|Exception): ")
_NO_PYTHON = (
    "exit status 127", "exit status 126", "not found", "No such file or directory",
    "cannot execute", "Permission denied",
)  # fmt: skip
_START_REMEDIES = (
    ("No space left", "free some space in /var/tmp there: df -h /var/tmp; df -i /var/tmp"),
    ("Disk quota exceeded", "this login has used up its quota in /var/tmp there: quota -s"),
    (
        "Read-only file system",
        "/var/tmp there is mounted read-only: often a failing disk, see dmesg",
    ),
    ("Permission denied", "see that /var/tmp there is writable for this login: ls -ld /var/tmp"),
)
_PYTHON = re.compile(r"[A-Za-z0-9._/+-]{1,200}")


@runtime_checkable
class Complaining(Protocol):
    """A stream that knows its command's stderr and how it ended."""

    @property
    def complaint(self) -> str:
        """ "" when there is nothing to report."""


@dataclass(frozen=True, slots=True)
class AgentProgram:
    """The agent's archive, and the one constant command that starts it."""

    hash: str
    data: bytes
    command: str
    docker_socket: str | None = None
    """Path on the host; None: the agent tries the usual places."""

    def with_docker(self, socket: str | None) -> AgentProgram:
        """The same agent, which uses only this Docker."""
        return self if socket is None else replace(self, docker_socket=socket)

    def with_python(self, python: str) -> AgentProgram:
        """The same agent under another Python: a name on the host's PATH, or a path.

        Raises ValueError for anything else.
        """
        if python == "python3":
            return self
        if not _PYTHON.fullmatch(python):
            raise ValueError(f"{python!r} is not a name or path of a Python")
        start = "exec python3 "
        if not self.command.startswith(start):
            raise ValueError("the agent's command is malformed")
        rest = self.command.removeprefix(start)
        return replace(self, command=f"exec {shlex.quote(python)} {rest}")


@functools.cache
def agent_program() -> AgentProgram:
    """The agent that belongs to this version of Hostler."""
    built = bundle.build()
    return AgentProgram(built.hash, built.data, bundle.command(built.hash))


def program_for(config: HostConfig) -> AgentProgram:
    """The agent with the settings of that host. Raises ConfigError."""
    try:
        return agent_program().with_python(config.python).with_docker(config.docker_socket)
    except ValueError as error:
        raise ConfigError(f"hosts.{config.name}.python: {error}") from error


@dataclass(frozen=True, slots=True)
class Started:
    """An agent that waits for its mode line."""

    stream: ByteStream
    reader: LineReader
    docker_socket: str | None = None

    async def begin(self, mode: Outgoing) -> None:
        """Write the mode line."""
        socket = {} if self.docker_socket is None else {"docker_socket": self.docker_socket}
        await self.say(to_line({**mode, **socket}))

    async def say(self, data: bytes) -> None:
        """Send this. If the agent has ended already, or the connection, what is read next says
        why."""
        with contextlib.suppress(Unreachable):
            await self.stream.write(data)


async def start_agent(
    door: Door, program: AgentProgram, deadline: float = DEFAULT.link.agent_start
) -> Started:
    """Run the agent on an open door, uploading it first if it is missing.

    Earlier output of a login shell is skipped. Raises Unreachable or AgentError.
    """
    for last in (False, True):
        stream = await door.exec_agent(program.command)
        started = Started(stream, LineReader(stream), program.docker_socket)
        try:
            async with asyncio.timeout(deadline):
                if await _bootstrap(door.host, program, started, last):
                    return started
        except TimeoutError as error:
            await stream.close()
            raise Unreachable(
                door.host, f"the agent did not start within {deadline:g} s{_said(stream)}"
            ) from error
        except BaseException:
            await stream.close()
            raise
        await stream.close()
    raise AgentError(door.host, "the agent could not be unpacked")


async def read_hello(host: str, started: Started, program: AgentProgram) -> Hello:
    """The agent's first line after the mode line. Raises AgentError."""
    try:
        line = await started.reader.line(_MAX_HELLO)
        if line is None:
            raise _ended(host, started.stream)
        message = parse_object(line)
        if "error" in message:
            raise answer_error(host, message["error"])
        hello = decode_hello(message)
    except Hostile as error:
        raise AgentError(host, f"the agent sent {error}") from error
    if hello.agent_version != program.hash:
        raise AgentError(host, "an agent of another version answered")
    return hello


async def _bootstrap(host: str, program: AgentProgram, started: Started, last: bool) -> bool:
    """Until the agent is ready. False: the installed agent was damaged and has been moved away, so
    that another try may succeed; with `last` that is an error."""
    answer = await _first_word(host, started)
    if answer.get("agent") == "need":
        data = program.data
        await started.say(b"%d\n" % len(data) + data)
        answer = await _first_word(host, started)
    word = answer.get("agent")
    if word == "ready":
        return True
    if word == "bad" and not last:
        return False
    if word == "old":
        version = clean_line(str(answer.get("version")), 20)
        raise AgentError(
            host,
            f"its python3 is version {version}, and the agent needs 3.8 or newer",
            remedy="install a newer one, or name one with `python` in config.toml",
        )
    if word == "unsafe":
        raise _unsafe(host, answer)
    raise AgentError(
        host,
        "the agent could not be unpacked",
        remedy="check that /var/tmp there has space and is writable for this login",
    )


def _unsafe(host: str, answer: Message) -> AgentError:
    """The error for an agent's folder that is not private to the login: who can repair that."""
    folder = clean_line(str(answer.get("folder")), 200)
    owner, own = answer.get("uid"), answer.get("own")
    if type(owner) is not int or owner == own:
        return AgentError(
            host,
            f"{folder} there is accessible to other users, or is not a folder",
            remedy=f"check it (ls -ld {shlex.quote(folder)}): if its content is unchanged, chmod "
            "700 it, else move it away; it contains jobs and checkpoints",
        )
    return AgentError(
        host,
        f"{folder} there, which the agent of your login needs, belongs to uid {owner}",
        remedy=f"only root or uid {owner} can remove it: ask root there to check it (ls -ld "
        f"{shlex.quote(folder)}) and move it away",
    )


async def _first_word(host: str, started: Started) -> Message:
    """The bootstrap's next line, among possible output of the login shell."""
    noise = 0
    while True:
        try:
            line = await started.reader.line(_MAX_NOISE)
        except Hostile as error:
            raise _noisy(host) from error
        if line is None:
            raise _ended(host, started.stream)
        start = line.find(_MARK)
        if start >= 0:
            try:
                return parse_object(line[start:])
            except Hostile as error:
                raise AgentError(host, f"the agent's bootstrap sent {error}") from error
        noise += len(line) + 1
        if noise > _MAX_NOISE:
            raise _noisy(host)


def _noisy(host: str) -> AgentError:
    return AgentError(
        host,
        "the login shell prints too much before it runs a command",
        remedy="make ~/.bashrc and ~/.profile there print only on a terminal: [ -t 1 ] && ...",
    )


def _ended(host: str, stream: ByteStream) -> AgentError:
    said = _said(stream)
    # A shell that cannot start the Python says so in its own words; the exit status may come later.
    if not _PYTHONS_OWN.search(said) and any(mark in said for mark in _NO_PYTHON):
        return AgentError(
            host,
            f"Python cannot be started there{said}",
            remedy="install Python 3.8 or newer, or name one with `python` in config.toml",
        )
    for mark, remedy in _START_REMEDIES:
        if mark in said:
            return AgentError(host, f"the agent cannot be started there{said}", remedy=remedy)
    return AgentError(
        host,
        f"the agent ended before it was ready{said}",
        remedy=f"check the output of `ssh {host} python3 -V`",
    )


def _said(stream: ByteStream) -> str:
    complaint = stream.complaint if isinstance(stream, Complaining) else ""
    return f": {complaint}" if complaint else ""
