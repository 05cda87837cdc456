"""Ends an attempt: verdict, files, record, cleanup on its host; the verdict itself is made in
`verdicts`.

The verdict is written before anything is copied: from then on the attempt holds no GPUs, and after
a restart the daemon continues copying. A folder of which not all files were copied stays on its
host for a while.
"""

from __future__ import annotations

from dataclasses import replace

from hostler.base.errors import (
    AgentError,
    ConflictError,
    EngineError,
    HostError,
    HostlerError,
    InputError,
    NotFoundError,
    StateError,
    Unreachable,
)
from hostler.base.failpoints import failpoint
from hostler.base.units import format_size
from hostler.daemon.collecting import Collector
from hostler.daemon.context import Context
from hostler.daemon.follow import Followers
from hostler.daemon.host_copies import HostCopies
from hostler.daemon.inline_work import Done
from hostler.daemon.service_news import tell_failing
from hostler.daemon.usage import Usage
from hostler.daemon.verdicts import Judge
from hostler.decide.causes import conclude_uncollected
from hostler.decide.copied_files import Staying
from hostler.decide.expiry import date_text
from hostler.decide.fullness import has_files
from hostler.model.events import EventKind
from hostler.model.hosts import Workload
from hostler.model.pipelines import Cause, Stage
from hostler.model.plans import Conclude, Finish, Record
from hostler.model.records import NewEvent, Remainder
from hostler.model.runs import Attempt, AttemptChange, Phase, Run

_TROUBLE = (NotFoundError, ConflictError, InputError, EngineError, AgentError)


