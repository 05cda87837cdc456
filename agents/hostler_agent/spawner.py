"""The process that shims are forked from: small, single-threaded, without NVML; how many idle shims
are kept, and how long a shim may take to start.

`serve` forks it before any other module is loaded, and it ends with the agent; shims continue. One
shim is made in advance, and a shim whose job has ended takes another job, because forking a Python
process costs more than starting a short job.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import threading
import time
from typing import Dict, List, Optional

from hostler_agent import shim
from hostler_agent.folders import Folders, Refusal
from hostler_agent.json_values import Message

_PATIENCE = 20.0
_KEPT = 8
"""Idle shims that are kept for the next jobs, until no requests come."""
_QUIET = 10.0
_SPARE_AFTER = 0.05
"""Seconds to wait for a shim whose job has ended, before a new shim is made in advance. A request
that finds no free shim does not wait."""


class Spawner:
    """The agent's side of the spawner. Any thread may call `start`."""

    def __init__(self, folders: Folders) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._replies, replies = os.pipe()
        self._socket = ours
        self._lock = threading.Lock()
        self._next = 0
        self._held = b""
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                os.close(self._replies)
                _loop(theirs, replies, folders)
            finally:
                os._exit(0)
        theirs.close()
        os.close(replies)

    def close(self) -> None:
        """End the spawner; shims continue."""
        self._socket.close()
        os.close(self._replies)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def start(self, spec: shim.Spec) -> Message:
        """Let a shim start this job. Returns its "started" event, or {"error": ...}. Raises Refusal
        if the spawner is gone or does not answer."""
        with self._lock:
            self._next += 1
            number = self._next
            data = json.dumps(spec._replace(id=number)._asdict()).encode("ascii")
            try:
                self._socket.sendall(struct.pack(">I", len(data)) + data)
            except OSError as error:
                raise Refusal("the agent's spawner is gone: %s" % error) from error
            return self._answer(number)

    def _answer(self, number: int) -> Message:
        until = time.monotonic() + _PATIENCE
        while True:
            while b"\n" in self._held:
                line, _, self._held = self._held.partition(b"\n")
                answer = json.loads(line)
                if isinstance(answer, dict) and answer.pop("id", None) == number:
                    return answer
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._replies], [], [], left)[0]:
                raise Refusal("the job's supervisor did not start in %d s" % _PATIENCE)
            data = os.read(self._replies, 65536)
            if not data:
                raise Refusal("the agent's spawner is gone")
            self._held += data


def _loop(requests: socket.socket, replies: int, folders: Folders) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        # sshd keeps a session open while any process has its pipes.
        os.dup2(null, descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # a collection in a shim would copy every memory page
    gc.disable()
    _Nursery(requests, replies, folders).run()


class _Nursery:
    """All shims, idle or with a job."""

    def __init__(self, requests: socket.socket, replies: int, folders: Folders) -> None:
        self._requests = requests
        self._replies = replies
        self._folders = folders
        self._shims: Dict[int, socket.socket] = {}
        self._idle: List[socket.socket] = []
        self._poller = select.poll()
        self._poller.register(requests, select.POLLIN)

    def run(self) -> None:
        """Forward requests until the agent has ended."""
        self._fork()
        while True:
            ready = self._poller.poll(self._pause())
            for descriptor, _ in ready:
                if descriptor in self._shims:
                    self._hear(self._shims[descriptor])
                elif not self._hand_on():
                    return
            if not ready:
                if not self._idle:
                    self._fork()
                for one in self._idle[1:]:
                    self._drop(one)

    def _pause(self) -> Optional[float]:
        """Milliseconds without requests after which a shim is made in advance, or surplus shims
        end."""
        if not self._idle:
            return _SPARE_AFTER * 1000
        return _QUIET * 1000 if len(self._idle) > 1 else None

    def _hand_on(self) -> bool:
        head = _exactly(self._requests, 4)
        data = _exactly(self._requests, struct.unpack(">I", head)[0]) if head else b""
        if not data:
            return False
        while True:
            if not self._idle:
                self._fork()
            chosen = self._idle.pop()
            try:
                chosen.sendall(head + data)
                return True
            except OSError:
                self._drop(chosen)  # it was killed meanwhile

    def _hear(self, one: socket.socket) -> None:
        """Handle a shim that wants another job, or has died."""
        try:
            said = one.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # a new socket has the number of one that was just closed
        except OSError:
            said = b""
        if said and len(self._idle) < _KEPT:
            self._idle.append(one)
        else:
            self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        self._poller.unregister(one)
        del self._shims[one.fileno()]
        if one in self._idle:
            self._idle.remove(one)
        one.close()

    def _fork(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.fork() == 0:
            try:
                for other in (self._requests, ours, *self._shims.values()):
                    other.close()  # otherwise their ends would not be noticed
                _work(theirs, self._replies, self._folders)
            finally:
                os._exit(0)
        theirs.close()
        self._shims[ours.fileno()] = ours
        self._idle.append(ours)
        self._poller.register(ours, select.POLLIN)


def _work(orders: socket.socket, replies: int, folders: Folders) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    one = shim.Shim(folders.base, folders.notify)
    while True:
        head = _exactly(orders, 4)
        data = _exactly(orders, struct.unpack(">I", head)[0]) if head else b""
        if not data or not one.run(shim.Spec(**json.loads(data)), replies):
            return
        try:
            orders.sendall(b"i")
        except OSError:
            return  # the spawner has ended, so there is no more work


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            piece = source.recv(size - len(data))
        except OSError:
            return b""
        if not piece:
            return b""
        data += piece
    return data
