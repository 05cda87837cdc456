"""Opens and closes the sockets of one connection of a gateway's forwarder: each exists only while
its port accepts connections."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import Dict, List, Mapping, Tuple

from hostler_agent.forwards import SOCKETS, hidden, request_command
from hostler_agent.sshmux import listens

_REQUEST_S = 5.0
_ANSWER_S = 2.0
_SAID_BYTES = 4096
PAUSE = 0.5
"""Seconds between two checks whether a port that refused accepts connections again."""


class Sockets:
    """The sockets of one connection. ssh accepts connections to a socket before it knows whether
    the remote port does. HAProxy would already have sent its request, and could not send it to
    another server. So a socket is renamed while its port refuses. Only one thread may use it."""

    def __init__(self, folder: str, control: str) -> None:
        self._folder, self._control = folder, control
        self._ports: Dict[str, int] = {}
        self._closed: Dict[str, float] = {}
        """Socket whose port refuses connections -> time of the next check."""
        self.said = b""
        """The last error of ssh for a request."""

    @property
    def open(self) -> Tuple[str, ...]:
        """Names of the open sockets."""
        return tuple(sorted(self._ports.keys() - self._closed.keys()))

    def bring(self, wanted: Mapping[str, int], *, in_doubt: bool) -> None:
        """Open a socket for each port that accepts connections. `in_doubt`: a port has refused
        one."""
        self.said = b""
        for name, port in list(self._ports.items()):
            if wanted.get(name) != port:
                self._request("cancel", name, port)
                self._forget(name)
        for name, port in wanted.items():
            if name not in self._ports and self._request("forward", name, port):
                self._ports[name], self._closed[name] = port, 0.0
        for name in self._due(in_doubt=in_doubt):
            found = listens(os.path.join(self._folder, self._control), self._ports[name], _ANSWER_S)
            if found is not None:
                self._set(name, is_closed=not found)

    def drop(self) -> None:
        """Remove the sockets of an ended connection: checks of them then fail at once."""
        for name in list(self._ports):
            self._forget(name)

    def _due(self, *, in_doubt: bool) -> List[str]:
        now = time.monotonic()
        return [
            name
            for name in self._ports
            if (self._closed[name] <= now if name in self._closed else in_doubt)
        ]

    def _set(self, name: str, *, is_closed: bool) -> None:
        if is_closed != (name in self._closed):
            names = (name, hidden(name)) if is_closed else (hidden(name), name)
            with contextlib.suppress(FileNotFoundError):
                os.rename(*map(self._path, names))
        self._closed.pop(name, None)
        if is_closed:
            self._closed[name] = time.monotonic() + PAUSE

    def _forget(self, name: str) -> None:
        for each in (name, hidden(name)):
            with contextlib.suppress(OSError):
                os.unlink(self._path(each))
        del self._ports[name]
        self._closed.pop(name, None)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, SOCKETS, name)

    def _request(self, what: str, name: str, port: int) -> bool:
        """Send a request over the open connection; False if it failed. The caller repeats it
        later."""
        command = request_command(self._control, what, name, port)
        try:
            done = subprocess.run(
                command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, timeout=_REQUEST_S,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            self.said = str(error).encode("utf-8", "replace")
            return False
        if done.returncode != 0:
            self.said = done.stderr[-_SAID_BYTES:]
        return done.returncode == 0
