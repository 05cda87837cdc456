"""The asynchronous client: the same calls, for asyncio programs such as the TUI."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from hostler.base.errors import HostlerError, NoDaemonError
from hostler.base.wire import Response, encode_request
from hostler.client import calls
from hostler.client.aio_exchange import AsyncExchange, AsyncLog, AsyncRemoteFile
from hostler.client.aio_file_calls import AsyncFileCalls
from hostler.client.calls import Call
from hostler.client.exchange import BLOCK
from hostler.client.file_calls import SLOW_S
from hostler.client.lost import AGAIN_WITHIN_S, PAUSE_S, is_away, is_lost, unknown
from hostler.client.sync import CHANGE_TIMEOUT
from hostler.quick.socket import DEFAULT_TIMEOUT, Found, decode_answer, find_socket, unreachable


class AsyncClient(AsyncFileCalls):
    """Asks the daemon; see `Client`. Any number of calls may be under way at once."""

    def __init__(
        self,
        socket_path: str | Path | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        found: Found | None = None,
        revive: Callable[[], object] | None = None,
    ) -> None:
        self.found = found or find_socket(str(socket_path) if socket_path else None)
        self.timeout = timeout
        self.revive = revive

    async def version(self) -> dict[str, Any]:
        """Who answers: `version`, `api`, `daemon_id`, `pid`, `started_at`, `state`,
        and whether the lab is `simulated`."""
        return await self._object(calls.version())

    async def gpus(self) -> dict[str, Any]:
        """The `hostler.gpus/1` object: every host and GPU with its state."""
        return await self._object(calls.gpus())

    async def hosts(self) -> list[dict[str, Any]]:
        """All hosts, each with look and facts."""
        return await self._list(calls.hosts(), "hosts")

    async def host(self, name: str) -> dict[str, Any]:
        """One host with its look and facts."""
        return await self._object(calls.host(name))

    async def drain(self, name: str, reason: str = "") -> None:
        """Give a host no new work; what runs there goes on."""
        await self.request(calls.drain(name, reason))

    async def undrain(self, name: str) -> None:
        """Give a host work again."""
        await self.request(calls.undrain(name))

    async def clean_host(
        self, name: str, *, dry_run: bool = False, checkpoints: bool = False, kept: bool = False,
        shown_at: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Remove from a host what no open or kept run needs; `dry_run` only tells. `shown_at`: the
        `at` of such an answer; files and checkpoints of runs that ended since then stay."""
        return await self._object(calls.clean_host(name, dry_run, checkpoints, kept, shown_at))

    async def retry_host(self, name: str) -> None:
        """Connect to a host at once, also where it refused the login and is left alone since."""
        await self.request(calls.retry_host(name))

    async def has_snapshot(self, digest: str) -> bool:
        """Whether the daemon holds a packed source tree."""
        exchange = AsyncExchange(self.found, calls.snapshot(digest, "HEAD"))
        try:
            async with self._limit(self.timeout):
                await exchange.send()
                status = (await exchange.head()).status
        finally:
            await exchange.close()
        if status >= 400 and status != 404:
            raise HostlerError(f"the daemon answered with status {status} about a snapshot")
        return status < 400

    async def put_snapshot(self, digest: str, path: str | Path) -> None:
        """Upload a packed source tree (tar) of that SHA-256, unless it is there already."""
        if await self.has_snapshot(digest):
            return
        call, file_path = calls.snapshot(digest, "PUT"), Path(path)
        exchange = AsyncExchange(self.found, call)
        size = (await asyncio.to_thread(file_path.stat)).st_size
        file = await asyncio.to_thread(file_path.open, "rb")
        try:
            await exchange.open()
            head = encode_request("PUT", call.target, length=size, content_type="application/x-tar")
            await exchange.send_raw(head)
            while not exchange.is_refused and (block := await asyncio.to_thread(file.read, BLOCK)):
                await exchange.send_raw(block)
            async with self._limit(CHANGE_TIMEOUT):
                decode_answer((await exchange.head()).status, await exchange.body())
        finally:
            file.close()
            await exchange.close()

    async def submit(
        self, submission: Mapping[str, Any], *, key: str | None = None
    ) -> dict[str, Any]:
        """A new run, durable when this returns; see `Client.submit`."""
        return await self._make(calls.submit(submission, key))

    async def check(self, submission: Mapping[str, Any]) -> dict[str, Any]:
        """What a submission comes to, before its source is uploaded. Raises PipelineError."""
        return await self._object(calls.check(submission))

    async def plan(self, submission: Mapping[str, Any]) -> dict[str, Any]:
        """Where a submission would go, changing nothing."""
        return await self._object(calls.plan(submission))

    async def runs(
        self,
        *,
        state: str | None = None,
        pipeline: str | None = None,
        owner: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Summaries of runs, the newest first."""
        return await self._list(calls.runs(state, pipeline, owner, since, limit), "runs")

    async def run(self, run_id: str) -> dict[str, Any]:
        """One run with its stages and attempts; the id may be shortened."""
        return await self._object(calls.run(run_id))

    def run_events(
        self, run_id: str, *, after: int | None = None, follow: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """A run's stream: `{"event": ...}` after number `after` and `{"run": ...}` on changes.

        With `follow` live, until the run ends or the daemon does.
        """
        return self._lines(calls.run_events(run_id, after, follow))

    def events(
        self,
        *,
        after: int | None = None,
        limit: int | None = None,
        follow: bool = False,
        host: str | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Events (of a `host`) after number `after`, else the latest, `limit` (1000) at most, as
        `{"event": ...}` in order; with `follow` all that come, too."""
        return self._lines(calls.events(after, limit, follow, host))

    async def wait(self, run_id: str, *, timeout: float | None = None) -> dict[str, Any]:
        """The run once it has ended. Raises TimeoutError where `timeout` seconds do not suffice."""
        async with asyncio.timeout(timeout):
            run: dict[str, Any] = {}
            async for line in self.run_events(run_id, follow=True):
                run = line.get("run") or run
        if run.get("outcome") is None:
            raise NoDaemonError(
                f"the daemon at {self.found.path} ended before run {run_id} did",
                remedy="Work goes on without it; ask again once it is back",
            )
        return run

    async def why(self, run_id: str, stage: str | None = None) -> dict[str, Any]:
        """For each stage one sentence, and the full reason while it waits."""
        return await self._object(calls.why(run_id, stage))

    async def logs(
        self,
        run_id: str,
        stage: str,
        *,
        attempt: int | None = None,
        offset: int | None = None,
        follow: bool = False,
        tail: int | None = None,
        length: int | None = None,
    ) -> AsyncLog:
        """A stage's output from byte `offset`, or its last `tail` lines, `length` bytes at most;
        live with `follow`."""
        exchange = AsyncExchange(
            self.found, calls.logs(run_id, stage, attempt, offset, follow, tail, length)
        )
        try:
            response = await self._good_head(exchange)
        except BaseException:
            await exchange.close()
            raise
        return AsyncLog(exchange, response)

    async def metrics(
        self, run_id: str, stage: str, *, points: int | None = None
    ) -> list[dict[str, Any]]:
        """What a stage wrote to its metrics file, as rows, oldest first; with `points` about so
        many of each metric, evenly chosen."""
        rows: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = await self._object(calls.metrics(run_id, stage, points, after))
            rows += page["metrics"]
            after = page.get("next")
            if after is None:
                return rows

    async def artifacts(self, run_id: str) -> list[dict[str, Any]]:
        """The outputs that a run's stages have handed over."""
        return await self._list(calls.artifacts(run_id), "artifacts")

    async def cancel(self, run_id: str) -> dict[str, Any]:
        """Stop a run: what waits never starts, what runs is stopped."""
        return await self._object(calls.act(run_id, "cancel"))

    async def priority(self, run_id: str, priority: int) -> dict[str, Any]:
        """Lower the priority of a run that has not ended."""
        return await self._object(calls.priority(run_id, priority))

    async def retry(
        self, run_id: str, *, change: Mapping[str, Any] | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new run of what did not succeed, or is to be made otherwise; see `Client.retry`."""
        return await self._make(calls.again(run_id, "retry", key, change and dict(change)))

    async def plan_retry(
        self, run_id: str, *, change: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What such a retry would do, changing nothing; see `Client.plan_retry`."""
        return await self._object(calls.plan_retry(run_id, change or {}))

    async def rerun(
        self, run_id: str, *, source: Mapping[str, Any] | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new run of everything, with new code where a source is given."""
        body = {"source": source and dict(source)}
        return await self._make(calls.again(run_id, "rerun", key, body))

    async def remove(self, run_id: str) -> dict[str, Any]:
        """Forget a finished run and its logs."""
        return await self._object(calls.remove(run_id))

    async def kept(self, run_id: str) -> dict[str, Any]:
        """What is kept of a run, where, and until when."""
        return await self._object(calls.kept(run_id))

    async def keep(self, run_id: str, until: float | None = None) -> dict[str, Any]:
        """Keep all of a run, up to a time (seconds since the epoch) or for ever."""
        return await self._object(calls.keep(run_id, until))

    async def unkeep(self, run_id: str) -> dict[str, Any]:
        """Keep a run no longer than others."""
        return await self._object(calls.unkeep(run_id))

    async def gc(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Free disk space of what nothing needs; `dry_run` only tells."""
        return await self._object(calls.gc(dry_run))

    async def shutdown(self) -> None:
        """Stop the daemon; work goes on."""
        await self.request(calls.shutdown())

    async def request(self, call: Call, *, timeout: float | None = None) -> Any:
        """Any call of the API; its JSON answer. `timeout` instead of that for calls of its kind."""
        reading = call.method in ("GET", "HEAD")
        exchange = AsyncExchange(self.found, call)
        try:
            limit = timeout or (self.timeout if reading else CHANGE_TIMEOUT)
            async with self._limit(limit):
                await exchange.send(b"" if call.body is None else json.dumps(call.body).encode())
                status = (await exchange.head()).status
                return decode_answer(status, await exchange.body())
        finally:
            await exchange.close()

    async def _make(self, call: Call) -> dict[str, Any]:
        """A call that makes a run: sent once more where its answer was lost."""
        try:
            return await self._object(call)
        except NoDaemonError as error:
            if not is_lost(error):
                raise
        if self.revive is not None:
            with contextlib.suppress(NoDaemonError):  # somebody else may start it
                await asyncio.to_thread(self.revive)
        ends = time.monotonic() + AGAIN_WITHIN_S
        while True:
            try:
                return await self._object(call)
            except NoDaemonError as error:
                if not is_away(error) or time.monotonic() > ends:
                    raise unknown(error, call.key) from error
            await asyncio.sleep(PAUSE_S)

    async def _slow_object(self, call: Call) -> dict[str, Any]:
        return await self._object(call, max(self.timeout, SLOW_S))

    async def _remote_file(self, call: Call) -> AsyncRemoteFile:
        exchange = AsyncExchange(self.found, call)
        try:
            return AsyncRemoteFile(exchange, await self._good_head(exchange, SLOW_S))
        except BaseException:
            await exchange.close()
            raise

    async def _object(self, call: Call, timeout: float | None = None) -> dict[str, Any]:
        answer = await self.request(call, timeout=timeout)
        if not isinstance(answer, dict):
            raise HostlerError(f"the daemon's answer to {call.target} is not an object")
        return answer

    async def _list(self, call: Call, member: str) -> list[dict[str, Any]]:
        found = (await self._object(call)).get(member)
        if not isinstance(found, list):
            raise HostlerError(f"the daemon's answer to {call.target} has no list of {member}")
        return found

    async def _good_head(self, exchange: AsyncExchange, least: float = 0.0) -> Response:
        async with self._limit(max(self.timeout, least)):
            await exchange.send()
            response = await exchange.head()
            if response.status >= 400:
                decode_answer(response.status, await exchange.body())
        return response

    async def _lines(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        exchange = AsyncExchange(self.found, call)
        try:
            await self._good_head(exchange)
            rest = b""
            while part := await exchange.read():
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        finally:
            await exchange.close()

    def _limit(self, seconds: float) -> _Limit:
        return _Limit(self.found, seconds)


class _Limit:
    """`asyncio.timeout` whose end is a NoDaemonError that names the socket."""

    def __init__(self, found: Found, seconds: float) -> None:
        self._found = found
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise unreachable(self._found, late) from late
