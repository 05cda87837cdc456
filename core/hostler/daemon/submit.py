"""Accepts a submission: read, checked (hosts, code, secrets), stored durably, then answered."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import PurePath
from typing import TypeVar

from hostler.base.errors import ConflictError, InputError
from hostler.base.failpoints import failpoint
from hostler.base.json_types import Json
from hostler.base.secret import Secret
from hostler.base.text import shown
from hostler.daemon.after import after_nothing, starting_after, told_of_others
from hostler.daemon.context import Context
from hostler.daemon.environments import check_environments, check_programs, with_programs
from hostler.daemon.mounted import check_mounts
from hostler.daemon.near_images import note_near
from hostler.daemon.run_cache import awaited_by
from hostler.daemon.sources import Globs, Sources, check_snapshot, no_snapshot
from hostler.daemon.tags import with_tagged
from hostler.daemon.trust import check_services_of, check_shared
from hostler.daemon.turns import Turns
from hostler.decide.lifecycle import lifecycle_of
from hostler.model.calls import AuditEntry, Call, Caller
from hostler.model.codec import to_json
from hostler.model.events import EventKind
from hostler.model.pipelines import Pipeline, Stage
from hostler.model.records import NewEvent, SubmissionKey
from hostler.model.runs import Run, Source
from hostler.spec.checks import known_hosts, unmatched
from hostler.spec.each import SWEEP_KEYS
from hostler.spec.pipeline import command_pipeline, read_pipeline
from hostler.store.database import new_run_id
from hostler.store.writes import SubmittedBefore
from hostler_agent.json_values import strings

_ID_TRIES = 5
_SHORT = 4096
T = TypeVar("T")
NO_SECRETS: Mapping[str, Secret] = {}
Create = Callable[..., Awaitable[object]]
"""Stores a run in one transaction, as `Store.create_run` does."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What a client asks to run: a pipeline file's text, or one command."""

    pipeline: str | None = None
    file: str = "pipeline.toml"
    command: Mapping[str, Json] | None = None
    """As in the API; arguments of `spec.pipeline.command_pipeline`."""
    params: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    """The words of `{args}` in the commands of a pipeline."""
    source: Source = field(default_factory=Source)
    env: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    """Words of commands -> their paths in the submitter's conda or virtual environment."""
    priority: int = 0
    title: str = ""
    files: tuple[str, ...] = ()
    """The files of the source, if it is not uploaded yet."""
    links: tuple[str, ...] = ()
    """Its symbolic links, whose targets are not known."""
    after: Mapping[str, bool] = field(default_factory=dict)
    """Other runs to start after -> whether any end is enough."""
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lines of files beside the pipeline file that a matrix takes its values from."""
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """Values that only this run gets."""

    @property
    def is_short(self) -> bool:
        """Whether it is a command without code and cells, of a few lines at most."""
        if self.command is None or self.source.digest is not None or self.files:
            return False
        is_one = self.command.keys().isdisjoint(SWEEP_KEYS)
        return is_one and len(str((self.command, self.env, self.programs))) < _SHORT


@dataclass(frozen=True, slots=True)
class Made:
    """The call that made a run, and the old run if it repeats one."""

    call: str
    of: str | None = None
    how: str = ""
    """The changes against that run: "new code, lr=0.1"."""

    @property
    def verb(self) -> str:
        """For users: "submitted as a retry of r7f3a2k with new code"."""
        how = f" with {self.how}" if self.how else ""
        if self.of is None:
            return "submitted"
        if self.call == Call.NESTED:
            return f"submitted by run {self.of}"
        return f"submitted as a {self.call} of {self.of}{how}"

    def entry(self, run: Run) -> AuditEntry:
        """The entry for the audit table."""
        about: dict[str, object] = {"run": run.run_id, "pipeline": run.pipeline}
        if self.of is not None:
            about["of"] = self.of
        if self.how:
            about["with"] = self.how
        return AuditEntry(run.submitted_at, run.uid, run.owner, self.call, about)


class Submitter:
    """Makes runs: new ones, and reruns of everything."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.sources = Sources(context)
        self.turns = Turns()
        """Turns for work that reads a whole run or its file."""

    async def prepare(self, submission: Submission, caller: Caller) -> Run:
        """The run of a submission, not stored. Raises PipelineError with all problems."""
        if submission.priority > 0:
            raise InputError("priority can only be lowered", remedy="use a number of 0 or less")
        if submission.source.digest is not None:
            await self.sources.check_is_here(submission.source, caller.uid)
        pipeline = await self.read(submission, caller)
        self.check_source(pipeline.stages, submission.source)
        if any(stage.named_mounts for stage in pipeline.stages):
            check_mounts(self._context.config, pipeline.stages, submission.source.path)
        self.check_hosts(pipeline.stages)
        await self.check_secrets(caller, submission.secrets, pipeline.stages)
        stages = pipeline.stages
        if any(stage.image is not None for stage in stages):
            stages = await with_tagged(self._context.store, caller.uid, stages)
        run = Run(
            run_id=new_run_id(),
            pipeline=pipeline.name,
            stages=stages,
            owner=caller.user,
            uid=caller.uid,
            submitted_at=self._context.clock.now(),
            params=pipeline.params,
            source=submission.source,
            priority=submission.priority,
            env=submission.env,
            title=submission.title or pipeline.title,
            file="" if submission.command is not None else PurePath(submission.file).name,
        )
        if submission.after:
            run = await starting_after(self._context, run, submission.after)
        is_command = submission.command is not None
        if run.environments:
            await check_environments(self._context, run, is_command=is_command)
        return await self._with_programs(run, submission) if submission.programs else run

    async def _with_programs(self, run: Run, submission: Submission) -> Run:
        """The run, with the programs of the submitter's environment that it uses."""
        run = replace(run, stages=with_programs(run.stages, submission.programs))
        await check_programs(self._context, run, is_command=submission.command is not None)
        return run

    async def read(self, submission: Submission, caller: Caller) -> Pipeline:
        """The pipeline of a submission. Raises PipelineError with all problems."""
        async with self.turns.of(caller.uid):
            return await _aside([submission], self._read, submission)

    async def submit(self, submission: Submission, caller: Caller, key: str | None) -> Run:
        """A new run, durable when this returns; for a repeated key, the earlier run."""
        asked = await self.asked(caller, key, "submit", submission, secrets=submission.secrets)
        there = await self.submitted(asked)
        if there is not None:
            return there
        run = await self.prepare(submission, caller)
        text = submission.pipeline or ""
        await _aside([submission], check_snapshot, submission.source, submission.command, text)
        return await self.store(run, text, Made("submit"), asked, submission.secrets)

    async def rerun(
        self,
        run_id: str,
        caller: Caller,
        source: Source | None,
        asked: SubmissionKey | None,
        own: Mapping[str, Secret],
    ) -> Run:
        """A new run of everything, with new code if a new source is given."""
        old = await self._context.store.get_run(run_id)
        self.check_hosts(old.stages)
        await self.check_secrets(caller, own, old.stages, f"hostler rerun {old.run_id}")
        run = self.again(old, caller)
        if source is not None:
            await self.sources.check_is_here(source, caller.uid)
            self.check_source(run.stages, source)
            if old.source.digest is not None and source.digest is None:
                raise no_snapshot("this run")
            run = replace(run, source=source)
        elif any(stage.code == "snapshot" for stage in old.stages):
            self.check_kept(old, "Use the current code: leave --same-code out")
        return await self.store(run, await self._text(old), Made("rerun", old.run_id), asked, own)

    async def _text(self, run: Run) -> str:
        return await self._context.store.pipeline_text(run.run_id)

    def again(self, old: Run, caller: Caller) -> Run:
        """A new run as the old one was submitted, without kept stages."""
        return Run(
            run_id=new_run_id(),
            pipeline=old.pipeline,
            stages=after_nothing(old).stages,
            owner=caller.user,
            uid=caller.uid,
            submitted_at=self._context.clock.now(),
            params=old.params,
            source=old.source,
            priority=old.priority,
            env=old.env,
            title=old.title,
            file=old.file,
        )

    async def asked(
        self,
        caller: Caller,
        key: str | None,
        *what: object,
        secrets: Mapping[str, Secret] = NO_SECRETS,
    ) -> SubmissionKey | None:
        """A key of the whole request as sent; of secrets only a digest, which is equal for equal
        values."""
        if key is None:
            return None
        if secrets:
            what = (*what, await self._context.secrets.fingerprints(secrets))
        return SubmissionKey(caller.uid, key, await _aside(what, _digest, what))

    async def submitted(self, asked: SubmissionKey | None) -> Run | None:
        """The run of an earlier same submission. Raises ConflictError if the key had another
        one."""
        context = self._context
        found = asked and await context.store.find_submission(asked.uid, asked.key)
        if not found or asked is None:
            return None
        digest, run_id = found
        if digest != asked.digest:
            raise ConflictError(
                f"this key was used for another submission, run {run_id}",
                remedy="use a new key for each",
            )
        return context.run_cache.find(run_id) or await context.store.get_run(run_id)

    async def store(
        self,
        run: Run,
        text: str,
        made: Made,
        asked: SubmissionKey | None,
        own: Mapping[str, Secret],
        create: Create | None = None,
    ) -> Run:
        """The run as stored: under another id if its own was taken."""
        context = self._context
        if any(stage.image or lifecycle_of(stage).makes_image for stage in run.stages):
            await note_near(context, run)
        for tries_left in reversed(range(_ID_TRIES)):
            if own:
                await context.secrets.keep_own(run.run_id, own)
            try:
                events, entry = [self._event(run, made.verb)], made.entry(run)
                await (create or context.store.create_run)(run, text, events, asked, entry)
                break
            except SubmittedBefore:  # the same, at the same moment
                await context.secrets.abandon(run.run_id, own)
                there = await self.submitted(asked)
                if there is not None:
                    return there
            except ConflictError:
                await context.secrets.abandon(run.run_id, own)
                if not tries_left:
                    raise
                run = renamed(run, new_run_id())
        failpoint("after_submit")
        if own:
            await context.secrets.confirm(run.run_id, own)
        context.run_cache.add(await told_of_others(context, run) if awaited_by(run) else run)
        context.ask_for(run)
        context.left_behind.has_runs = True
        context.hub.publish()
        context.wake()
        return run

    def _event(self, run: Run, verb: str) -> NewEvent:
        count = len(run.stages)
        stages = f"{count} stage{'' if count == 1 else 's'}"
        message = f"run {run.run_id} ({run.pipeline}, {stages}) {verb}"
        return self._context.event(
            EventKind.RUN_SUBMITTED, message, run_id=run.run_id, actor=run.owner
        )

    def _read(self, submission: Submission) -> Pipeline:
        source = submission.source
        names = functools.cache(
            lambda: self.sources.names(source, submission.files, submission.links)
        )
        if submission.command is not None:
            options = {**submission.command}
            words = strings(options.pop("command"))
            return command_pipeline(words, **options, holds=lambda name: names().may_hold(name))
        if submission.pipeline is None:
            raise InputError("a submission needs a pipeline or a command")
        globs = functools.cache(lambda: Globs(names()))
        return read_pipeline(
            submission.pipeline,
            file=submission.file,
            params=submission.params,
            glob=lambda pattern: globs()(pattern),
            lines=submission.lines,
            args=submission.args,
            holds=lambda name: names().may_hold(name),
            mounts=[mount.name for mount in self._context.config.mounts],
            hosts=self._hosts(),
        )

    def check_kept(self, old: Run, remedy: str) -> None:
        """Raises ConflictError if the code of an old run is gone: its stages could not start."""
        digest = old.source.digest
        if digest is not None and not self._context.content.has(digest):
            raise ConflictError(f"the code of run {old.run_id} is no longer kept", remedy=remedy)

    def check_source(self, stages: Sequence[Stage], source: Source) -> None:
        """Raises InputError if a stage runs in a folder that was not given."""
        here = [stage.name for stage in stages if stage.code == "here"]
        if here and source.path is None:
            raise InputError(
                f'stage {here[0]} has code = "here", but the submission names no folder',
                remedy="submit with a `source.path`",
            )

    def _hosts(self) -> list[str]:
        return [host.name for host in self._context.config.hosts]

    def check_hosts(self, stages: Iterable[Stage]) -> None:
        """A stage whose hosts do not exist would wait forever."""
        for stage in stages:
            for name in unmatched(stage.resources.hosts, self._hosts()):
                raise InputError(
                    f"there is no host {shown(name)}", remedy=known_hosts(self._hosts())
                )

    async def check_secrets(
        self,
        caller: Caller,
        own: Mapping[str, Secret],
        stages: Sequence[Stage],
        call: str | None = "hostler run",
    ) -> None:
        """Raises InputError where a stage takes a secret that is not set or that it may not have,
        where no stage takes a given secret, and where a process may run on no host."""
        context = self._context
        if context.config.daemon.is_shared:
            check_shared(context.config, context.hosts(), caller, stages)
        if own or any(stage.named_secrets for stage in stages):
            context.secrets.check_used(own, stages)
            await context.secrets.check(caller.uid, own, stages, call=call)
        for stage in stages:
            if stage.service is not None:
                check_services_of(context.config, stage)


async def _aside(what: Iterable[object], work: Callable[..., T], *args: object) -> T:
    """Run it in a thread; a short command directly, which is faster than a thread."""
    if any(isinstance(one, Submission) and one.is_short for one in what):
        return work(*args)
    return await asyncio.to_thread(work, *args)


def renamed(run: Run, run_id: str) -> Run:
    """The run under another id, with the checkpoints that start in it."""
    begin = {name: run_id if at == run.run_id else at for name, at in run.checkpoints.items()}
    return replace(run, run_id=run_id, checkpoints=begin)


def _digest(what: Sequence[object]) -> str:
    """The digest of the whole request."""
    told = [to_json(_without_secrets(one)) for one in what]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _without_secrets(what: object) -> object:
    """A submission without them, as versions wrote it that knew none: the same one, sent again,
    must be the same."""
    if not is_dataclass(what) or isinstance(what, type):
        return what
    return {f.name: getattr(what, f.name) for f in fields(what) if f.name != "secrets"}
