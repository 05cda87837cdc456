"""Fetches requests of stages that may submit other runs from their hosts, and delivers the answers.

A host can send requests only for attempts that run there according to the daemon: the daemon asks
for these, and ignores answers about others.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import defaultdict
from collections.abc import Collection

from hostler.base.errors import AgentError, HostError, HostlerError, InputError
from hostler.daemon.context import Context
from hostler.daemon.nested_requests import NestedRequests
from hostler.model.runs import Phase

_log = logging.getLogger("hostler.daemon")
_MOST_PROBLEMS = 20
_BUG = "the daemon failed on this request; its log has the details"


class Nested:
    """Serves stages that may submit runs, with one task for each host that has such stages."""

    def __init__(self, context: Context, requests: NestedRequests) -> None:
        self._context = context
        self._requests = requests
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._silent: set[str] = set()
        """Hosts already reported because their requests wait."""

    async def run(self) -> None:
        """Run until cancelled."""
        cache = self._context.run_cache
        try:
            while True:
                await cache.has_nested.wait()
                await asyncio.sleep(self._context.timings.nested_every)
                for host, attempts in self._asking().items():
                    self._begin(host, attempts)
                if not cache.runs():
                    cache.has_nested.clear()
        finally:
            tasks = [*self._turns.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _asking(self) -> dict[str, list[str]]:
        """The attempts that may send requests, by their hosts."""
        found: dict[str, list[str]] = defaultdict(list)
        cache = self._context.run_cache
        for attempt in cache.open_attempts():
            is_running = attempt.phase is Phase.RUNNING
            if is_running and cache.stage(attempt.run_id, attempt.stage).nested:
                found[attempt.host].append(attempt.attempt_id)
        return found

    def _begin(self, host: str, attempts: list[str]) -> None:
        monitor = self._context.monitors.get(host)
        if host in self._turns or monitor is None or not monitor.is_connected:
            return
        task = asyncio.create_task(self._turn(host, attempts), name=f"nested {host}")
        self._turns[host] = task
        task.add_done_callback(lambda _: self._turns.pop(host, None))

    async def _turn(self, host: str, attempts: list[str]) -> None:
        try:
            await self.serve(host, attempts)
            self._silent.discard(host)
        except HostlerError as error:
            level = logging.DEBUG if host in self._silent else logging.INFO
            _log.log(level, "requests of stages on %s wait: %s", host, error)
            self._silent.add(host)
        except Exception:
            _log.exception("requests of stages on %s: this is a bug in Hostler", host)

    async def serve(self, host: str, attempts: Collection[str]) -> None:
        """Carry out and answer the current requests of these attempts. Raises HostError."""
        link = self._context.link(host)
        said = await link.call("nested.list", {"attempts": [*attempts]})
        for entry in said["requests"]:
            attempt, request = entry["attempt_id"], entry["id"]
            if attempt not in attempts:
                raise AgentError(host, f"the agent sent a request of {attempt}, which is not there")
            data = base64.b64decode(entry["data"])
            code, text = await self._answer(attempt, request, data)
            answer = {"attempt_id": attempt, "id": request, "code": code, "text": text}
            await link.call("nested.answer", answer)

    async def _answer(self, attempt: str, request: str, data: bytes) -> tuple[int, str]:
        try:
            return 0, await self._requests.do(attempt, request, data)
        except HostError:
            raise
        except HostlerError as error:
            problems = error.untold if isinstance(error, InputError) else ()
            texts = (error.message, error.remedy, *map(str, problems[:_MOST_PROBLEMS]))
            return 1, "\n".join(filter(None, texts))
        except Exception:
            _log.exception("a request of %s: this is a bug in Hostler, please report it", attempt)
            return 1, _BUG