class Finisher:
    """Carries out `Finish`, `Conclude` and `Record`."""

    def __init__(
        self, context: Context, followers: Followers, usage: Usage, copies: HostCopies
    ) -> None:
        self._context = context
        self._copies = copies
        self._followers = followers
        self._usage = usage
        self._judge = Judge(context, followers)
        self._collector = Collector(context)
        self._stays = Stays(context, copies)

    async def finish(self, action: Finish) -> None:
        """Judge an ended workload, copy its files, record its end, then remove it.

        Raises Unreachable if the host becomes unreachable meanwhile: stored results stay, and the
        action is repeated when the host is back.
        """
        stage, workload = action.stage, action.workload
        attempt = self._context.run_cache.attempt(action.attempt.attempt_id) or action.attempt
        if attempt.phase.is_at_work:
            attempt = await self._judged(action)
        stays = False
        if not attempt.phase.is_final:
            try:
                attempt, stays = await self._collected(attempt, stage, workload)
            except (StateError, Unreachable) as error:
                self._context.held_up[attempt.attempt_id] = self._context.masked(
                    attempt.run_id, error.told
                )
                raise
        failpoint("before_remove")
        try:
            if not stays:
                await self._remove(attempt, workload)
        finally:  # it reads a log, and the next plan would remove the workload meanwhile, too
            await self._tell_failing(attempt, stage)

    async def _judged(self, action: Finish) -> Attempt:
        """Store the verdict, as the attempt's end if there is nothing to copy; returns the changed
        attempt."""
        failpoint("after_exit_seen")
        end = await self._judge.verdict(action)
        attempt, context = action.attempt, self._context
        left = context.monitors[attempt.host].left(action.workload.ref)
        is_unchanged = left is not None and left.changed == 0
        if not has_files(action.stage, action.workload, end["phase"], unchanged=is_unchanged):
            return await self._end(attempt, action.stage, end)
        usage = self._usage.summary(replace(attempt, **end)) if attempt.gpus else {}
        fields: AttemptChange = {
            **end, "phase": Phase.COLLECTING, "verdict": end["phase"], "usage": usage,
        }  # fmt: skip
        changed = await context.change_attempt(
            attempt.attempt_id,
            lambda now: fields if now.phase.is_at_work else None,
        )
        context.wake()  # its GPUs are given back meanwhile
        if attempt.gpus:
            context.look_soon(attempt.host)
        failpoint("after_verdict")
        if changed is not None:
            self._copies.note_soon(changed)  # its GPUs may be another's by the next note
        return (
            changed or context.run_cache.attempt(attempt.attempt_id) or replace(attempt, **fields)
        )

    async def _collected(
        self, attempt: Attempt, stage: Stage, workload: Workload
    ) -> tuple[Attempt, bool]:
        """Copy the files of an attempt and store its end; returns the changed attempt, and whether
        its folder stays on the host."""
        taken = await self._collector.outputs(attempt, stage, workload, _verdict(attempt))
        if taken.problem is not None and attempt.verdict is Phase.SUCCEEDED:
            attempt = await self._without_outputs(attempt, taken.problem)
        verdict = _verdict(attempt)
        run = self._context.run_cache.run(attempt.run_id)
        left = await self._collector.files(run, attempt, stage, workload, verdict, taken)
        await self._collector.tell_secrets(attempt)
        failpoint("after_collected")
        outputs = taken.outputs if verdict is Phase.SUCCEEDED else {}
        end: AttemptChange = {"phase": verdict, "outputs": outputs}
        ended = replace(attempt, phase=verdict, outputs=outputs, verdict=None)
        if left is not None:
            await self._stays.keep(ended, workload, left)
        return await self._end(attempt, stage, end), left is not None

    async def _without_outputs(self, attempt: Attempt, problem: str) -> Attempt:
        """An attempt without all its outputs has not succeeded: later stages must know that,
        too."""
        await self._collector.call_partial(attempt)
        fields: AttemptChange = {
            "verdict": Phase.FAILED,
            "cause": Cause.OUTPUT,
            "detail": problem,
        }
        changed = await self._context.change_attempt(
            attempt.attempt_id,
            lambda now: None if now.phase.is_final else fields,
        )
        return changed or replace(attempt, **fields)

    async def conclude(self, action: Conclude) -> None:
        """Store the end of an attempt whose files can no longer be copied."""
        attempt = self._context.run_cache.attempt(action.attempt.attempt_id)
        if attempt is None or attempt.phase is not Phase.COLLECTING:
            return
        stage = action.stage
        taken = {a.name: a.digest for a in await self._collector.known(attempt) if a.is_output}
        missing = [name for name in stage.outputs if name not in taken]
        phase, cause, detail = conclude_uncollected(
            attempt, missing, action.why, is_lost=action.is_lost
        )
        outputs = taken if phase is Phase.SUCCEEDED else {}
        end: AttemptChange = {
            "phase": phase, "cause": cause, "detail": detail, "outputs": outputs,
        }  # fmt: skip
        if phase is not Phase.SUCCEEDED:
            await self._collector.call_partial(attempt)
        await self._collector.tell_lost(attempt, stage, action.why)
        await self._end(attempt, stage, end)

    async def salvage(self, host: str, run: Run, workload: Workload) -> bool:
        """Copy the files of a workload that is to be removed and was not collected: its attempt was
        recorded as lost while it ran or was collected, and stays ended. Returns whether its folder
        stays on the host, for that or another reason. Raises HostError."""
        attempt = next((a for a in run.attempts if a.attempt_id == workload.attempt_id), None)
        stage = next((s for s in run.stages if attempt and s.name == attempt.stage), None)
        if attempt is None or stage is None or workload.running or workload.created_only:
            return False
        if attempt.host != host and attempt.host in self._context.monitors:
            # No host adds files to what another has done. Where both names are one machine, the
            # other one takes them.
            raise Unreachable(
                host, f"{attempt.attempt_id} ran on {attempt.host}: it is not changed"
            )
        attempt = replace(attempt, host=host)
        if await self._stays.again(attempt, workload):
            return True
        taken = await self._collector.outputs(attempt, stage, workload, attempt.phase)
        left = await self._collector.files(run, attempt, stage, workload, attempt.phase, taken)
        if left is not None:
            await self._stays.keep(attempt, workload, left)
        return left is not None

    async def _end(self, attempt: Attempt, stage: Stage, end: AttemptChange) -> Attempt:
        """Store these fields of an ended attempt, with its usage; returns the changed attempt. One
        that has ended meanwhile stays as it is."""
        context = self._context
        fields: AttemptChange = {**end, "verdict": None}
        ended = replace(attempt, **fields)
        if attempt.phase.is_at_work:
            fields["usage"] = self._usage.summary(ended) if attempt.gpus else {}
        failpoint("before_record")
        changed = await context.change_attempt(
            attempt.attempt_id,
            lambda now: None if now.phase.is_final else fields,
            self._event(ended, stage),
        )
        return changed or context.run_cache.attempt(attempt.attempt_id) or ended

    async def end_inline(self, attempt: Attempt, stage: Stage, done: Done) -> None:
        """Store the end of work that the daemon did itself, with its result."""
        attempt = self._context.run_cache.attempt(attempt.attempt_id) or attempt
        now, (phase, cause, detail) = self._context.clock.now(), done.ending
        ran = None if attempt.started_at is None else max(0.0, now - attempt.started_at)
        end: AttemptChange = {
            "phase": phase,
            "cause": cause,
            "detail": self._context.masked(attempt.run_id, detail),
            "exit_code": done.exit_code,
            "image_digest": done.image_digest,
            "duration": ran,
            "finished_at": now,
        }
        self._copies.note_soon(await self._end(attempt, stage, end))

    async def record(self, action: Record) -> None:
        """Store what the planner concluded about an attempt."""
        context = self._context
        attempt = context.run_cache.attempt(action.attempt_id)
        if attempt is None:
            return
        stage = context.run_cache.stage(attempt.run_id, attempt.stage)
        workload, now = action.workload, context.clock.now()
        if action.phase.is_final:
            end: AttemptChange = {
                "phase": action.phase,
                "cause": action.cause,
                "detail": action.detail,
                "exit_code": workload.exit_code if workload else None,
                "signal": workload.signal if workload else None,
                "finished_at": now,
            }
            await self._tell_failing(await self._end(attempt, stage, end), stage)
            return
        event = context.event(
            EventKind.ATTEMPT_STARTED, f"{stage.label} runs on {attempt.host}", attempt
        )
        changed = await context.change_attempt(
            attempt.attempt_id, lambda known: _seen_to_run(known, action, now), event
        )
        if changed is not None and workload is not None:
            self._followers.follow(changed, workload)

    async def _tell_failing(self, attempt: Attempt, stage: Stage) -> None:
        if stage.service is not None and attempt.phase.is_final:
            await tell_failing(self._context, attempt)

    def _event(self, attempt: Attempt, stage: Stage) -> NewEvent:
        kind = EventKind(f"attempt.{attempt.phase}")
        if attempt.phase is Phase.SUCCEEDED:
            message, severity = f"{stage.label} succeeded on {attempt.host}", "info"
        elif attempt.cause is Cause.REQUEUED:
            kind, severity = EventKind.ATTEMPT_REQUEUED, "info"
            message = f"{stage.label} is requeued, on {attempt.host}: {attempt.detail}"
        else:
            why = f"{attempt.cause}: {attempt.detail}" if attempt.detail else f"{attempt.cause}"
            message = f"{stage.label} {attempt.phase.value} on {attempt.host}: {why}"
            severity = "info" if attempt.phase is Phase.CANCELLED else "error"
        return self._context.event(kind, message, attempt, severity=severity)

    async def _remove(self, attempt: Attempt, workload: Workload) -> None:
        """Remove the workload at once, so that the host is clean; if this fails, a later plan
        repeats it.

        Later stages do not wait for it: the attempt is over.
        """
        context = self._context
        try:
            with context.monitors[attempt.host].removing(workload.ref):
                context.wake()
                # Before it goes: the host has the workload, or the note of how it ended.
                await self._copies.note(attempt)
                await context.runtime(attempt).remove(context.link(attempt.host), workload)
        except HostError as error:
            event = context.event(
                EventKind.WORKLOAD_NOT_REMOVED, str(error), attempt, severity="warning"
            )
            await context.tell(event)
        if attempt.gpus:
            context.look_soon(attempt.host)  # their memory has to be seen to come back


