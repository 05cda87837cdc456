"""Containers, by reading (GET) the Docker socket that this login may use.

One thread lists and inspects when asked; another follows Docker's events, so that an exit is told
at once. Neither holds up anything else when Docker hangs: then `problem` says so.
"""

from __future__ import annotations

import errno
import os
import queue
import socket
import threading
import time
from typing import Any, Callable, Container, Dict, List, NamedTuple, Optional, Tuple

from hostler_agent import engine
from hostler_agent.grants import grants
from hostler_agent.http import Connection, HttpError, query
from hostler_agent.inspected import ATTEMPT, add_start, as_inspected, is_cut_off, is_ours, workload
from hostler_agent.ooms import Ooms
from hostler_agent.processes import Proc
from hostler_agent.removed_containers import RemovedContainers, ended

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


def socket_path() -> Optional[str]:
    """The Docker (or Podman) socket to use: `DOCKER_HOST`, the system's, this user's own."""
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("unix://"):
        return host[len("unix://") :]
    own = os.environ.get("XDG_RUNTIME_DIR") or "/run/user/%d" % os.getuid()
    found = [
        path
        for path in (
            "/var/run/docker.sock",
            own + "/docker.sock",
            own + "/podman/podman.sock",
            "/run/podman/podman.sock",
        )
        if _is_socket(path)
    ]
    usable = [path for path in found if os.access(path, os.R_OK | os.W_OK)]
    return (usable + found)[0] if found else None


def _is_socket(path: str) -> bool:
    import stat

    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


