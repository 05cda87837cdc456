"""Lists containers through the Docker socket: how often, how long Docker may take to answer, and
the message if it does not answer or refuses this login.

One thread lists and inspects containers on request. Another follows Docker's events, so that an
exit is reported at once. If Docker hangs, only these threads wait, and `problem` gives the reason.
"""

from __future__ import annotations

import errno
import os
import queue
import socket
import threading
import time
from typing import Callable, Container, Dict, List, NamedTuple, Optional, Tuple

from hostler_agent import engine
from hostler_agent.fields import optional_text
from hostler_agent.grants import grants
from hostler_agent.http import Connection, HttpError, query, socket_path
from hostler_agent.inspected import (
    ATTEMPT,
    DAEMON,
    add_start,
    as_inspected,
    is_cut_off,
    is_ours,
    labels_of,
    probed,
    state_of,
    workload,
)
from hostler_agent.json_values import Message, table, tables
from hostler_agent.look_sections import Workload
from hostler_agent.ooms import Ooms
from hostler_agent.probed import Probed
from hostler_agent.processes import Proc
from hostler_agent.removed_containers import RemovedContainers, ended
from hostler_agent.wire import decode_line

PATIENCE = 2.0
"""Seconds that a look waits for Docker."""
FOREIGN_EVERY = 10.0
HEALTH_EVERY = 30.0
_TIMEOUT = 20.0


class Running(NamedTuple):
    """A running container."""

    container_id: str
    name: str
    image: str
    grants: Tuple[str, ...]
    attempt_id: Optional[str]
    daemon_id: Optional[str]


