"""The process that shims are forked from: small, single-threaded, without NVML.

It is forked by `serve` before anything else is loaded, and ends with the agent; shims live on. One
shim is always ready in advance, so that a job's start waits for no fork of a Python: it reads the
next request itself, and the spawner forks the one after it.
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
from typing import Any, Dict, Tuple

from hostler_agent import shim
from hostler_agent.folders import Folders, Refusal

_PATIENCE = 20.0
_AFTER_DEATH = 0.2
"""Seconds before a new shim is made in advance when the last one died without work."""


class Spawner:
    """The agent's end. `start` may be called from any thread."""

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
        """End the spawner; shims live on."""
        self._socket.close()
        os.close(self._replies)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def start(self, spec: Dict[str, Any]) -> Dict[str, Any]:
        """Have a shim start this job; its "started" event, or {"error": ...}.

        Raises Refusal when the spawner is gone or silent.
        """
        with self._lock:
            self._next += 1
            number = self._next
            data = json.dumps({**spec, "id": number}).encode("ascii")
            try:
                self._socket.sendall(struct.pack(">I", len(data)) + data)
            except OSError as error:
                raise Refusal("the agent's spawner is gone: %s" % error) from error
            return self._answer(number)

    def _answer(self, number: int) -> Dict[str, Any]:
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
        # sshd keeps a session open for as long as anybody holds its pipes.
        os.dup2(null, descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # a collection in a shim would copy every page
    gc.disable()
    while True:
        alive = _fork_shim(requests, replies, folders)
        poller = select.poll()
        poller.register(alive, select.POLLIN)
        poller.register(requests, 0)  # tells only that the agent has gone
        ready = dict(poller.poll())
        taken = os.read(alive, 1) if alive in ready else b""
        os.close(alive)
        if requests.fileno() in ready:
            return
        if not taken:
            time.sleep(_AFTER_DEATH)


def _fork_shim(requests: socket.socket, replies: int, folders: Folders) -> int:
    """A pipe that tells when the shim has taken a job (a byte) or died (the end)."""
    alive, taken = os.pipe()
    if os.fork() == 0:
        try:
            os.close(alive)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            ready = shim.Shim(folders.base, folders.notify)
            head, data = _frame(requests)
            if head:
                os.write(taken, b"t")
                os.close(taken)
                requests.close()
                ready.run(json.loads(data), replies)
        finally:
            os._exit(0)
    os.close(taken)
    return alive


def _frame(source: socket.socket) -> Tuple[bytes, bytes]:
    head = _exactly(source, 4)
    return head, _exactly(source, struct.unpack(">I", head)[0]) if head else b""


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
