"""Chooses a loopback port (20000 to 29999) for a service replica that is a process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import zlib
from typing import Iterator, Set

from hostler_agent import journal
from hostler_agent.folders import Folders, Refusal
from hostler_agent.journal import Job

FIRST = 20000
COUNT = 10000
"""The range of ports. It is below the ports that Linux uses for outgoing connections, which would
sometimes take such a port."""


def give(folders: Folders, job: Job, boot_id: str) -> int:
    """Choose the port of a job, and write it into its journal: the port of the stage's earlier
    attempts, if that is free. Raises Refusal."""
    with _locked(os.path.join(folders.base, "ports.lock")):
        taken = _taken(folders, job, boot_id)
        name = "%s-%s" % (job.created.run_id, job.created.stage)
        begin = zlib.crc32(name.encode("utf-8", "replace"))
        wanted = (FIRST + (begin + step) % COUNT for step in range(COUNT))
        port = next((p for p in wanted if p not in taken and _is_free(p)), None)
        if port is None:
            raise Refusal("no port from %d to %d is free" % (FIRST, FIRST + COUNT - 1))
        journal.append(job.folder, {"event": "port", "port": port})
        return port


def _taken(folders: Folders, job: Job, boot_id: str) -> Set[int]:
    """Ports of all jobs that have not ended, because a job that is starting does not listen yet."""
    found = set()
    for name in os.listdir(folders.jobs):
        other = journal.load(os.path.join(folders.jobs, name))
        if other is None or other.port is None or other.ended is not None:
            continue
        if other.attempt_id != job.attempt_id and other.created.boot_id == boot_id:
            found.add(other.port)
    return found


def _is_free(port: int) -> bool:
    """Whether a server could listen at the port on all addresses, as some do."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
