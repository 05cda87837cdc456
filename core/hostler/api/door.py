"""Decides who may use the daemon (owner, root, configured users and groups), how refusals are
logged and audited, and the call names that `hostler audit` shows."""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import pwd
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostler.api.answers import REFUSAL, error_answer
from hostler.api.connection_limits import CONNECTIONS_A_USER, Peer
from hostler.base.errors import ConflictError, ForbiddenError, HostlerError
from hostler.base.text import clean_line
from hostler.base.users import user_name
from hostler.daemon.audit import CONNECT, Audit
from hostler.daemon.context import ASKING
from hostler.daemon.rights import is_admitted
from hostler.model.calls import Caller
from hostler.model.config import DaemonConfig
from hostler.model.timings import DEFAULT, ApiTimings

_log = logging.getLogger("hostler.api")
_MOST_KNOWN = 512
_MOST_TOLD = 64
"""Most users logged by name in that time: one person may have thousands of uids (user
namespaces)."""
_SUBMITTED = ("/v1/runs", "/v1/check", "/v1/plan")
_VERBS = (
    "cancel", "priority", "retry", "rerun", "drain", "undrain", "acknowledge", "unacknowledge",
    "gc", "keep", "fetched", "shutdown", "ssh-agent", "audit", "clean", "deploy", "scale", "stop",
    "extend",
)  # fmt: skip
_SECRET = re.compile(r"/v1/secrets/[^/]+")
_TOKEN = re.compile(r"/v1/tokens/[^/]+")
_IMAGES = {"/v1/images/send": "image-send", "/v1/images/remove": "image-rm"}
_RUN = re.compile(r"/v1/runs/([a-z0-9]{1,16})(?:/|$)")
Times = Callable[[], ApiTimings]
Admit = Callable[[Scope], Awaitable[Caller]]
"""Says who sends a request. Raises HostlerError for unauthorised users."""


def _default() -> ApiTimings:
    return DEFAULT.api


class Door:
    """The outermost layer: unauthorised users always get the same answer, and the daemon stores
    nothing that they send."""

    def __init__(self, app: ASGIApp, admit: Admit, times: Times = _default) -> None:
        self._app = app
        self._admit = admit
        self._times = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its `Caller` in `request.state.caller`."""
        if scope["type"] == "http":
            try:
                scope["state"]["caller"] = caller = await self._admit(scope)
                ASKING.set(caller)
            except HostlerError as error:
                answer = error_answer(error)
                answer.headers["connection"] = "close"
                await answer(scope, receive, send)
                return
            send = self._watched(scope, send)
        await self._app(scope, receive, send)

    def _watched(self, scope: Scope, send: Send) -> Send:
        """Some answers last for days; a user who leaves the group meanwhile gets no more of them.
        The connections of users without access are closed within seconds, see
        `connection_limits`."""
        asked = time.monotonic()

        async def sending(message: Message) -> None:
            nonlocal asked
            if time.monotonic() - asked > self._times().user_known:
                try:
                    await self._admit(scope)
                except HostlerError:
                    return
                asked = time.monotonic()
            await send(message)

        return sending


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    in_group: bool
    asked_at: float


class Doorman:
    """Authorises the daemon's owner, root, and the users and group that the config names."""

    def __init__(
        self,
        settings: Callable[[], DaemonConfig],
        guests: set[int],
        times: Times = _default,
    ) -> None:
        self._settings = settings
        self._times = times
        self._guests = guests
        self._users: dict[tuple[int, str | None], _User] = {}
        self._asking_of_guests = asyncio.Lock()
        self._asking_of_others = asyncio.Lock()
        self._refusals = RefusalLog(times)

    async def __call__(self, scope: Scope) -> Caller:
        """The caller, as the kernel identifies the other end of the connection.

        Raises ForbiddenError, and logs it; ConflictError if the user has too many connections.
        """
        peer: Peer = scope["state"]["peer"]
        settings = self._settings()
        user = await self._user(peer.uid, settings.group)
        caller = Caller(peer.uid, user.name)
        if not is_admitted(settings, os.getuid(), caller, in_group=user.in_group):
            self._guests.discard(peer.uid)
            peer.let_in = False
            what = clean_line(f"{scope['method']} {scope['path']}", 200)
            self._refusals.tell(user.name, peer.uid, what, time.monotonic())
            refused = ForbiddenError(
                f"user {user.name} may not use this daemon",
                remedy="its owner can let you in: [daemon] allow or group in config.toml",
            )
            scope["state"][REFUSAL] = (caller, refused.message)
            raise refused
        if peer.is_over:
            over = ConflictError(
                f"{user.name} has {CONNECTIONS_A_USER} open connections to this daemon",
                remedy="end some of the programs that use them",
            )
            scope["state"][REFUSAL] = (caller, over.message)
            raise over
        self._guests.add(peer.uid)
        peer.let_in = True
        return caller

    async def _user(self, uid: int, group: str | None) -> _User:
        """One lookup at a time, in a thread: a directory server that does not answer must not stop
        the daemon, and unknown users must not take all threads. Known users do not wait for
        them."""
        found = self._known(uid, group)
        if found is None:
            is_guest = uid in self._guests
            async with self._asking_of_guests if is_guest else self._asking_of_others:
                found = self._known(uid, group)  # another request of theirs may have asked
                if found is None:
                    found = await asyncio.to_thread(_ask, uid, group)
                    self._keep(uid, group, found)
        return found

    def _known(self, uid: int, group: str | None) -> _User | None:
        found = self._users.get((uid, group))
        is_old = found is not None and time.monotonic() - found.asked_at > self._times().user_known
        return None if is_old else found

    def _keep(self, uid: int, group: str | None, user: _User) -> None:
        self._users.pop((uid, group), None)
        self._users[uid, group] = user
        while len(self._users) > _MOST_KNOWN:
            del self._users[next(iter(self._users))]


