"""Whether paths of this host exist and are readable or shared, as this login sees them: how long a
path may take to answer, and how many may hang.

A check of a path may hang for hours if its file server hangs, and the daemon repeats its requests.
So a separate thread checks each path, and no second thread checks the same path before the first
returns.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Callable, Dict, List, Optional, TypedDict

from hostler_agent import mounts
from hostler_agent.folders import Refusal
from hostler_agent.json_values import Json, table

PATIENCE = 25.0
"""Seconds that a request may take: less than the 30 s for which the requester waits."""
MOST_STUCK = 64
"""Paths that may hang at the same time; a further path then gets no thread."""
_MAX_PATHS = 256


class Answer(TypedDict, total=False):
    """The state of a path; `token_ok` only if the request named a token."""

    path: str
    real: str
    exists: bool
    is_dir: bool
    readable: bool
    writable: bool
    shared: Optional[bool]
    token_ok: bool


class _Look:
    def __init__(self) -> None:
        self.hangs = False
        """Whether the caller has stopped waiting."""
        self.over = threading.Event()
        self.answer: Answer = {}
        self.error: Optional[Exception] = None


class Paths:
    """Checks paths. Any thread may call it."""

    def __init__(
        self, look: Optional[Callable[[Json], Answer]] = None, patience: float = PATIENCE
    ) -> None:
        self._look = look or look_at
        self._deadline_thread = patience
        self._lock = threading.Lock()
        self._busy: Dict[str, _Look] = {}

    def stat(self, items: Json) -> List[Answer]:
        """Return the state of each path; for items see `look_at`. Raises Refusal if the request is
        invalid, or if a path does not answer ("Unreachable")."""
        if not isinstance(items, list) or len(items) > _MAX_PATHS:
            raise Refusal("paths should be a list of at most %d" % _MAX_PATHS, "InputError")
        paths = [_path_of(item) for item in items]
        until = time.monotonic() + self._deadline_thread
        return [self._one(item, path, until) for item, path in zip(items, paths)]

    def _one(self, item: Json, path: str, until: float) -> Answer:
        mine = self._begin(path, until)
        looker = threading.Thread(target=self._run, args=(mine, path, item), daemon=True)
        looker.name = "path"
        try:
            looker.start()
        except RuntimeError:  # no thread can be started
            self._end(mine, path)
            raise
        if not mine.over.wait(max(0.0, until - time.monotonic())):
            mine.hangs = True
            raise _silent(path)
        if mine.error is not None:
            raise mine.error
        return mine.answer

    def _begin(self, path: str, until: float) -> _Look:
        """Get the right to check the path, which one thread has at a time. The result of another
        thread may be older than this request, so it is not used."""
        while True:
            with self._lock:
                other = self._busy.get(path)
                if other is None:
                    if sum(look.hangs for look in self._busy.values()) >= MOST_STUCK:
                        raise _silent(path, "as do %d other paths" % MOST_STUCK)
                    mine = self._busy[path] = _Look()
                    return mine
            if other.hangs or not other.over.wait(max(0.0, until - time.monotonic())):
                raise _silent(path)

    def _run(self, mine: _Look, path: str, item: Json) -> None:
        try:
            mine.answer = self._look(item)
        except Exception as error:  # raised in the thread of the request
            mine.error = error
        finally:
            self._end(mine, path)

    def _end(self, mine: _Look, path: str) -> None:
        with self._lock:
            del self._busy[path]
        mine.over.set()


def _silent(path: str, more: str = "") -> Refusal:
    text = "%s does not answer: its file system hangs%s"
    return Refusal(text % (path, ", " + more if more else ""), "Unreachable")


def _path_of(item: Json) -> str:
    path = item.get("path") if isinstance(item, dict) else item
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise Refusal("%r is not an absolute path" % (path,), "InputError")
    return path


def look_at(item: Json) -> Answer:
    """The state of one path. The item is a path, or {"path", "token": {"name", "content"}}: then
    `token_ok` says whether the folder contains that token."""
    path = _path_of(item)
    result: Answer = {
        "path": path, "real": os.path.realpath(path),
        "exists": os.path.exists(path), "is_dir": os.path.isdir(path),
        "readable": os.access(path, os.R_OK), "writable": os.access(path, os.W_OK),
        "shared": mounts.shared(path),
    }  # fmt: skip
    token = table(table(item).get("token"))
    if token:
        name, wanted = os.path.basename(str(token.get("name"))), str(token.get("content"))
        try:
            with open(os.path.join(path, name), encoding="utf-8", errors="replace") as file:
                result["token_ok"] = file.read(4096) == wanted
        except OSError:
            result["token_ok"] = False
    return result
