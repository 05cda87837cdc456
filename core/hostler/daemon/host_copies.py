"""Writes copies of runs to the hosts that work for them, so that a lost database can be rebuilt;
the form of a copy is in `copy_format`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakValueDictionary

from hostler.base.errors import AgentError, HostError, NotFoundError, StateError
from hostler.base.units import KIB
from hostler.daemon.context import Context
from hostler.daemon.copy_format import encode_end, encode_note, encode_spec
from hostler.daemon.copy_reading import read_copy
from hostler.decide.merging import End
from hostler.decide.recovery import Note, is_covered
from hostler.model.files import Artifact
from hostler.model.runs import Attempt, Run

MOST_LINES = 200
"""Most notes about one run with services on one host, before they are merged."""
_MOST_ASKED = 1000
"""Most runs named by a host that are looked up: it may name any number."""
_SHORT, _STAGE = 16 * KIB, KIB
"""The longest short specification, and about the length that a stage adds to its text."""
_log = logging.getLogger("hostler.daemon")


class _Notes:
    """Notes of one run that are being written."""

    def __init__(self) -> None:
        self.count = 0
        self.none_left = asyncio.Event()


class HostCopies:
    """Writes each run's specification to every host it uses, and a note for each attempt there."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sent: set[tuple[str, str]] = set()
        self._under_way: dict[str, _Notes] = {}
        self._checked: set[str] = set()
        self._noting_services: set[str] = set()
        self._lines: dict[tuple[str, str], int] = {}
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._checks: set[asyncio.Task[None]] = set()

    def seen(self, host: str) -> None:
        """A host answers: the first time, the daemon checks its copies of open runs and rewrites
        the unsigned ones (an earlier version wrote them, or the key was lost)."""
        if host not in self._checked:
            self._checked.add(host)
            self._soon(self._check(host), f"check the copies on {host}")
        elif self._context.services and host not in self._noting_services:
            self._renote(host)

    def _renote(self, host: str) -> None:
        """Write the notes about services that the host missed while it did not answer."""
        from hostler.daemon.note_writing import lacking, note_quietly

        if any(lacking(self._context, host)):
            self._noting_services.add(host)
            task = self._soon(note_quietly(self._context, host), f"note services on {host}")
            task.add_done_callback(lambda _: self._noting_services.discard(host))

    def _soon(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)
        return task

    def note_soon(self, attempt: Attempt) -> None:
        """`note` without waiting; if it fails, the next note contains its content too."""
        self._soon(self._note_quietly(attempt), f"note {attempt.attempt_id}")

    def note_run(self, run_id: str) -> None:
        """Note the current target of a run on all of its hosts, without waiting."""
        run = self._context.run_cache.find(run_id)
        newest = {attempt.host: attempt for attempt in run.attempts} if run is not None else {}
        for attempt in newest.values():
            self.note_soon(attempt)

    async def _note_quietly(self, attempt: Attempt) -> None:
        try:
            await self.note(attempt)
        except (HostError, StateError, NotFoundError) as error:
            _log.info("the note of %s is not written yet: %s", attempt.attempt_id, error)
        except Exception:
            _log.exception("noting %s: this is a bug in Hostler", attempt.attempt_id)

    async def close(self) -> None:
        """End the background tasks."""
        for task in self._checks:
            task.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)

    async def _check(self, host: str) -> None:
        try:
            await self._find_unknown(host)
            if self._context.services:
                from hostler.daemon.note_writing import note_services_on

                await note_services_on(self._context, host)
            for run in self._context.run_cache.runs():
                if any(attempt.host == host for attempt in run.attempts):
                    with self._noting(run.run_id):
                        await self._sign(host, run.run_id)
        except (HostError, StateError) as error:
            self._checked.discard(host)  # the next look tries again
            _log.info("the copies on %s are not checked yet: %s", host, error)
        except Exception:
            _log.exception("checking the copies on %s: this is a bug in Hostler", host)

    async def _find_unknown(self, host: str) -> None:
        """Note which runs a host holds that the database does not know."""
        context = self._context
        told = await context.link(host).call("run.list", {"daemon_id": context.daemon_id})
        asked = dict.fromkeys(told["runs"][:_MOST_ASKED])
        unknown = [run_id for run_id in asked if await context.is_over(run_id) is None]
        context.left_behind.unknown[host] = unknown
        context.left_behind.others[host] = told.get("others") or []
        if unknown:
            _log.warning(
                "%s has copies of runs that the database lacks, %d: hostler daemon recover",
                host,
                len(unknown),
            )

    async def _sign(self, host: str, run_id: str) -> None:
        """Write the database's data of a run if a host's copy of it is not signed. Data from a host
        is never signed. Raises HostError or StateError."""
        context = self._context
        try:
            async with asyncio.timeout(self._context.timings.notes_timeout):
                kept = await read_copy(context.link(host), run_id, context.signer)
        except (AgentError, TimeoutError):
            kept = None  # there is none, or none that has an end
        if kept is None or kept.spec_doubt:
            self._sent.discard((host, run_id))
        run = context.run_cache.find(run_id)
        for attempt in run.attempts if run is not None else ():
            if attempt.host == host and not is_covered(attempt, kept):
                await self.note(context.run_cache.attempt(attempt.attempt_id) or attempt)

    async def note(self, attempt: Attempt) -> None:
        """Write the current state of an attempt to its host; with its run's specification the first
        time.

        Raises Unreachable. A host that cannot store it, for example because its disk is full, still
        gets work.
        """
        run = self._context.run_cache.find(attempt.run_id)
        if run is None:
            return
        with self._noting(run.run_id):
            if any(stage.service is not None for stage in run.stages):
                await self._note_folded(run, attempt)
            else:
                await self._note(run, attempt)
            if self._context.services and not attempt.phase.is_final:
                from hostler.daemon.note_writing import note_services_on

                await note_services_on(self._context, attempt.host)

    async def _note_folded(self, run: Run, attempt: Attempt) -> None:
        """The same for a run with services, which has no end: its host's copy must not grow without
        limit. Notes are written one after the other, so that none is lost."""
        key = attempt.host, run.run_id
        async with self._turns.setdefault(key, asyncio.Lock()):
            await self._note(run, attempt)
            self._lines[key] = self._lines.get(key, 0) + 1
            if self._lines[key] >= MOST_LINES:
                await self._fold(*key)
                self._lines[key] = 0

    async def _fold(self, host: str, run_id: str) -> None:
        """Replace all notes of a run on a host by its current state: of each replica the last
        attempts."""
        context = self._context
        saved: dict[str, list[Artifact]] = {}
        for artifact in await context.store.artifacts(run_id):
            saved.setdefault(artifact.attempt_id, []).append(artifact)
        run = context.run_cache.find(run_id)
        if run is None:
            return
        notes = (
            Note(
                a, run.cancelled_by, run.priority,
                tuple(saved.get(a.attempt_id, ())) if a.phase.is_final else (), run.services,
            )
            for a in run.attempts
            if a.host == host
        )  # fmt: skip
        lines = [encode_note(note, context.signer) for note in notes]
        asked = {"daemon_id": context.daemon_id, "run_id": run_id, "lines": lines}
        try:
            if lines:
                await context.link(host).call("run.keep", asked)
        except AgentError as error:
            _log.info("the notes of run %s on %s are not folded: %s", run_id, host, error)

    async def _note(self, run: Run, attempt: Attempt) -> None:
        context, key = self._context, (attempt.host, run.run_id)
        link = context.link(attempt.host)
        try:
            spec = {"spec": await self._spec(run)} if key not in self._sent else {}
            told = await link.call("run.keep", {**await self._line(run, attempt), **spec})
            if not told.get("spec") and context.run_cache.find(run.run_id) is not None:
                spec = {"spec": await self._spec(run)}
                await link.call("run.keep", {**await self._line(run, attempt), **spec})
        except AgentError as error:
            _log.warning("no copy of run %s on %s: %s", run.run_id, attempt.host, error)
            return
        self._sent.add(key)

    async def _line(self, run: Run, attempt: Attempt) -> dict[str, str]:
        """A note of the current state. Of several notes the last one counts, and a newer one may
        have been written while this one waited: so there is no await after the state is read."""
        cache = self._context.run_cache
        saved = await self._saved(attempt)
        now = cache.attempt(attempt.attempt_id) or attempt
        if now.phase.is_final and not attempt.phase.is_final:
            saved = await self._saved(now)
            now = cache.attempt(attempt.attempt_id) or now
        run = cache.find(run.run_id) or run
        note = Note(now, run.cancelled_by, run.priority, saved, run.services)
        line = encode_note(note, self._context.signer)
        return {"daemon_id": self._context.daemon_id, "run_id": run.run_id, "line": line}

    async def _saved(self, attempt: Attempt) -> tuple[Artifact, ...]:
        """The files of an ended attempt that are in the content store."""
        if not attempt.phase.is_final:
            return ()
        found = await self._context.store.artifacts(attempt.run_id)
        return tuple(a for a in found if a.attempt_id == attempt.attempt_id)

    async def forget(self, ends: Sequence[End], hosts: Iterable[str]) -> None:
        """Remove the copies of runs that have ended and left the cache. The note of an end stays.
        Copies on unreachable hosts are removed by the next gc."""
        ids = [end.run_id for end in ends]
        for run_id in ids:
            if (notes := self._under_way.get(run_id)) is not None:
                await notes.none_left.wait()  # else the copy would come back behind its removal
        signed = [encode_end(end, self._context.signer) for end in ends]
        for host in hosts:
            self._sent -= {(host, run_id) for run_id in ids}
            for run_id in ids:
                self._lines.pop((host, run_id), None)
            try:
                link = self._context.link(host)
                asked = {"daemon_id": self._context.daemon_id, "runs": ids, "ended": signed}
                await link.call("run.forget", asked)
            except HostError as error:
                _log.info("the copies of %s stay on %s for now: %s", ", ".join(ids), host, error)

    async def ask_whether_current(self, host: str) -> None:
        """Raises Superseded where a newer generation of this daemon works on the host: a request
        that changes nothing, and that only the newest one may make. Raises HostError."""
        asked = {"daemon_id": self._context.daemon_id, "runs": [], "ended": []}
        await self._context.link(host).call("run.forget", asked)

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
        """Remove the copies of ended runs that a host still has. Returns whether it has copies of
        runs that the database does not know; these stay: the database may be restored from a
        backup, or new. Raises HostError."""
        context = self._context
        asked = {"daemon_id": context.daemon_id}
        told = dict.fromkeys((await context.link(host).call("run.list", asked))["runs"])
        found = {run_id: await context.is_over(run_id) for run_id in [*told][:_MOST_ASKED]}
        over = [run_id for run_id, is_over in found.items() if is_over]
        if over:
            await self.forget([await self._end_of(run_id) for run_id in over], [host])
        return None in found.values() or len(told) > len(found)  # of the rest nobody knows

    async def over(self, host: str) -> list[str]:
        """Ended runs that a host still has copies of. Raises HostError."""
        asked = {"daemon_id": self._context.daemon_id}
        told = dict.fromkeys((await self._context.link(host).call("run.list", asked))["runs"])
        return [r for r in [*told][:_MOST_ASKED] if await self._context.is_over(r)]

    async def _end_of(self, run_id: str) -> End:
        """The known end of a run, even if the run was forgotten since."""
        try:
            run = await self._context.store.get_run(run_id)
        except NotFoundError:
            return End(run_id, None, self._context.clock.now())
        return End(run_id, run.outcome, run.finished_at or run.submitted_at)

    async def _spec(self, run: Run) -> str:
        text = await self._context.store.pipeline_text(run.run_id)
        if len(text) + len(run.stages) * _STAGE < _SHORT:  # done before a thread would begin
            return encode_spec(run, text, self._context.signer)
        return await asyncio.to_thread(encode_spec, run, text, self._context.signer)