class RefusalLog:
    """Limits the log of refused requests: there may be thousands in a second."""

    def __init__(self, times: Times = _default) -> None:
        self._times = times
        self._since = 0.0
        self._asked: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._others = 0

    def tell(self, name: str, uid: int, what: str, now: float) -> None:
        """Log the first request of a user, and a minute later the number of further ones."""
        if now - self._since >= self._times().repeat_refusal:
            self._sum_up()
            self._since = now
        if uid in self._asked:
            self._asked[uid] += 1
        elif len(self._asked) < _MOST_TOLD:
            self._asked[uid], self._names[uid] = 0, name
            _log.warning("refused %s (uid %d): %s", clean_line(name, 100), uid, what)
        else:
            self._others += 1

    def _sum_up(self) -> None:
        for uid, more in self._asked.items():
            if more:
                name = clean_line(self._names[uid], 100)
                _log.warning("refused %s (uid %d) %d more times", name, uid, more)
        if self._others:
            _log.warning("refused users of many other uids %d times", self._others)
        self._asked, self._names, self._others = {}, {}, 0


def _ask(uid: int, group: str | None) -> _User:
    return _User(user_name(uid), group is not None and in_group(uid, group), time.monotonic())


def in_group(uid: int, group: str) -> bool:
    """Whether the user is in the group, according to this machine's user database."""
    try:
        user = pwd.getpwuid(uid)
        wanted = grp.getgrnam(group).gr_gid
        return wanted in os.getgrouplist(user.pw_name, user.pw_gid)
    except (KeyError, OSError):  # OSError: the directory server said neither yes nor no
        return False


class Refusals:
    """Writes refusals of all layers to the audit table, before the answer is sent."""

    def __init__(self, app: ASGIApp, audit: Callable[[], Audit]) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and check its answer."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(scope)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)

    async def _note(self, scope: Scope) -> None:
        refusal = scope["state"].pop(REFUSAL, None)
        if refusal is None:
            return
        who, why = refusal
        if "caller" not in scope["state"]:
            await self._audit().refused(who, CONNECT, why, None)
            return
        found = _RUN.match(scope["path"])
        call = call_of(scope["method"], scope["path"])
        await self._audit().refused(who, call, why, found[1] if found else None)


def call_of(method: str, path: str) -> str:
    """The name of a call in the audit table, one of a few names for all paths."""
    verb = path.removesuffix("/plan").rsplit("/", 1)[-1]
    if method == "POST" and path in _SUBMITTED:
        return "submit"
    if _SECRET.fullmatch(path) and method in ("PUT", "DELETE"):
        return "secret-set" if method == "PUT" else "secret-rm"
    if _TOKEN.fullmatch(path) and method == "DELETE":
        return "token-revoke"
    if path in _IMAGES:
        return _IMAGES[path]
    if verb == "rollback":
        return "deploy"
    if method == "DELETE":
        return "unkeep" if verb == "keep" else "remove"
    if method == "PUT":
        return "upload"
    return verb if verb in _VERBS else "look" if method in ("GET", "HEAD") else "other"
