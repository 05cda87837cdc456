"""The synchronous client."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hostler.base.errors import HostlerError, NoDaemonError
from hostler.base.wire import Response, encode_request
from hostler.client import calls
from hostler.client.calls import Call
from hostler.client.exchange import BLOCK, Exchange, Log, RemoteFile
from hostler.client.file_calls import LONGEST_S, SLOW_S, SLOWEST, FileCalls
from hostler.client.lost import AGAIN_WITHIN_S, PAUSE_S, is_away, is_lost, unknown
from hostler.quick.socket import (
    DEFAULT_TIMEOUT,
    Found,
    decode_answer,
    find_socket,
    unreachable,
)

CHANGE_TIMEOUT = 60.0
"""Seconds for calls that change something: they answer once the change is durable."""


class Client(FileCalls):
    """Asks the daemon. Safe to use from several threads: each call has its own connection.

    `socket_path` names the daemon's socket; without it the usual places are searched. `timeout` is
    in seconds, for calls that only read; `revive` is called where the daemon went away under a
    submission, before it is sent once more. Every method raises NoDaemonError where no daemon
    answers, and else the error the daemon gave.
    """

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

    def version(self) -> dict[str, Any]:
        """Who answers: `version`, `api`, `daemon_id`, `pid`, `started_at`, `state`,
        and whether the lab is `simulated`."""
        return self._object(calls.version())

    def gpus(self) -> dict[str, Any]:
        """The `hostler.gpus/1` object: every host and GPU with its state."""
        return self._object(calls.gpus())

    def hosts(self) -> list[dict[str, Any]]:
        """All hosts, each with look and facts."""
        return self._list(calls.hosts(), "hosts")

    def host(self, name: str) -> dict[str, Any]:
        """One host with its look and facts."""
        return self._object(calls.host(name))

    def drain(self, name: str, reason: str = "") -> None:
        """Give a host no new work; what runs there goes on."""
        self.request(calls.drain(name, reason))

    def undrain(self, name: str) -> None:
        """Give a host work again."""
        self.request(calls.undrain(name))

    def clean_host(
        self, name: str, *, dry_run: bool = False, checkpoints: bool = False, kept: bool = False,
        shown_at: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Remove from a host what no open or kept run needs; `dry_run` only tells. `shown_at`: the
        `at` of such an answer; files and checkpoints of runs that ended since then stay."""
        return self._object(calls.clean_host(name, dry_run, checkpoints, kept, shown_at))

    def retry_host(self, name: str) -> None:
        """Connect to a host at once, also where it refused the login and is left alone since."""
        self.request(calls.retry_host(name))

    def has_snapshot(self, digest: str) -> bool:
        """Whether the daemon holds a packed source tree."""
        exchange = self._start(calls.snapshot(digest, "HEAD"), self.timeout)
        try:
            status = exchange.head().status
        finally:
            exchange.close()
        if status >= 400 and status != 404:
            raise HostlerError(f"the daemon answered with status {status} about a snapshot")
        return status < 400

    def put_snapshot(self, digest: str, path: str | Path) -> None:
        """Upload a packed source tree (tar) of that SHA-256, unless it is there already."""
        if self.has_snapshot(digest):
            return
        call, file_path = calls.snapshot(digest, "PUT"), Path(path)
        exchange = Exchange(self.found, call, CHANGE_TIMEOUT)
        try:
            with file_path.open("rb") as file:
                size = file_path.stat().st_size
                exchange.send_raw(
                    encode_request(
                        "PUT", call.target, length=size, content_type="application/x-tar"
                    )
                )
                while not exchange.is_refused and (block := file.read(BLOCK)):
                    exchange.send_raw(block)
            decode_answer(exchange.head().status, exchange.body())
        finally:
            exchange.close()

    def submit(self, submission: Mapping[str, Any], *, key: str | None = None) -> dict[str, Any]:
        """A new run, durable when this returns: a `pipeline` text or a `command`.

        It is sent once more where the answer was lost, and is one run all the same. With a `key`
        of your own (letters, digits, - and _) that holds for your own repetitions, too.
        """
        return self._make(calls.submit(submission, key))

    def check(self, submission: Mapping[str, Any]) -> dict[str, Any]:
        """What a submission comes to, before its source is uploaded. Raises PipelineError."""
        return self._object(calls.check(submission))

    def plan(self, submission: Mapping[str, Any]) -> dict[str, Any]:
        """Where a submission would go, changing nothing."""
        return self._object(calls.plan(submission))

    def runs(
        self,
        *,
        state: str | None = None,
        pipeline: str | None = None,
        owner: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Summaries of runs, the newest first."""
        return self._list(calls.runs(state, pipeline, owner, since, limit), "runs")

    def run(self, run_id: str) -> dict[str, Any]:
        """One run with its stages and attempts; the id may be shortened."""
        return self._object(calls.run(run_id))

    def run_events(
        self,
        run_id: str,
        *,
        after: int | None = None,
        follow: bool = False,
        tick: float | None = None,
    ) -> Iterator[dict[str, Any] | None]:
        """A run's stream: `{"event": ...}` after number `after` and `{"run": ...}` on changes.

        With `follow` live, until the run ends or the daemon does. With `tick`, None is yielded
        after each that many seconds of silence.
        """
        return self._lines(calls.run_events(run_id, after, follow), follow, tick)

    def events(
        self,
        *,
        after: int | None = None,
        limit: int | None = None,
        follow: bool = False,
        host: str | None = None,
        tick: float | None = None,
    ) -> Iterator[dict[str, Any] | None]:
        """Events (of a `host`) after number `after`, else the latest, `limit` (1000) at most, as
        `{"event": ...}` in order; with `follow` all that come, too. The rest as in `run_events`."""
        return self._lines(calls.events(after, limit, follow, host), follow, tick)

    def wait(self, run_id: str, *, timeout: float | None = None) -> dict[str, Any]:
        """The run once it has ended. Raises TimeoutError where `timeout` seconds do not suffice."""
        deadline = None if timeout is None else time.monotonic() + timeout
        run: dict[str, Any] = {}
        for line in self.run_events(run_id, follow=True, tick=None if timeout is None else 0.2):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"run {run_id} has not ended after {timeout:g} s")
            run = (line or {}).get("run") or run
        if run.get("outcome") is None:
            raise NoDaemonError(
                f"the daemon at {self.found.path} ended before run {run_id} did",
                remedy="Work goes on without it; ask again once it is back",
            )
        return run

    def why(self, run_id: str, stage: str | None = None) -> dict[str, Any]:
        """For each stage one sentence, and the full reason while it waits."""
        return self._object(calls.why(run_id, stage))

    def logs(
        self,
        run_id: str,
        stage: str,
        *,
        attempt: int | None = None,
        offset: int | None = None,
        follow: bool = False,
        tail: int | None = None,
        length: int | None = None,
    ) -> Log:
        """A stage's output from byte `offset`, or its last `tail` lines, `length` bytes at most;
        live with `follow`."""
        call = calls.logs(run_id, stage, attempt, offset, follow, tail, length)
        exchange = self._start(call, self.timeout)
        try:
            response = self._good_head(exchange)
        except BaseException:
            exchange.close()
            raise
        exchange.set_timeout(None if follow else CHANGE_TIMEOUT)
        return Log(exchange, response)

    def metrics(
        self, run_id: str, stage: str, *, points: int | None = None
    ) -> list[dict[str, Any]]:
        """What a stage wrote to its metrics file, as rows, oldest first; with `points` about so
        many of each metric, evenly chosen."""
        rows: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self._object(calls.metrics(run_id, stage, points, after))
            rows += page["metrics"]
            after = page.get("next")
            if after is None:
                return rows

    def artifacts(self, run_id: str) -> list[dict[str, Any]]:
        """The outputs that a run's stages have handed over."""
        return self._list(calls.artifacts(run_id), "artifacts")

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Stop a run: what waits never starts, what runs is stopped."""
        return self._object(calls.act(run_id, "cancel"))

    def priority(self, run_id: str, priority: int) -> dict[str, Any]:
        """Lower the priority of a run that has not ended."""
        return self._object(calls.priority(run_id, priority))

    def retry(
        self, run_id: str, *, change: Mapping[str, Any] | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new run of what did not succeed; what did is kept. `key` as in `submit`.

        `change` says what is otherwise: `params` (name to text), `source` of new code as in
        `submit`, `pipeline` (the file's text as it is now), and `from`, a list of stages that run
        again. A stage whose definition these change runs again, and so does what needs it.
        """
        return self._make(calls.again(run_id, "retry", key, change and dict(change)))

    def plan_retry(self, run_id: str, *, change: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What such a retry would do, changing nothing: each of `stages` is `kept`, or runs again
        for the reason `why`. `files` and `links` name what a source will hold that is not uploaded
        yet."""
        return self._object(calls.plan_retry(run_id, change or {}))

    def rerun(
        self, run_id: str, *, source: Mapping[str, Any] | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A new run of everything, with new code where a source is given; `key` as in `submit`."""
        body = {"source": source and dict(source)}
        return self._make(calls.again(run_id, "rerun", key, body))

    def remove(self, run_id: str) -> dict[str, Any]:
        """Forget a finished run and its logs."""
        return self._object(calls.remove(run_id))

    def kept(self, run_id: str) -> dict[str, Any]:
        """What is kept of a run, where, and until when."""
        return self._object(calls.kept(run_id))

    def keep(self, run_id: str, until: float | None = None) -> dict[str, Any]:
        """Keep all of a run, up to a time (seconds since the epoch) or for ever."""
        return self._object(calls.keep(run_id, until))

    def unkeep(self, run_id: str) -> dict[str, Any]:
        """Keep a run no longer than others."""
        return self._object(calls.unkeep(run_id))

    def gc(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Free disk space of what nothing needs; `dry_run` only tells."""
        return self._object(calls.gc(dry_run))

    def shutdown(self) -> None:
        """Stop the daemon; work goes on."""
        self.request(calls.shutdown())

    def request(self, call: Call, *, timeout: float | None = None) -> Any:
        """Any call of the API; its JSON answer. `timeout` instead of that for calls of its kind."""
        reading = call.method in ("GET", "HEAD")
        exchange = self._start(call, timeout or (self.timeout if reading else CHANGE_TIMEOUT))
        try:
            return decode_answer(exchange.head().status, exchange.body())
        finally:
            exchange.close()

    def _make(self, call: Call) -> dict[str, Any]:
        """A call that makes a run: sent once more where its answer was lost."""
        try:
            return self._object(call)
        except NoDaemonError as error:
            if not is_lost(error):
                raise
        if self.revive is not None:
            with contextlib.suppress(NoDaemonError):  # somebody else may start it
                self.revive()
        ends = time.monotonic() + AGAIN_WITHIN_S
        while True:
            try:
                return self._object(call)
            except NoDaemonError as error:
                if not is_away(error) or time.monotonic() > ends:
                    raise unknown(error, call.key) from error
            time.sleep(PAUSE_S)

    def _slow_object(self, call: Call) -> dict[str, Any]:
        return self._object(call, max(self.timeout, SLOW_S))

    def _remote_file(self, call: Call) -> RemoteFile:
        exchange = self._start(call, max(self.timeout, SLOW_S))
        try:
            file = RemoteFile(exchange, self._good_head(exchange))
            exchange.set_timeout(max(self.timeout, SLOW_S, min(LONGEST_S, file.size / SLOWEST)))
            return file
        except BaseException:
            exchange.close()
            raise

    def _object(self, call: Call, timeout: float | None = None) -> dict[str, Any]:
        answer = self.request(call, timeout=timeout)
        if not isinstance(answer, dict):
            raise HostlerError(f"the daemon's answer to {call.target} is not an object")
        return answer

    def _list(self, call: Call, member: str) -> list[dict[str, Any]]:
        found = (self._object(call)).get(member)
        if not isinstance(found, list):
            raise HostlerError(f"the daemon's answer to {call.target} has no list of {member}")
        return found

    def _start(self, call: Call, timeout: float | None) -> Exchange:
        exchange = Exchange(self.found, call, timeout)
        try:
            exchange.send(b"" if call.body is None else json.dumps(call.body).encode())
        except BaseException:
            exchange.close()
            raise
        return exchange

    def _good_head(self, exchange: Exchange) -> Response:
        response = exchange.head()
        if response.status >= 400:
            decode_answer(response.status, exchange.body())
        return response

    def _lines(
        self, call: Call, follow: bool, tick: float | None
    ) -> Iterator[dict[str, Any] | None]:
        exchange = self._start(call, self.timeout)
        try:
            self._good_head(exchange)
            exchange.set_timeout(tick if tick is not None else None if follow else self.timeout)
            rest = b""
            while True:
                try:
                    part = exchange.read()
                except TimeoutError as error:
                    if tick is None:
                        raise unreachable(self.found, error) from error
                    yield None
                    continue
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        finally:
            exchange.close()
