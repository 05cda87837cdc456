"""The modes `serve` and `once`: first the spawner, then everything else; a newer agent of a daemon
ends the older, and how long that may take."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import time
from typing import List

from hostler_agent import wire
from hostler_agent.folders import Folders, Refusal
from hostler_agent.generations import Generations
from hostler_agent.json_values import Json, Message
from hostler_agent.spawner import Spawner

_DAEMON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TERM_PATIENCE = 2.0
_KILL_PATIENCE = 5.0
_held: List[int] = []


def displace(folders: Folders, daemon_id: Json) -> None:
    """Take this daemon's lock; end the agent that holds it. Raises Refusal."""
    if not isinstance(daemon_id, str) or not _DAEMON.fullmatch(daemon_id):
        raise Refusal("%r is not a daemon id" % (daemon_id,), "InputError")
    path = os.path.join(folders.base, "serve-%s.lock" % daemon_id)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    for number, patience in ((signal.SIGTERM, _TERM_PATIENCE), (signal.SIGKILL, _KILL_PATIENCE)):
        if _take(descriptor):
            break
        # The lock is held, so the PID in the file is that of a running agent.
        text = os.pread(descriptor, 32, 0).strip()
        if text.isdigit() and int(text) > 1:
            try:
                os.kill(int(text), number)
            except ProcessLookupError:
                pass  # it has just ended
        until = time.monotonic() + patience
        while time.monotonic() < until and not _take(descriptor):
            time.sleep(0.01)
    if not _take(descriptor):
        os.close(descriptor)
        raise Refusal("another agent of this daemon does not end")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    _held.append(descriptor)  # held until this process ends


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def run(mode: Message, version: str, folders: Folders) -> None:
    """Serve until EOF or silence. In mode "once", answer one look and end."""
    folders.make()
    daemon = mode.get("daemon")
    spawner = generations = None
    if mode["mode"] == "serve":
        # Before any file is opened: each job would inherit it.
        spawner = Spawner(folders)
    try:
        folders.hold()
        if spawner is not None:
            generations = Generations(folders, daemon, mode.get("generation"))
            generations.admit()
            displace(folders, daemon)
            generations.take()
        from hostler_agent.agent import Agent

        agent = Agent(version, folders, spawner, str(daemon or ""), generations)
        if spawner is not None:
            agent.serve()
        else:
            agent.once()
    except Refusal as refusal:
        os.write(1, wire.encode({"error": refusal.to_wire()}))
    except BrokenPipeError:
        pass  # the daemon closed the connection; jobs continue
    finally:
        if spawner is not None:
            spawner.close()
