"""Keeps a gateway's SSH connections to other hosts by the login's own OpenSSH: pauses between
tries, also after a refused login.

The shim runs it as a separate program, which outlives agent and daemon:
`python3 -I -S forwarder.py FOLDER`. FOLDER/forwards lists the wanted connections, and is read again
when it changes. Each host has one connection; when it ends, it is opened again after a pause. All
modules are imported at the start, because the agent's code may be removed later.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Dict, List, Mapping, NamedTuple, Optional

if __name__ == "__main__":  # -I removes the agent's own folder from the search path
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from hostler_agent.forwards import (
    SOCKETS,
    STATE,
    WANTED,
    Wanted,
    connect_command,
    control_of,
    is_closed,
    is_refusal,
    last_line,
    login_files,
    read_wanted,
)
from hostler_agent.forwardsockets import Sockets
from hostler_agent.json_values import Outgoing

_TICK = 0.25
"""Seconds between two readings of the file, and between two checks of each connection."""
_STARTING_TICK = 0.05
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 10.0
REFUSED_PAUSE = 120.0
"""Seconds after a refused login. An sshd counts failed logins and may block this machine, including
the daemon's connections. The forwarder tries earlier only if the login's files changed."""
_SETTLED = 30.0
"""Seconds. After a connection that lasted so long, the next pause is short."""
_END_S = 5.0
_SAID_BYTES = 4096


class Status(NamedTuple):
    """The state of the connection to a host."""

    state: str = "connecting"
    """"connecting", "connected" or "failed"."""
    said: str = ""
    """The last message of ssh, unchanged."""
    at: float = 0.0
    """When this state began, in seconds since 1970."""
    open: "tuple[str, ...]" = ()
    """Names of the sockets that lead to the host now."""

    def to_json(self) -> Outgoing:
        """Return it for the state file."""
        return {"state": self.state, "said": self.said, "at": self.at, "open": list(self.open)}


class Way:
    """The connection to one host, and its sockets. Only one thread calls `turn`; another may set
    `wanted`."""

    def __init__(self, folder: str, host: str, wanted: Wanted) -> None:
        self.wanted = wanted
        self.status = Status(at=time.time())
        self._over = self._is_in_doubt = False
        self._wake = threading.Event()
        self._folder, self._control = folder, control_of(host, wanted.ssh)
        self._sockets = Sockets(folder, self._control)
        self._thread = threading.Thread(target=self._run, name=host, daemon=True)
        self._ssh: Optional["subprocess.Popen[bytes]"] = None
        self._pause, self._not_before, self._began = FIRST_PAUSE, 0.0, 0.0
        self._said = b""
        self._files: "tuple[tuple[str, int], ...]" = ()
        """Times of the login's files before the last try."""
        self._refused: Optional["tuple[tuple[str, int], ...]"] = None
        """Times of these files at a refused login; None: the last login was not refused."""

    def start(self) -> None:
        """Keep the connection until `end`."""
        self._thread.start()

    def end(self) -> None:
        """Close the connection and wait for that: the next one may use the same names."""
        self._over = True
        self._wake.set()
        self._thread.join(2 * _END_S)

    def _run(self) -> None:
        try:
            while not self._over:
                self._wake.wait(self._tick())
                self._wake.clear()
                self.turn()
        finally:
            self._end()

    def turn(self) -> None:
        """Connect if there is no connection; otherwise open and close its sockets as wanted."""
        if self._ssh is None:
            if time.monotonic() >= self._not_before or self._has_changed():
                self._connect()
        elif self._ssh.poll() is not None:
            self._ended()
        elif os.path.exists(os.path.join(self._folder, self._control)):
            self._bring()
            self._show("connected")

    def _tick(self) -> float:
        return _TICK if self._ssh is None or self.status.state == "connected" else _STARTING_TICK

    def _has_changed(self) -> bool:
        return self._refused is not None and login_files(os.environ) != self._refused

    def _connect(self) -> None:
        self._remove(self._control)
        self._refused, self._files = None, login_files(os.environ)
        self._said, self._began = b"", time.monotonic()
        try:
            self._ssh = subprocess.Popen(
                connect_command(self._control, self.wanted.ssh, os.environ), cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            self._said = ("ssh cannot be started: %s" % error).encode("utf-8", "replace")
            self._fail()
            return
        threading.Thread(target=self._listen, args=(self._ssh,), daemon=True).start()

    def _listen(self, ssh: "subprocess.Popen[bytes]") -> None:
        """Read the output of ssh as long as it runs: a full pipe would stop it."""
        pipe = ssh.stderr
        assert pipe is not None
        with pipe, contextlib.suppress(OSError, ValueError):
            while True:
                data = os.read(pipe.fileno(), _SAID_BYTES)
                if not data:
                    return
                if ssh is self._ssh:
                    self._said = (self._said + data)[-_SAID_BYTES:]
                    self._is_in_doubt |= is_closed(data)
                    self._wake.set()

    def _ended(self) -> None:
        if time.monotonic() - self._began >= _SETTLED:
            self._pause = FIRST_PAUSE
        time.sleep(_STARTING_TICK)  # wait for its last output
        self._fail()

    def _fail(self) -> None:
        self._drop()
        refused = is_refusal(last_line(self._said))
        self._refused = self._files if refused else None
        pause = REFUSED_PAUSE if refused else self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._not_before = time.monotonic() + pause
        self._show("failed")

    def _bring(self) -> None:
        in_doubt, self._is_in_doubt = self._is_in_doubt, False
        self._sockets.bring(dict(self.wanted.sockets), in_doubt=in_doubt)
        self._said = self._sockets.said or self._said

    def _drop(self) -> None:
        self._sockets.drop()
        self._ssh = None

    def _end(self) -> None:
        ssh = self._ssh
        if ssh is not None:
            ssh.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                ssh.wait(_END_S)
            ssh.kill()
        self._drop()
        self._remove(self._control)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._folder, name))

    def _show(self, state: str) -> None:
        said, before = last_line(self._said), self.status
        at = before.at if before.state == state else time.time()
        self.status = Status(state, said, at, self._sockets.open)


