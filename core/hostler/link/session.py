"""One running agent: sends requests, receives answers and pushes, and limits what it may send
unasked; `model/timings` has the times of its pings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum

from hostler.base.errors import AgentError, HostError, Unreachable
from hostler.link.agent_start import Complaining, Started
from hostler.link.answers import LookReader, answer_error, may_refuse, read_push
from hostler.link.lines import Hostile, check_values, parse_object, to_line
from hostler.model.host_reports import GpuFault
from hostler.model.hosts import Look
from hostler.model.timings import DEFAULT, LinkTimings
from hostler.ports import Dropped, Push
from hostler_agent.json_values import Message, Outgoing

_MAX_PENDING = 10_000
_MAX_PUSHES = 2000
_PUSH_WINDOW = 10.0
_MAX_PUSH, _MAX_PUSH_BYTES = 1024 * 1024, 64 * 1024 * 1024
"""Bytes of one push, and of all in the window: an exit includes the end of its log."""
_MAX_VALUES = 20_000
_MAX_VALUES_OF = {"run.list": 200_000, "kept.list": 100_000}
"""Values in a message other than a look. Parsing them takes time, a second for the longest line,
and everything else waits."""
_MAX_LOOK_BYTES = 64 * 1024 * 1024
_LOOK_WINDOW = 60.0
"""Looks contain only what has changed: for an honest host, that is little."""
_MAX_STRANGE = 100
"""Faults of GPUs that are in no look."""
_MAX_EARLY = 200


class EndKind(Enum):
    """Why a session ended; this decides the reaction."""

    CLOSED = "closed"
    """We ended it."""
    DIED = "died"
    """The agent ended."""
    HUNG = "hung"
    """It stopped answering."""
    CUT = "cut"
    """The connection is gone."""
    HOSTILE = "hostile"
    """It broke the protocol."""


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended."""

    kind: EndKind
    reason: str
    """For people."""
    remedy: str = ""


class SessionEnded(Exception):
    """The session ended under a request. Stays inside this package."""


@dataclass(slots=True)
class _Pending:
    answer: asyncio.Future[Message | Look]
    sent: float
    verb: str
    look_at: float | None
    """For a look: the daemon's clock when it was asked for."""


