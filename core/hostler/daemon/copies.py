"""Copies of runs on the hosts they use, from which a lost database is made again."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hostler.daemon.context import Context
from hostler.decide.recovery import Kept, Note
from hostler.errors import AgentError, HostError, NotFoundError
from hostler.model.codec import from_json, to_json
from hostler.model.runs import Attempt, Run
from hostler.ports import HostLink

_log = logging.getLogger("hostler.daemon")

_MOST_TEXT = 256 * 1024 * 1024
"""Bytes of a specification once unpacked: a host may say anything."""
_MOST_LINES = 64 * 1024 * 1024


class _Notes:
    """Notes of one run that are under way."""

    def __init__(self) -> None:
        self.count = 0
        self.none_left = asyncio.Event()


class Copies:
    """Writes each run's specification to every host it uses, and a note for each attempt there."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sent: set[tuple[str, str]] = set()
        self._under_way: dict[str, _Notes] = {}

    async def note(self, attempt: Attempt) -> None:
        """Keep an attempt, as it is now, on its host; with its run's specification the first time.

        Raises Unreachable. A host that cannot keep it, its disk being full, is no reason not to
        work there.
        """
        run = self._context.book.find(attempt.run_id)
        if run is None:
            return
        with self._noting(run.run_id):
            await self._note(run, attempt)

    async def _note(self, run: Run, attempt: Attempt) -> None:
        context = self._context
        payload = {
            "daemon_id": context.daemon_id,
            "run_id": run.run_id,
            "line": encode_note(Note(attempt, run.cancelled_by, run.priority)),
        }
        link, key = context.link(attempt.host), (attempt.host, run.run_id)
        try:
            if key not in self._sent:
                payload["spec"] = await self._spec(run)
            told = await link.call("run.keep", payload)
            if not told.get("spec") and context.book.find(run.run_id) is not None:
                payload["spec"] = await self._spec(run)
                await link.call("run.keep", payload)
        except AgentError as error:
            _log.warning("no copy of run %s on %s: %s", run.run_id, attempt.host, error)
            return
        self._sent.add(key)

    async def forget(self, run_ids: Iterable[str], hosts: Iterable[str]) -> None:
        """Remove the copies of runs that have ended, and left the book. What cannot be reached now
        is removed by the next gc."""
        ids = list(run_ids)
        for run_id in ids:
            if (notes := self._under_way.get(run_id)) is not None:
                await notes.none_left.wait()  # else the copy would come back behind its removal
        for host in hosts:
            self._sent -= {(host, run_id) for run_id in ids}
            try:
                link = self._context.link(host)
                await link.call("run.forget", {"daemon_id": self._context.daemon_id, "runs": ids})
            except HostError as error:
                _log.info("the copies of %s stay on %s for now: %s", ", ".join(ids), host, error)

    @contextmanager
    def _noting(self, run_id: str) -> Iterator[None]:
        notes = self._under_way.setdefault(run_id, _Notes())
        notes.count += 1
        try:
            yield
        finally:
            notes.count -= 1
            if not notes.count:
                del self._under_way[run_id]
                notes.none_left.set()

    async def sweep(self, host: str) -> bool:
        """Remove the copies of ended runs that a host still has; whether it has some of runs that
        the database does not know, which stay: it may be an old one put back, or a new one. Raises
        HostError."""
        context = self._context
        asked = {"daemon_id": context.daemon_id}
        told = await context.link(host).call("run.list", asked)
        found = {run_id: await self._is_over(run_id) for run_id in told["runs"]}
        over = [run_id for run_id, is_over in found.items() if is_over]
        if over:
            await self.forget(over, [host])
        return None in found.values()

    async def _is_over(self, run_id: str) -> bool | None:
        """None: nobody knows."""
        store = self._context.store
        if self._context.book.find(run_id) is not None:
            return False
        try:
            return (await store.get_run(run_id)).outcome is not None
        except NotFoundError:
            return True if await store.was_removed(run_id) else None

    async def _spec(self, run: Run) -> str:
        text = await self._context.store.pipeline_text(run.run_id)
        return await asyncio.to_thread(encode_spec, run, text)


async def read_copies(link: HostLink, daemon_id: str) -> tuple[list[Kept], list[str]]:
    """What a host keeps of a daemon's runs, and a sentence for each copy that cannot be read.
    Raises HostError."""
    told = await link.call("run.list", {"daemon_id": daemon_id})
    found, problems = [], []
    for run_id in told["runs"]:
        try:
            found.append(await _read(link, daemon_id, run_id))
        except (ValueError, zlib.error, RecursionError) as error:
            problems.append(f"the copy of run {run_id} on {link.host} cannot be read: {error}")
    return found, problems


async def _read(link: HostLink, daemon_id: str, run_id: str) -> Kept:
    asked: dict[str, Any] = {"daemon_id": daemon_id, "run_id": run_id, "offset": 0}
    page = await link.call("run.read", asked)
    run, text = await asyncio.to_thread(decode_spec, str(page.get("spec")))
    if run.run_id != run_id:
        raise ValueError(f"it is of run {run.run_id}")
    pages, size = [page["lines"]], len(page["lines"])
    while page["lines"]:
        if page["next"] <= asked["offset"] or size > _MOST_LINES:
            raise ValueError("its lines have no end")
        asked["offset"] = page["next"]
        page = await link.call("run.read", asked)
        pages.append(page["lines"])
        size += len(page["lines"])
    notes = await asyncio.to_thread(_notes, "".join(pages), run_id)
    return Kept(link.host, run, text, notes)


def encode_spec(run: Run, pipeline_text: str) -> str:
    """A run without its attempts, as one line of ASCII."""
    value = {"run": to_json(replace(run, attempts=())), "pipeline_text": pipeline_text}
    return base64.b64encode(zlib.compress(json.dumps(value).encode(), 6)).decode("ascii")


def decode_spec(text: str) -> tuple[Run, str]:
    """What `encode_spec` wrote. Raises ValueError or zlib.error."""
    packed = base64.b64decode(text, validate=True)
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, _MOST_TEXT)
    if unpacker.unconsumed_tail:
        raise ValueError("it is too large")
    value = _loads(data)
    if not isinstance(value, Mapping):
        raise ValueError("it is no object")
    return from_json(Run, value.get("run")), str(value.get("pipeline_text") or "")


def encode_note(note: Note) -> str:
    """A note as one line of ASCII."""
    return json.dumps(to_json(note), separators=(",", ":"))


def _loads(text: str | bytes) -> Any:
    """A JSON value of which all can be written into a database. Raises ValueError, RecursionError
    for others: numbers beyond 64 bits or without value, halves of characters."""
    value = json.loads(text, parse_int=_whole, parse_constant=_whole)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) >= 2**63:
        raise ValueError("a number beyond 64 bits")
    return value


def _notes(lines: str, run_id: str) -> tuple[Note, ...]:
    """The lines that can be read: one that a full disk or a crash cut short says nothing."""
    found = []
    for line in lines.splitlines():
        try:
            note = from_json(Note, _loads(line))
        except (ValueError, RecursionError):
            continue
        if note.attempt.run_id == run_id:
            found.append(note)
    return tuple(found)