class Forwarder:
    """The connections to all hosts of one gateway."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._ways: Dict[str, Way] = {}
        self._seen: Optional["tuple[int, int]"] = None
        self._told = ""

    def run(self) -> None:
        """Keep the connections until the file is gone."""
        self._prepare()
        while self.turn():
            time.sleep(_TICK)
        for way in self._ways.values():
            way.end()

    def turn(self) -> bool:
        """Read the wanted connections if they changed, and write the present state. False if the
        file is gone."""
        path = os.path.join(self._folder, WANTED)
        try:
            found = os.stat(path)
            if self._seen != (found.st_mtime_ns, found.st_ino):
                with open(path, encoding="utf-8") as file:
                    self._take(read_wanted(file.read()))
                self._seen = found.st_mtime_ns, found.st_ino
        except FileNotFoundError:
            return False
        self._tell()
        return True

    def _prepare(self) -> None:
        """Make the folder of the sockets, and remove those of an earlier forwarder."""
        sockets = os.path.join(self._folder, SOCKETS)
        os.makedirs(sockets, 0o700, exist_ok=True)
        for name in os.listdir(sockets):
            os.unlink(os.path.join(sockets, name))

    def _take(self, wanted: Mapping[str, Wanted]) -> None:
        for host, way in list(self._ways.items()):
            if host not in wanted or wanted[host].ssh != way.wanted.ssh:
                way.end()
                del self._ways[host]
        for host, each in wanted.items():
            if host in self._ways:
                self._ways[host].wanted = each
            else:
                self._ways[host] = Way(self._folder, host, each)
                self._ways[host].start()

    def _tell(self) -> None:
        said = json.dumps({host: way.status.to_json() for host, way in self._ways.items()})
        if said == self._told:
            return
        path = os.path.join(self._folder, STATE)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(said)
        os.rename(path + ".new", path)
        self._told = said


def main(arguments: List[str]) -> None:
    """Keep the connections of one gateway's folder."""
    os.umask(0o077)
    Forwarder(arguments[0]).run()


if __name__ == "__main__":
    main(sys.argv[1:])
