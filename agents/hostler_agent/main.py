"""Starts the agent: reports that it is ready, reads the mode line, runs that mode, and ends the
process at once."""

from __future__ import annotations

import gc
import os
import sys

from hostler_agent import wire
from hostler_agent.folders import Folders
from hostler_agent.json_values import Message, Outgoing


def main(version: str, base: str) -> None:
    """Run until the mode ends. `version` is the archive's hash, `base` this user's folder here."""
    gc.disable()  # until all is loaded: these objects stay, and a collection slows the start
    folders = Folders(os.path.abspath(base))
    os.chdir("/")  # no file is searched for in the folder of the start
    if not folders.adopt(version):
        _say({"agent": "bad"})
        return
    folders.hold_code(version)
    _say({"agent": "ready"})
    try:
        mode = wire.decode_line(_read_line())
    except (EOFError, ValueError) as error:
        sys.stderr.write("hostler agent: no mode line: %s\n" % error)
        return
    _run(mode, version, folders)
    _end()


def _end() -> None:
    """End the process at once: all threads are daemon threads, and no data remains to be written. A
    normal exit takes as long as many transfers, and could crash if a thread hangs in NVML."""
    try:
        sys.stderr.flush()
    except OSError:
        pass  # the other side has closed the connection
    os._exit(0)


def _run(mode: Message, version: str, folders: Folders) -> None:
    name = mode.get("mode")
    docker = mode.get("docker_socket")
    if isinstance(docker, str):
        os.environ["DOCKER_HOST"] = "unix://" + docker  # replaces the value of the login's files
    if name == "bulk":
        from hostler_agent import bulk

        gc.freeze()
        gc.enable()
        bulk.run(mode, folders)
        return
    if name not in ("serve", "once") or mode.get("protocol", wire.PROTOCOL) != wire.PROTOCOL:
        problem = "this agent speaks protocol %d, not %r" % (wire.PROTOCOL, mode)
        _say({"error": {"kind": "AgentError", "message": problem}})
        return
    from hostler_agent import serve

    serve.run(mode, version, folders)


def _say(message: Outgoing) -> None:
    os.write(1, wire.encode(message))


def _read_line() -> bytes:
    # Byte by byte, so that the next reader gets all bytes after the line.
    line = bytearray()
    while len(line) < 65536:
        byte = os.read(0, 1)
        if not byte:
            raise EOFError("stdin ended")
        if byte == b"\n":
            return bytes(line)
        line += byte
    raise ValueError("it is too long")