class Containers:
    """What Docker shows. `wake` is called by the threads when `ready` may have become true."""

    def __init__(
        self,
        wake: Callable[[], None],
        exited: Callable[[Dict[str, Any]], None],
        kept: Callable[[], Container[str]] = tuple,
    ) -> None:
        """`kept`: ids of containers that have ended and stay, which no list shows."""
        self.path = socket_path()
        self.work: List[Dict[str, Any]] = []
        self.foreign: List[Running] = []
        self.problem: Optional[str] = None if self.path else _absent(None)
        self.version: Optional[str] = None
        self.podman = False
        self.info: Dict[str, Any] = {}
        self.components: Dict[str, str] = {}
        """What the engine is made of, like runc, and its version."""
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
        """Whether it may give containers larger limits than its own."""
        self._engine_since: Optional[float] = None
        self._inspected: Dict[str, Tuple[str, Dict[str, Any]]] = {}
        self._health_due: Dict[str, float] = {}
        self._known: Dict[str, Running] = {}
        self._ooms = Ooms()
        self._removed = RemovedContainers(Proc())
        self._started = False

    def start(self, events: bool = True) -> None:
        """Start the threads; `events`: follow events too."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._serve, daemon=True, name="docker").start()
            if events:
                threading.Thread(target=self._follow, daemon=True, name="docker-events").start()

    def refresh(self) -> None:
        """Ask for a list that is newer than this call."""
        if self._started and self._is_there():
            if self._done == self._wanted:
                self._deadline = time.monotonic() + PATIENCE
            self._wanted += 1
            self._jobs.put(None)

    def _is_there(self) -> bool:
        """Whether there is a socket at all; a host without Docker costs a look next to nothing."""
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
        """Seconds until `ready` at the latest; None: nothing is awaited."""
        return max(0.0, self._deadline - now) if self._done < self._wanted else None

    def ready(self, now: float) -> bool:
        """The list is as new as the last `refresh`, or `problem` says why not."""
        if self._done == self._wanted:
            return True
        if now < self._deadline:
            return False
        self.problem = "Docker does not answer"
        return True

    def usable(self) -> bool:
        """This login may use Docker here, whether or not it answers at the moment."""
        return self.path is not None and os.access(self.path, os.R_OK | os.W_OK)

    def running(self) -> List[Running]:
        """All running containers of anybody, now, for a claim. Raises HttpError."""
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
                continue  # a list that was made meanwhile was new enough
            problem = None
            try:
                self._refresh()
            except HttpError as error:
                problem = _problem(self.path, error)
            except Exception as error:  # the thread has to live: without it Docker is never seen
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
        parts = [c for c in about.get("Components") or () if isinstance(c, dict)]
        self.components = {str(c.get("Name")): str(c.get("Version")) for c in parts}
        self.podman = any("Podman" in str(c.get("Name")) for c in about.get("Components") or ())
        self.info = self._connection.get("/info")
        peer = self._connection.peer()
        self._engine_since = engine.started_at(peer, Proc())
        self.raises_limits = engine.raises_limits(peer)

    def _read(self, connection: Connection) -> None:
        label = {"label": [ATTEMPT]}
        listed = connection.get(query("/containers/json", all="1", filters=label))
        work, kept, hidden = [], {}, self._kept()
        for item in listed:
            ref, state = str(item.get("Id", "")), _state(item)
            if ref in hidden and state in ("exited", "dead"):
                continue
            before = self._inspected.get(ref)
            if state == "created":
                # The list says it all, and an inspect would wait until the start is over.
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

    def _doubts(self, ref: str, before: Tuple[str, Dict[str, Any]]) -> bool:
        """Whether what was inspected may be true no more, though the list says the same."""
        state, found = before
        if state.endswith("unhealthy") and not is_cut_off(found.get("State") or {}):
            # The check could not be made then; since, it may have been, with what result?
            now = time.monotonic()
            if now >= self._health_due.get(ref, 0.0):
                self._health_due[ref] = now + HEALTH_EVERY
                return True
        return self._removed.doubts(ref)

    def _inspect(self, connection: Connection, ref: str) -> Optional[Dict[str, Any]]:
        try:
            found = connection.get("/containers/%s/json" % ref)
        except HttpError as error:
            if error.status == 404:  # removed since it was listed
                return None
            raise
        if not isinstance(found, dict):
            return None
        add_start(ref, found, Proc())
        return found

    def _list_running(self, connection: Connection) -> List[Running]:
        result, kept = [], {}
        for item in connection.get("/containers/json"):
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
                pass  # looks report it; here it is only tried again
            time.sleep(2.0)

    def _events(self, connection: Connection, path: str) -> None:
        import json

        wanted = {"type": ["container"], "event": ["create", "start", "die", "destroy"]}
        held = b""
        for piece in connection.stream("GET", query("/events", filters=wanted)):
            lines = (held + piece).split(b"\n")
            held = lines.pop()
            for line in lines:
                if line.strip():
                    self._event(json.loads(line), path)

    def _event(self, event: Dict[str, Any], path: str) -> None:
        self._foreign_due = 0.0
        actor = event.get("Actor") or {}
        if ATTEMPT not in (actor.get("Attributes") or {}):
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

    def _workload(self, inspect: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        one = workload(inspect)
        if one is not None and one.get("created_only"):
            self._ooms.created(one["ref"])
        elif one is not None and self._ooms.unreported(inspect, one):
            one["oom_killed"] = True
        return one


def _state(item: Dict[str, Any]) -> str:
    """What of a listed container is worth an inspect when it changes."""
    unhealthy = "unhealthy" if "(unhealthy)" in str(item.get("Status", "")) else ""
    return (str(item.get("State", "")) + " " + unhealthy).strip()


def _running(inspect: Dict[str, Any], default_runtime: str) -> Running:
    config = inspect.get("Config") or {}
    labels = (config.get("Labels") or {}) if is_ours(inspect) else {}
    return Running(
        str(inspect.get("Id", "")),
        str(inspect.get("Name", "")).lstrip("/"),
        str(config.get("Image", "")),
        grants(inspect, default_runtime),
        labels.get(ATTEMPT),
        labels.get("hostler.daemon"),
    )


def _has_name(item: Dict[str, Any]) -> bool:
    """Docker lists a removed container for ever, without its name, where a health check of it was
    under way while containerd was killed. Only an inspect tells that there is none."""
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