def _seen_to_run(attempt: Attempt, action: Record, now: float) -> AttemptChange | None:
    """The change for an interrupted start that has succeeded; None if the attempt has ended
    since."""
    if not attempt.phase.is_at_work:
        return None
    return {
        "phase": action.phase,
        "cause": action.cause,
        "detail": action.detail,
        "ref": action.workload.ref if action.workload else attempt.ref,
        "launched_at": attempt.launched_at or now,
        "started_at": attempt.started_at or now,
    }


def _verdict(attempt: Attempt) -> Phase:
    return attempt.verdict or Phase.FAILED


class Stays:
    """Marks folders that stay on the host, and notes them in the database."""

    def __init__(self, context: Context, copies: HostCopies) -> None:
        self._context = context
        self._copies = copies

    async def keep(self, attempt: Attempt, workload: Workload, left: Staying) -> None:
        """Keep the folder of an attempt as it is at the attempt's end. May be repeated. Raises
        Unreachable.

        The database stores it first: a folder that the host marks as kept is in no later look, and
        would never be removed. A folder that the host cannot mark now (its disk is full, its Docker
        restarts) is not removed either: see `again`. Files that are gone from the host are reported
        when the host does not list them for a while (`KeptThere`).
        """
        remainder = self._remainder(attempt, workload, left)
        await self._context.store.add_remainder(remainder)
        try:
            await self._mark(attempt, workload, remainder)
        except _TROUBLE as error:
            await self._not_marked(attempt, error)

    async def again(self, attempt: Attempt, workload: Workload) -> bool:
        """Mark a folder that must stay and could not be marked when its attempt ended; False if it
        need not stay. Raises HostError."""
        found = await self._context.store.remainders(attempt.run_id)
        left = next((each for each in found if each.attempt_id == attempt.attempt_id), None)
        if left is None or left.host != attempt.host or left.given_up_by is not None:
            return False
        await self._mark(attempt, workload, left)
        return True

    async def _mark(self, attempt: Attempt, workload: Workload, left: Remainder) -> None:
        context = self._context
        with context.monitors[attempt.host].removing(workload.ref):
            await self._copies.note(attempt)
            link, runtime = context.link(attempt.host), context.runtimes[workload.runtime]
            kept = await runtime.keep(link, workload, left.until)
        known = replace(left, path=kept.path)
        if not left.files:
            known = replace(known, files=kept.files, size=kept.bytes)
        await context.store.add_remainder(known, self._event(attempt, known))
        context.look_soon(attempt.host)

    def _remainder(self, attempt: Attempt, workload: Workload, left: Staying) -> Remainder:
        context = self._context
        now = context.clock.now()
        return Remainder(
            attempt_id=attempt.attempt_id,
            run_id=attempt.run_id,
            stage=attempt.stage,
            host=attempt.host,
            runtime=workload.runtime,
            ref=workload.ref,
            path="",
            files=left.files,
            size=left.size,
            since=now,
            until=now + context.config.limits.keep_jobs,
            names=left.names,
            why=left.why,
        )

    def _event(self, attempt: Attempt, kept: Remainder) -> NewEvent:
        what = f"{kept.files} file{'' if kept.files == 1 else 's'} ({format_size(kept.size)})"
        message = (
            f"{what} of {attempt.stage} stay on {attempt.host}, {kept.path}, until "
            f"{date_text(kept.until)}: {kept.why}"
        )
        return self._context.event(EventKind.ATTEMPT_FILES_STAY, message, attempt)

    async def _not_marked(self, attempt: Attempt, error: HostlerError) -> None:
        message = (
            f"files of {attempt.attempt_id} stay on {attempt.host}, which could not record that "
            f"they are kept; Hostler tries again: {error.message}"
        )
        context = self._context
        await context.tell(
            context.event(EventKind.ATTEMPT_FILES_NOT_SAVED, message, attempt, severity="warning")
        )