class Containers:
    """What Docker reports. The threads call `wake` when `ready` may have become true."""

    def __init__(
        self,
        wake: Callable[[], None],
        exited: Callable[[Workload], None],
        kept: Callable[[], Container[str]] = tuple,
    ) -> None:
        """`kept`: returns ids of ended containers that stay for their files; lists omit them."""
        self.path = socket_path()
        self.work: List[Workload] = []
        self.services: List[Probed] = []
        """Running replicas of services."""
        self.foreign: List[Running] = []
        self.problem: Optional[str] = None if self.path else _absent(None)
        self.version: Optional[str] = None
        self.podman = False
        self.info: Message = {}
        self.components: Dict[str, str] = {}
        """Components of the engine, like runc -> version."""
        self._wake = wake
        self._exited = exited
        self._kept = kept
        self._wanted = 0
        self._done = 0
        self._deadline = 0.0
        self._foreign_due = 0.0
        self._probe_due = 0.0
        self._jobs: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._connection: Optional[Connection] = None
        self.raises_limits: Optional[bool] = None
        """Whether the engine may give containers larger limits than its own."""
        self._engine_since: Optional[float] = None
        self._inspected: Dict[str, Tuple[str, Message]] = {}
        self._health_due: Dict[str, float] = {}
        self._known: Dict[str, Running] = {}
        self._ooms = Ooms()
        self._removed = RemovedContainers(Proc())
        self._started = False

    def start(self, events: bool = True) -> None:
        """Start the threads. `events`: also follow Docker's events."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._serve, daemon=True, name="docker").start()
            if events:
                threading.Thread(target=self._follow, daemon=True, name="docker-events").start()

    def refresh(self) -> None:
        """Request a list that is newer than this call."""
        if self._started and self._is_there():
            if self._done == self._wanted:
                self._deadline = time.monotonic() + PATIENCE
            self._wanted += 1
            self._jobs.put(None)

    def _is_there(self) -> bool:
        """Whether there is a socket at all: on a host without Docker this check is almost free."""
        now = time.monotonic()
        if self.path is None and now >= self._probe_due:
            self._probe_due = now + FOREIGN_EVERY
            self.path = socket_path()
        if self.path is not None and os.path.exists(self.path):
            return True
        if self._done == self._wanted:
            self.problem = _absent(self.path)
        return False

    def timeout(self, now: float) -> Optional[float]:
        """Seconds until `ready` at the latest; None: no list is pending."""
        return max(0.0, self._deadline - now) if self._done < self._wanted else None

    def ready(self, now: float) -> bool:
        """Whether the list is as new as the last `refresh`, or `problem` says why it is not."""
        if self._done == self._wanted:
            return True
        if now < self._deadline:
            return False
        self.problem = "Docker does not answer"
        return True

    def usable(self) -> bool:
        """Whether this login may use Docker here, even if Docker does not answer now."""
        return self.path is not None and os.access(self.path, os.R_OK | os.W_OK)

    def running(self) -> List[Running]:
        """All containers of all users that run now, for a claim. Raises HttpError."""
        path = self._find()
        if path is None:
            return []
        connection = Connection(path, PATIENCE)
        try:
            return self._list_running(connection)
        finally:
            connection.close()

    def _find(self) -> Optional[str]:
        if self.path is None:
            self.path = socket_path()
        return self.path

    def _serve(self) -> None:
        while True:
            self._jobs.get()
            wanted = self._wanted
            if wanted == self._done:
                continue  # a list made meanwhile is new enough
            problem = None
            try:
                self._refresh()
            except HttpError as error:
                problem = _problem(self.path, error)
            except Exception as error:  # the thread must continue: without it Docker is never read
                problem = "Docker gave an answer that cannot be read (%r)" % (error,)
                self._disconnect()
            if wanted == self._wanted:
                self.problem = problem
            self._done = wanted
            self._wake()

    def _refresh(self) -> None:
        path = self._find()
        if path is None:
            raise HttpError(_absent(path))
        for fresh in (self._connection is None, True):
            if fresh:
                self._reconnect(path)
            assert self._connection is not None
            try:
                self._read(self._connection)
                return
            except HttpError as error:
                self._disconnect()
                if fresh or error.status:
                    raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _reconnect(self, path: str) -> None:
        self._connection = Connection(path, _TIMEOUT)
        about = self._connection.get("/version")
        self.version = str(about.get("Version") or "")
        parts = tables(about.get("Components"))
        self.components = {str(c.get("Name")): str(c.get("Version")) for c in parts}
        self.podman = any("Podman" in name for name in self.components)
        self.info = self._connection.get("/info")
        peer = self._connection.peer()
        self._engine_since = engine.started_at(peer, Proc())
        self.raises_limits = engine.raises_limits(peer)

    def _read(self, connection: Connection) -> None:
        label = {"label": [ATTEMPT]}
        listed = connection.get_list(query("/containers/json", all="1", filters=label))
        work, kept, hidden = [], {}, self._kept()
        services: List[Probed] = []
        for item in listed:
            ref, state = str(item.get("Id", "")), _state(item)
            if ref in hidden and state in ("exited", "dead"):
                continue
            before = self._inspected.get(ref)
            if state == "created":
                # The list has all data, and an inspect would wait until the start is complete.
                kept[ref] = (state, as_inspected(item))
            elif (
                before and before[0] == state and _has_name(item) and not self._doubts(ref, before)
            ):
                kept[ref] = before
            else:
                found = self._inspect(connection, ref)
                if found is None:
                    continue
                kept[ref] = (state, found)
            one = self._workload(kept[ref][1])
            if one is not None:
                if one["running"] and self._removed.is_one(ref, kept[ref][1]):
                    one = ended(one)
                if engine.was_restarted(one, self._engine_since):
                    one["engine_restarted"] = True
                work.append(one)
                if one["running"] and (service := probed(kept[ref][1], one)) is not None:
                    services.append(service)
        self.services = services
        self._inspected = kept
        self._removed.keep(kept)
        self._health_due = {ref: due for ref, due in self._health_due.items() if ref in kept}
        if work != self.work:
            self.work = work
        if time.monotonic() >= self._foreign_due:
            self._foreign_due = time.monotonic() + FOREIGN_EVERY
            running = self._list_running(connection)
            foreign = [c for c in running if c.grants and not c.attempt_id]
            if foreign != self.foreign:
                self.foreign = foreign

    def _doubts(self, ref: str, before: Tuple[str, Message]) -> bool:
        """Whether the last inspect may be outdated although the list is the same."""
        state, found = before
        if state.endswith("unhealthy") and not is_cut_off(state_of(found)):
            # The last check could not run; a later one may have a result.
            now = time.monotonic()
            if now >= self._health_due.get(ref, 0.0):
                self._health_due[ref] = now + HEALTH_EVERY
                return True
        return self._removed.doubts(ref)

    def _inspect(self, connection: Connection, ref: str) -> Optional[Message]:
        try:
            found = connection.get("/containers/%s/json" % ref)
        except HttpError as error:
            if error.status == 404:  # removed after the list was made
                return None
            raise
        add_start(ref, found, Proc())
        return found

    def _list_running(self, connection: Connection) -> List[Running]:
        result, kept = [], {}
        for item in connection.get_list("/containers/json"):
            ref = str(item.get("Id", ""))
            one = self._known.get(ref)
            if one is None or not _has_name(item):
                found = self._inspect(connection, ref)
                if found is None:
                    continue
                one = _running(found, str(self.info.get("DefaultRuntime") or ""))
            kept[ref] = one
            result.append(one)
        self._known = kept
        return result

    def _follow(self) -> None:
        while True:
            path = self._find()
            try:
                if path is None:
                    raise HttpError("no socket")
                connection = Connection(path, None)
                try:
                    self._events(connection, path)
                finally:
                    connection.close()
            except (HttpError, ValueError, TypeError, AttributeError, KeyError):
                pass  # looks report the error; this thread only tries again
            time.sleep(2.0)

    def _events(self, connection: Connection, path: str) -> None:
        wanted = {"type": ["container"], "event": ["create", "start", "die", "destroy"]}
        held = b""
        for piece in connection.stream("GET", query("/events", filters=wanted)):
            lines = (held + piece).split(b"\n")
            held = lines.pop()
            for line in lines:
                if line.strip():
                    self._event(decode_line(line), path)

    def _event(self, event: Message, path: str) -> None:
        self._foreign_due = 0.0
        actor = table(event.get("Actor"))
        if ATTEMPT not in table(actor.get("Attributes")):
            return
        action, ref = event.get("Action"), str(actor.get("ID", ""))
        if action == "create":
            self._ooms.created(ref)
        elif action == "destroy":
            self._ooms.gone(ref)
        elif action == "die":
            self._tell_exit(ref, path)

    def _tell_exit(self, ref: str, path: str) -> None:
        connection = Connection(path, _TIMEOUT)
        try:
            found = self._inspect(connection, ref)
        finally:
            connection.close()
        one = self._workload(found) if found else None
        if one is not None and not one["running"]:
            self._exited(one)

    def _workload(self, inspect: Message) -> Optional[Workload]:
        one = workload(inspect)
        if one is not None and one.get("created_only"):
            self._ooms.created(one["ref"])
        elif one is not None and self._ooms.unreported(inspect, one):
            one["oom_killed"] = True
        return one


def _state(item: Message) -> str:
    """The part of a listed container that needs a new inspect if it changes."""
    unhealthy = "unhealthy" if "(unhealthy)" in str(item.get("Status", "")) else ""
    return (str(item.get("State", "")) + " " + unhealthy).strip()


def _running(inspect: Message, default_runtime: str) -> Running:
    labels = labels_of(inspect) if is_ours(inspect) else {}
    return Running(
        str(inspect.get("Id", "")),
        str(inspect.get("Name", "")).lstrip("/"),
        str(table(inspect.get("Config")).get("Image", "")),
        grants(inspect, default_runtime),
        optional_text(labels, ATTEMPT),
        optional_text(labels, DAEMON),
    )


def _has_name(item: Message) -> bool:
    """Whether a listed container has a name. If containerd was killed during a health check of a
    container, Docker may list the removed container for ever, without a name. Only an inspect shows
    that it is gone."""
    return bool(item.get("Names"))


def _absent(path: Optional[str]) -> str:
    return "Docker is not running (%s)" % path if path else "Docker has no socket here"


def _problem(path: Optional[str], error: HttpError) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM):
        return "this login may not use Docker (%s): it is not in group docker" % path
    if isinstance(cause, (ConnectionRefusedError, FileNotFoundError, socket.timeout)):
        return _absent(path)
    return str(error)
