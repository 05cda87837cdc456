"""HAProxy on a host of the simulated lab, as strict as the real one, for tests: what its sockets
say and do. Whatever leaves requests without an answer is noted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from hostler.sim import SimLab

T = TypeVar("T")
CHECKED_AFTER_S = 0.01
"""From the moment that a server is added to its first check."""
FOLDER = "/tmp/gateway"
_COLUMNS = "# pxname,svname,addr,status,check_status,scur,qcur,uweight,slim,stot,hrsp_5xx,econ"


@dataclass
class SimServer:
    """A server as HAProxy has it."""

    address: str
    since: float = field(default_factory=time.monotonic)
    admin: str = "maint"
    is_checked: bool = False
    is_down: bool = False
    check: str = "INI"
    sessions: int = 0
    was_good: bool = False
    """A check found it so since it was added."""

    @property
    def status(self) -> str:
        """As `show stat` says it."""
        if self.admin == "maint":
            return "MAINT"
        if self.is_down:
            return "DOWN"
        return "DRAIN" if self.admin == "drain" else "UP"


@dataclass
class SimHaproxy:
    """The one gateway of a lab."""

    lab: SimLab
    name: str
    """Of its host."""
    files: dict[str, str] = field(default_factory=dict)
    servers: dict[tuple[str, str], SimServer] = field(default_factory=dict)
    """By backend and name."""
    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of tokens and grants, by file."""
    asks_for_tokens: bool = False
    is_running: bool = False
    job: str = ""
    """Of its process, which may have ended; "": it was removed."""
    is_forwarding: bool = False
    """Its forwarder runs."""
    is_frozen: bool = False
    is_port_taken: bool = False
    structure: str = ""
    violations: list[str] = field(default_factory=list)
    is_promised: Callable[[], bool] = lambda: False
    """Whether requests have to be answered now, unless a fault took the last replica."""

    # Requests

    def answers(self, service: str) -> bool:
        """Whether a request would be answered now: HAProxy tries another server where one that it
        takes for good does not accept it."""
        return any(
            server.status == "UP" and self._is_well(server)
            for (backend, _), server in self.servers.items()
            if backend == f"s.{service}" and self.is_running and not self.is_frozen
        )

    def watch(self, what: str, act: Callable[[], T]) -> T:
        """Let a daemon do something, and note where requests found nobody after it."""
        names = {backend.removeprefix("s.") for backend, _ in self.servers}
        before = [name for name in names if self.answers(name)]
        done = act()
        for name in before:
            if not self.answers(name) and self.is_promised():
                self.violations.append(f"nobody answers requests to {name} after: {what}")
        return done

    def watch_stop(self, attempt_id: str, act: Callable[[], T]) -> T:
        """Let a daemon stop a replica, which should get no requests any more."""
        for (_, name), server in self.servers.items():
            gets = server.status == "UP" and self.is_running and self._is_well(server)
            if name == attempt_id and gets and self.is_promised():
                self.violations.append(f"{attempt_id} is stopped while it gets requests")
        return self.watch(f"the stop of {attempt_id}", act)

    def _is_well(self, server: SimServer) -> bool:
        port = int(server.address.rpartition(":")[2])
        host = self.lab.host(self.name)
        for work in host.works.values():
            found = work.health(host.clock.now(), host.booted_at) if work.port == port else None
            if found is not None and work.running:
                return found.ok
        return False

    # Its process

    def end(self) -> None:
        """As by kill -9: what it knew is gone."""
        self.is_running = False
        self.servers.clear()

    def start(self) -> None:
        """With the servers of its configuration."""
        if not self.is_port_taken:
            self.is_running = True
            self.load()

    def load(self) -> str:
        """As at a start, and by `reload`: servers that were added at run time are forgotten."""
        if self.is_port_taken:
            return "Success=0\n--\n[ALERT] binding [127.0.0.1:8080] for proxy main: cannot bind\n"
        text = self.files["haproxy.cfg"]
        (self.structure,) = re.findall(r"^    description (\S+)$", text, re.M)
        before, self.servers, backend = self.servers, {}, ""
        for name in ("tokens.map", "grants.map"):
            rows = (line.split(" ", 1) for line in self.files[name].splitlines())
            self.maps[f"{FOLDER}/{name}"] = dict(rows)
        for line in text.splitlines():
            words = line.split()
            if words and not line.startswith(" "):  # a section; of the ring of the log, too
                backend = words[-1] if words[0] == "backend" else ""
            elif words[:1] == ["server"] and backend:
                known = before.get((backend, words[1]))
                made = SimServer(words[2], admin="ready", is_checked=True)
                self.servers[backend, words[1]] = known or made
        return "Success=1\n--\n"

    def said(self, line: str) -> str:
        """The answer to one line at the master's socket."""
        self._check()
        if line == "reload":
            return self.watch("a reload", self.load)
        words = line.removeprefix("@1 ").split()
        if words[0] == "show":
            return self._show(words)
        if words[1] == "map":
            return self._map(words)
        return self.watch(line, lambda: self._do(words))

    def _check(self) -> None:
        for server in self.servers.values():
            is_due = time.monotonic() - server.since >= CHECKED_AFTER_S
            if server.is_checked and server.admin != "maint" and is_due:
                server.is_down = not self._is_well(server)
                server.check = "L4CON" if server.is_down else "L7OK"
                server.was_good = server.was_good or not server.is_down

    def _show(self, words: list[str]) -> str:
        if words[1] == "info":
            return f"Version: 3.0.11\ndescription: {self.structure}"
        if words[1] == "stat":
            rows = [
                f"{backend},{name},{s.address},{s.status},{s.check},{s.sessions},0,100,,0,0,0"
                for (backend, name), s in self.servers.items()
            ]
            return "\n".join([_COLUMNS, *rows])
        if words[1:] == ["servers", "state"]:
            return "\n".join(
                f"1 {backend} 1 {name} {s.address} 2 {8 if s.admin == 'drain' else 0} 1"
                for (backend, name), s in self.servers.items()
            )
        if words[1] == "map":
            return "\n".join(f"0x1 {key} {value}" for key, value in self.maps[words[2]].items())
        return ""

    def _map(self, words: list[str]) -> str:
        verb, known, key = words[0], self.maps[words[2]], words[3]
        if verb == "get":
            return f"type=str, case=sensitive, found={'yes' if key in known else 'no'}"
        if verb == "del":
            known.pop(key, None)
        else:
            known[key] = words[4]
        return ""

    def _do(self, words: list[str]) -> str:
        verb, place = words[0], next(word for word in words if "/" in word)
        backend, _, name = place.partition("/")
        if verb == "add":
            self.servers[backend, name] = SimServer(words[3])
            return "New server registered."
        server = self.servers[backend, name]
        if verb == "del":
            if server.admin != "maint" or server.sessions:
                raise AssertionError(f"HAProxy refuses to remove {name}")
            del self.servers[backend, name]
        elif verb == "enable":
            server.is_checked = True
        elif verb == "shutdown":
            server.sessions = 0
        elif "state" in words:
            self._set(name, server, words[-1])
        return ""

    def _set(self, name: str, server: SimServer, state: str) -> None:
        if state == "ready" and not server.was_good:
            self.violations.append(f"{name} gets requests before a good check")
        if server.admin == "maint":
            server.since, server.is_down, server.check = time.monotonic(), False, "INI"
        server.admin = state