class AgentSession:
    """Multiplexes requests over one agent in mode `serve`."""

    def __init__(
        self,
        host: str,
        started: Started,
        on_push: Callable[[Push], None],
        timings: LinkTimings = DEFAULT.link,
    ) -> None:
        self._timings = timings
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._host, self._started, self._on_push = host, started, on_push
        self._looks = LookReader()
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0
        self._heard = self._asked = self._now()
        self._pushes, self._push_bytes, self._push_window = 0, 0, self._now()
        self._look_bytes, self._look_window = 0, self._now()
        self._strange = 0
        self._early: list[GpuFault] | None = []
        """Faults from before the first look; None: the first look has arrived."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, hung_after: float) -> None:
        """Begin to listen. Silence of `hung_after` seconds during a request counts as hung."""
        self._tasks = [
            asyncio.create_task(self._listen(), name=f"agent {self._host}"),
            asyncio.create_task(self._watch(hung_after), name=f"agent watch {self._host}"),
        ]

    async def look(self, asked_at: float, timeout: float) -> Look:
        """One look. Raises TimeoutError, SessionEnded or a HostError."""
        answer = await self._ask("look", {}, timeout, asked_at)
        if not isinstance(answer, Look):
            raise AgentError(self._host, "a look was answered with something else")
        return answer

    async def request(self, verb: str, payload: Outgoing, timeout: float) -> Message:
        """Any other request. Raises TimeoutError, SessionEnded or a HostError."""
        answer = await self._ask(verb, payload, timeout, None)
        return answer if isinstance(answer, dict) else {}

    async def close(self) -> None:
        """End the agent; workloads that it started continue."""
        self._end(EndKind.CLOSED, "closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._started.stream.close()

    async def _ask(
        self, verb: str, payload: Outgoing, timeout: float, asked_at: float | None
    ) -> Message | Look:
        if self.ended.done():
            raise SessionEnded
        if len(self._pending) >= _MAX_PENDING:
            raise AgentError(self._host, "the agent has stopped answering")
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[Message | Look] = asyncio.get_running_loop().create_future()
        self._asked = self._now()
        self._pending[number] = _Pending(answer, self._asked, verb, asked_at)
        try:
            async with asyncio.timeout(timeout):
                await self._started.stream.write(to_line({"id": number, verb: dict(payload)}))
                return await answer
        except Unreachable as error:
            # The reader knows better whether the agent or the connection is gone.
            await asyncio.wait((self.ended,), timeout=self._timings.last_read)
            self._end(EndKind.CUT, error.message)
            raise SessionEnded from error
        finally:
            answer.cancel()

    async def _listen(self) -> None:
        try:
            while True:
                line = await self._started.reader.line()
                if line is None:
                    self._end(EndKind.DIED, self._last_words())
                    return
                self._heard = self._now()
                self._dispatch(parse_object(line), line)
        except Hostile as error:
            self._end(EndKind.HOSTILE, f"the agent sent {error}")
        except HostError as error:
            self._end(EndKind.CUT, error.message)

    def _dispatch(self, message: Message, line: bytes) -> None:
        number = message.get("id")
        if number is None:
            self._count_push(line)
            check_values(message, _MAX_VALUES)
            push = read_push(message)
            if isinstance(push, GpuFault):
                self._failed(push)
            elif push is not None:
                self._on_push(push)
            return
        pending = self._pending.pop(number, None) if type(number) is int else None
        if pending is None:
            raise Hostile("an answer without a request")
        try:
            if pending.look_at is not None:
                self._count_look(len(line))
            else:
                check_values(message, _MAX_VALUES_OF.get(pending.verb, _MAX_VALUES))
            _settle(pending.answer, self._result(message, pending))
        except Hostile:
            _settle(pending.answer, SessionEnded())
            raise

    def _result(self, message: Message, pending: _Pending) -> Message | Look | Exception:
        error = message.get("error")
        if error is not None:
            return answer_error(self._host, error, may_refuse=may_refuse(pending.verb))
        result = message.get("ok")
        if not isinstance(result, dict):
            raise Hostile("an answer without a result")
        if pending.look_at is None:
            return result
        # Also when nobody waits any more: later looks leave out what this one said.
        look = self._looks.read(result, pending.look_at)
        early, self._early = self._early, None
        for push in early or ():
            self._failed(push)
        return look

    def _failed(self, push: GpuFault) -> None:
        """Forward a fault, if its GPU is in any look. Raises Hostile for very many unknown GPUs."""
        if self._early is not None:
            if len(self._early) < _MAX_EARLY:
                self._early.append(push)
        elif push.gpu in self._looks.gpus:
            self._on_push(push)
        else:
            self._strange += 1
            if self._strange > _MAX_STRANGE:
                raise Hostile("faults of many GPUs that it does not have")

    def _count_look(self, size: int) -> None:
        now = self._now()
        if now - self._look_window > _LOOK_WINDOW:
            self._look_bytes, self._look_window = 0, now
        self._look_bytes += size
        if self._look_bytes > _MAX_LOOK_BYTES:
            raise Hostile(f"looks of more than {_MAX_LOOK_BYTES} bytes in {_LOOK_WINDOW:g} s")

    def _count_push(self, line: bytes) -> None:
        now = self._now()
        if now - self._push_window > _PUSH_WINDOW:
            self._pushes, self._push_bytes, self._push_window = 0, 0, now
        self._pushes += 1
        self._push_bytes += len(line)
        if len(line) > _MAX_PUSH:
            raise Hostile(f"a message of more than {_MAX_PUSH} bytes unasked")
        if self._pushes > _MAX_PUSHES:
            raise Hostile(f"more than {_MAX_PUSHES} messages in {_PUSH_WINDOW:g} s unasked")
        if self._push_bytes > _MAX_PUSH_BYTES:
            raise Hostile(f"messages of more than {_MAX_PUSH_BYTES} bytes unasked")

    async def _watch(self, hung_after: float) -> None:
        """Keep the agent alive with pings, and detect when it hangs."""
        pinged_at = 0.0
        while True:
            await asyncio.sleep(self._timings.watch_every)
            now = self._now()
            waiting = next(iter(self._pending.values()), None)
            if waiting is not None and now - max(self._heard, waiting.sent) > hung_after:
                self._end(EndKind.HUNG, f"the agent has sent nothing for {hung_after:g} s")
                return
            after = self._timings.ping_after
            quiet = waiting is not None and now - max(self._heard, waiting.sent) > after
            idle = now - self._asked > self._timings.idle_ping
            if (quiet or idle) and now - pinged_at > after:
                pinged_at = now
                self._ping()

    def _ping(self) -> None:
        task = asyncio.create_task(self._ping_once())
        self._tasks = [t for t in self._tasks if not t.done()]
        self._tasks.append(task)

    async def _ping_once(self) -> None:
        with contextlib.suppress(TimeoutError, SessionEnded, HostError):
            await self._ask("ping", {}, 60.0, None)

    def _end(self, kind: EndKind, reason: str) -> None:
        if self.ended.done():
            return
        self.ended.set_result(End(kind, reason))
        for pending in self._pending.values():
            _settle(pending.answer, SessionEnded())
        self._pending.clear()

    def _last_words(self) -> str:
        stream = self._started.stream
        said = stream.complaint if isinstance(stream, Complaining) else ""
        return f"the agent ended: {said}" if said else "the agent ended"

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _settle(future: asyncio.Future[Message | Look], outcome: Message | Look | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


_MOST = 10_000


class PushQueue:
    """Pushes of one connection after another. If they are not read, the oldest are dropped: later
    looks contain the same facts."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Push] = asyncio.Queue()
        self._is_open = False

    def open(self) -> None:
        """A connection begins."""
        self._queue = asyncio.Queue()
        self._is_open = True

    def put(self, push: Push) -> None:
        """Add a message of the agent."""
        if self._queue.qsize() >= _MOST:
            self._queue.get_nowait()
        self._queue.put_nowait(push)

    def drop(self, reason: str) -> None:
        """The connection is gone."""
        if self._is_open:
            self._is_open = False
            self._queue.put_nowait(Dropped(reason))

    async def listen(self) -> AsyncIterator[Push]:
        """Everything of the connection that is open now, up to and including `Dropped`."""
        queue = self._queue
        if not self._is_open and queue.empty():
            yield Dropped("not connected")
            return
        while True:
            push = await queue.get()
            yield push
            if isinstance(push, Dropped):
                return
