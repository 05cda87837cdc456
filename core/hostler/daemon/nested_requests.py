"""Executes `sbatch`, `squeue`, `scancel`, `scontrol requeue` of a stage for the owner of its run,
and refuses what reaches further; limits: `decide.nested`.

Such a request reaches the run of its attempt, and what that has submitted, and nothing else. A
submission has a key made of attempt and request, which is stored with its run: a daemon that was
killed before it answered finds that run, and answers the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import posixpath
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from hostler.base.errors import ConflictError, InputError, NotFoundError
from hostler.base.masking import mask
from hostler.base.text import clean_line
from hostler.daemon.after import starting_after
from hostler.daemon.context import Context
from hostler.daemon.jobs import with_built_image
from hostler.daemon.mounted import check_mounts
from hostler.daemon.nested_queue import queued_tasks
from hostler.daemon.submit import Made, Submitter
from hostler.daemon.trust import check_nested_of
from hostler.daemon.turns import Rests, Turns
from hostler.decide.host_capacity import able_hosts, capacities_of
from hostler.decide.index import Index
from hostler.decide.nested import check_room, check_size, nested_stages
from hostler.decide.requests import requests_of
from hostler.decide.requeue import check_requeues, requeueable, to_be_requeued
from hostler.model.calls import Call, Caller
from hostler.model.causes import Cause
from hostler.model.events import EventKind
from hostler.model.pipelines import Stage
from hostler.model.plans import Snapshot
from hostler.model.records import SubmissionKey
from hostler.model.runs import Attempt, Phase, Run
from hostler.runtimes.command import relative
from hostler.sbatch.output import with_log_files
from hostler.sbatch.pipeline import Script, pipeline_of, plain_name, text_of
from hostler.sbatch.places import Places, placed
from hostler.sbatch.queue import queue_text
from hostler.sbatch.requests import (
    Asked,
    NestedScript,
    QueueQuery,
    read_request,
    read_sbatch,
    read_scancel,
    read_scontrol,
    read_squeue,
)
from hostler.spec.pipeline import read_pipeline
from hostler.store.database import new_run_id
from hostler.store.nested import Relative
from hostler_agent.jobnumbers import job_number

Cancel = Callable[[str, Caller, str], Awaitable[str]]
_LONGEST_TITLE = 200


class NestedRequests:
    """Reads and carries out requests. Methods raise HostlerError."""

    def __init__(
        self,
        context: Context,
        submitter: Submitter,
        snapshot: Callable[[], Snapshot],
        cancel: Cancel,
    ) -> None:
        self._context = context
        self._submitter = submitter
        self._snapshot = snapshot
        self._cancel = cancel
        self._turns = Turns()
        """Turns of submissions by owner, so that two do not count the same free capacity."""
        self._rests = Rests()

    async def do(self, attempt_id: str, request_id: str, data: bytes) -> str:
        """Carry out a request; returns the text of the answer."""
        asked = read_request(data)
        match asked.words[0]:
            case "sbatch":
                run, _, _ = self._of(attempt_id)
                async with self._turns.of(run.uid):
                    return await self._submit(attempt_id, request_id, data, asked)
            case "squeue":
                return await self._queue(attempt_id, read_squeue(asked.words[1:]))
            case "scancel":
                return await self._cancelled(attempt_id, read_scancel(asked.words[1:]))
            case "scontrol":
                return await self._requeued(attempt_id, read_scontrol(asked.words[1:]))
            case other:
                raise InputError(f"{other[:40]!r} is not a command that a stage may use")

    def _of(self, attempt_id: str) -> tuple[Run, Stage, Attempt]:
        """The run, stage and attempt of a request. Raises ConflictError if it may not send
        requests, or no longer."""
        attempt = self._context.run_cache.attempt(attempt_id)
        run = self._context.run_cache.find(attempt.run_id) if attempt is not None else None
        if attempt is None or run is None or attempt.phase is not Phase.RUNNING:
            raise ConflictError("this attempt has ended")
        stage = self._context.run_cache.stage(run.run_id, attempt.stage)
        if not stage.nested:
            raise ConflictError(
                "this run may not submit others", remedy="Submit it with hostler run --nested"
            )
        check_nested_of(self._context.config, stage)
        if run.cancelled_by is not None or attempt.stop_reason is not None:
            raise ConflictError("this run is being stopped")
        return run, stage, attempt

    async def _submit(self, attempt_id: str, request_id: str, data: bytes, asked: Asked) -> str:
        run, stage, attempt = self._of(attempt_id)
        self._check_unseen(run, asked)
        script = await asyncio.to_thread(read_sbatch, asked)
        digest = hashlib.sha256(data).hexdigest()
        key = SubmissionKey(run.uid, f"nested:{attempt_id}:{request_id}", digest)
        made = await self._submitter.submitted(key)
        if made is None:
            self._context.standing.check_current()
            made = await self._made(run, stage, attempt, script, asked, key)
        number = job_number(made.run_id)
        return f"{number}\n" if script.is_parsable else f"Submitted batch job {number}\n"

    async def _made(
        self, run: Run, stage: Stage, attempt: Attempt, script: NestedScript, asked: Asked,
        key: SubmissionKey,
    ) -> Run:  # fmt: skip
        context, caller = self._context, Caller(run.uid, run.owner)
        context.rights.authorize(caller, Call.NESTED, run)
        slurm = context.config.slurm
        job = placed(script.job, Places(partitions=slurm.partitions, features=slurm.features))
        if stage.image is None and not stage.named_secrets:
            job = with_log_files(job, "")
        tasks = len(job.array.ids) if job.array is not None else 1
        check_size(script.text, asked.words, tasks)
        # What is cheap is checked before so many stages are made.
        await self._check_room(run, tasks)
        after = await self._awaited(run, stage, script)
        script = replace(script, job=job)
        hosts = able_now(self._snapshot(), run, stage) | {attempt.host}
        folder = _workdir(script.folder, run, stage)
        own = context.secrets.own_of(run.run_id, stage)
        # An array of thousands takes seconds, and a host may ask for it again and again.
        with self._rests.after_refusal(attempt.host, tasks):
            parent = with_built_image(run, stage)
            stages = await asyncio.to_thread(
                lambda: nested_stages(parent, _stages(script, stage), hosts, folder)
            )
            check_mounts(context.config, stages, run.source.path)
            await self._submitter.check_secrets(caller, own, stages)
        new = Run(
            run_id=new_run_id(),
            pipeline=_name(script),
            stages=stages,
            owner=run.owner,
            uid=run.uid,
            submitted_at=context.clock.now(),
            source=run.source,
            priority=run.priority,
            env=run.env,
            title=clean_line(script.job.name or script.name, _LONGEST_TITLE),
            parent=run.run_id,
        )
        if after:
            new = await starting_after(context, new, after)
        self._of(attempt.attempt_id)  # it may have been stopped meanwhile
        return await self._submitter.store(new, "", Made(Call.NESTED, run.run_id), key, own)

    def _check_unseen(self, run: Run, asked: Asked) -> None:
        """Raises InputError for a request that contains the value of a secret, because submissions
        are stored. Raises StateError if that cannot be checked."""
        values = self._context.secrets.masked_values(run.run_id)
        whole = "\n".join((*asked.words, asked.text))
        if values and mask(whole, values) != whole:
            raise InputError(
                "the script or an option contains the value of a secret, and would be stored",
                remedy="The new run gets the same secrets: write $NAME in the script, behind "
                "<<'EOF' with quotes",
            )

    async def _check_room(self, run: Run, stages: int) -> None:
        root = await self._context.store.root(run.run_id)
        tree = await self._context.store.tree(root)
        nested = sum(one.parent is not None for one in tree)
        check_room(nested, sum(one.stages for one in tree), stages)

    async def _awaited(self, run: Run, stage: Stage, script: NestedScript) -> Mapping[str, bool]:
        """The number of a task of an array means the whole of it."""
        if not script.after:
            return {}
        known = await self._numbers(run)
        known[job_number(f"{run.run_id}/{_cell(stage)}")] = known[job_number(run.run_id)]
        found: dict[str, bool] = {}
        for number, only_end in script.after:
            run_id = _found(known, number).run_id
            found[run_id] = only_end and found.get(run_id, True)
        return found

    async def _queue(self, attempt_id: str, query: QueueQuery) -> str:
        run, _, _ = self._of(attempt_id)
        known = await self._numbers(run)
        for number in query.jobs:
            _found(known, number)
        names = {one.run_id for one in known.values()}
        runs = [each for each in self._context.run_cache.runs() if each.run_id in names]
        now = self._context.clock.now()
        return queue_text(query, (task for each in runs for task in queued_tasks(each, now)))

    async def _cancelled(self, attempt_id: str, query: QueueQuery) -> str:
        run, _, _ = self._of(attempt_id)
        known = await self._numbers(run)
        wanted = [_found(known, number) for number in query.jobs]
        names = set(map(plain_name, query.names))
        wanted += [one for one in known.values() if one.name in names]
        for one in wanted:
            if not one.has_ended:
                with contextlib.suppress(ConflictError):  # it has ended meanwhile
                    await self._cancel(one.run_id, Caller(run.uid, run.owner), run.run_id)
        return ""

    async def _requeued(self, attempt_id: str, numbers: Sequence[int]) -> str:
        """End attempts, to be tried again. All are checked before the first is ended."""
        asking = self._context.run_cache.attempt(attempt_id)
        if asking is not None and asking.stop_reason is Cause.REQUEUED:
            return ""  # it was done, and the answer was lost
        run, stage, attempt = self._of(attempt_id)
        known = await self._numbers(run)
        wanted: dict[str, Attempt] = {}
        for number in numbers:
            if number == job_number(f"{run.run_id}/{_cell(stage)}"):
                wanted[attempt_id] = attempt
                continue
            found = self._context.run_cache.find(_found(known, number).run_id)
            own = stage.base if found is run else None
            wanted |= {each.attempt_id: each for each in requeueable(found, own, number)}
        for each in wanted.values():
            check_requeues(self._context.run_cache.run(each.run_id), each)
        for each in wanted.values():
            who = "its script" if each is attempt else f"run {run.run_id}"
            said = f"requested by {who} (scontrol requeue)"
            event = self._context.event(
                EventKind.ATTEMPT_STOPPING, f"stopping {each.stage} to requeue it: {said}", each
            )
            await self._context.change_attempt(
                each.attempt_id, functools.partial(to_be_requeued, said=said), event
            )
        self._context.wake()
        return ""

    async def _numbers(self, run: Run) -> dict[int, Relative]:
        """The runs that a request may name, by their numbers. For equal numbers the oldest run
        counts: it is the run itself, or the run that the script has known for longer."""
        tree = await self._context.store.tree(run.run_id)
        return {job_number(one.run_id): one for one in reversed(tree)}


def able_now(snapshot: Snapshot, run: Run, stage: Stage) -> set[str]:
    """The hosts that a stage may use, as far as is known now, even if other work runs there."""
    capacities = capacities_of(Index(replace(snapshot, runs=())))
    return set().union(*(able_hosts(capacities, each) for each in requests_of(run, stage)))


def _stages(script: NestedScript, parent: Stage) -> Sequence[Stage]:
    made = Script(
        name=script.name,
        interpreter=script.interpreter,
        path="",
        submit_dir="",
        code=parent.code,
        env=_exported(script),
        text=script.text,
    )
    text = text_of(pipeline_of(script.job, made, {}))
    return read_pipeline(text, file=script.name, args=script.args).stages


def _exported(script: NestedScript) -> dict[str, str]:
    pairs = (part.partition("=") for part in script.job.export if "=" in part)
    return {name: value for name, _, value in pairs}


def _workdir(folder: str, run: Run, stage: Stage) -> str | None:
    """The script's working folder, in the copy of the code or in the folder itself. Raises
    InputError for a folder that is in neither."""
    base = run.source.path if stage.code == "here" else None
    if base is not None and posixpath.isabs(folder):
        folder = posixpath.relpath(folder, base)
    return relative(folder) or None


def _name(script: NestedScript) -> str:
    return plain_name(script.job.name or script.name)


def _cell(stage: Stage) -> str:
    return stage.name.removeprefix(f"{stage.base}.")


def _found(known: Mapping[int, Relative], number: int) -> Relative:
    one = known.get(number)
    if one is None:
        raise NotFoundError(
            f"there is no job {number} among those of this run",
            remedy="Name one that this run has submitted",
        )
    return one
