"""Retries a run, optionally with other code or parameters: what is refused, and how the new run is
made; which stages are kept: `decide.again`.
"""

from __future__ import annotations

import asyncio
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hostler.base.errors import ConflictError, InputError
from hostler.base.json_types import JsonTable
from hostler.base.secret import Secret
from hostler.base.text import clean_line
from hostler.daemon.after import after_nothing, stored_run
from hostler.daemon.context import Context
from hostler.daemon.environments import check_environments, check_programs, with_programs
from hostler.daemon.mounted import check_mounts
from hostler.daemon.sources import no_snapshot
from hostler.daemon.submit import Made, Submission, Submitter
from hostler.decide.again import RetryPlan, origins_of, plan_retry
from hostler.model.calls import Caller
from hostler.model.pipelines import Pipeline, Scalar, Stage
from hostler.model.records import SubmissionKey
from hostler.model.runs import Run, Source
from hostler.spec.placeholders import ARGS
from hostler.spec.toml import load
from hostler_agent.json_values import string, table

_LONGEST = 500
"""Most characters of a change that are shown."""


@dataclass(frozen=True, slots=True)
class Change:
    """The changes of a retry against the run it repeats."""

    source: Source | None = None
    """New code; None: that of the run."""
    pipeline: str | None = None
    """The current pipeline file; None: the old one."""
    file: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    starts: tuple[str, ...] = ()
    """Stages, or bases of cells, that run again in any case."""
    files: tuple[str, ...] = ()
    """The files of the new source, if it is not uploaded yet."""
    links: tuple[str, ...] = ()
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lines of files that a matrix of the current pipeline takes its values from."""
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """Values that only the new run gets."""

    @property
    def text(self) -> str:
        """The changes in words: "new code, lr=0.1, a new begin at train"; "" for none."""
        parts = [
            *(["new code"] if self.source is not None else []),
            *(f"{name}={value}" for name, value in self.params.items()),
            *(f"a new start at {name}" for name in self.starts),
        ]
        return clean_line(", ".join(parts), _LONGEST)


@dataclass(frozen=True, slots=True)
class Retry:
    """The result of planning a retry."""

    old: Run
    run: Run
    plan: RetryPlan
    pipeline_text: str


class Retries:
    """Plans retries, and makes their runs."""

    def __init__(self, context: Context, submitter: Submitter) -> None:
        self._context = context
        self._submitter = submitter

    async def prepare(self, run_id: str, change: Change, caller: Caller) -> Retry:
        """The plan of a retry; stores nothing. Raises ConflictError if there is nothing to do."""
        store, submitter = self._context.store, self._submitter
        old = await stored_run(self._context, run_id)
        if old.outcome is None:
            raise ConflictError(
                f"run {old.run_id} has not ended", remedy=f"see it: hostler show {old.run_id}"
            )
        if change.source is not None:
            await submitter.sources.check_is_here(change.source, caller.uid)
        text = await store.pipeline_text(old.run_id)
        stages, params = after_nothing(old).stages, old.params
        if change.pipeline is not None or change.params:
            read = await self._read(old, text, change, caller)
            stages, params = read.stages, read.params
            text = text if change.pipeline is None else change.pipeline
        async with submitter.turns.of(caller.uid):
            plan = await asyncio.to_thread(
                plan_retry, old, stages, params, change.starts, self._context.content.has
            )
        if not plan.again:
            raise _nothing(old, change)
        run = replace(
            submitter.again(old, caller),
            stages=stages, params=params, kept=plan.kept,
            source=old.source if change.source is None else change.source,
            file=change.file or old.file, retry_of=old.retry_of or old.run_id,
        )  # fmt: skip
        run = replace(run, origins=origins_of(old, run), checkpoints=_checkpoints(old, run, plan))
        await self._check(run, plan)
        await self._check_secrets(old, run, plan, change, caller)
        return Retry(old, run, plan, text)

    async def make(
        self, run_id: str, change: Change, who: Caller, key: SubmissionKey | None
    ) -> Run:
        """The new run, durable when this returns."""
        retry = await self.prepare(run_id, change, who)
        self._check_code(retry, change)
        made = Made("retry", retry.old.run_id, change.text)
        text, own = retry.pipeline_text, change.secrets
        return await self._submitter.store(retry.run, text, made, key, own)

    async def _read(self, old: Run, text: str, change: Change, caller: Caller) -> Pipeline:
        if not text:
            what = "it has no parameters" if change.params else "it has no pipeline file"
            raise InputError(
                f"run {old.run_id} is one command: {what}", remedy="Use `hostler run -- CMD`"
            )
        now = text if change.pipeline is None else change.pipeline
        source = old.source if change.source is None else change.source
        self._check_readable(old, now, source)
        lines = change.lines
        async with self._submitter.turns.of(caller.uid):
            given = await asyncio.to_thread(_given, old.params, text, now)
            if change.pipeline is None:
                lines = await asyncio.to_thread(_lines_of_cells, text, old.stages)
        submission = Submission(
            pipeline=now,
            file=change.file or old.file,
            params={**given, **change.params},
            args=_args_of(old.params, now),
            source=source,
            files=change.files,
            links=change.links,
            lines=lines,
        )
        read = await self._submitter.read(submission, caller)
        if read.name != old.pipeline:
            raise InputError(
                f"{submission.file} is of pipeline {read.name!r}, run {old.run_id} is of "
                f"{old.pipeline!r}",
                remedy=f"Submit it as a new run: hostler run {submission.file}",
            )
        return replace(read, stages=with_programs(read.stages, programs_of(old)))

    def _check_readable(self, old: Run, text: str, source: Source) -> None:
        """Check that the source is readable: names of files are read from it."""
        if any(key in text for key in ("glob", "venv", "setup_files", "conda")):
            self._check_kept(old, source)

    def _check_kept(self, old: Run, source: Source) -> None:
        if source == old.source:  # one that was given is here
            remedy = f"Use the current code: hostler retry {old.run_id} --new-code"
            self._submitter.check_kept(old, remedy)

    async def _check(self, run: Run, plan: RetryPlan) -> None:
        """Check that the stages to run again can run."""
        again = [stage for stage in run.stages if stage.name in plan.again]
        self._submitter.check_source(again, run.source)
        self._submitter.check_hosts(again)
        check_mounts(self._context.config, again, run.source.path)
        part = replace(run, stages=tuple(again))
        await check_environments(self._context, part, is_command=not run.file)
        await check_programs(self._context, part, is_command=not run.file)

    async def _check_secrets(
        self, old: Run, run: Run, plan: RetryPlan, change: Change, caller: Caller
    ) -> None:
        """Check the secrets: those given with the old run were deleted at its end."""
        again = [stage for stage in run.stages if stage.name in plan.again]
        call = f"hostler retry {old.run_id}"
        await self._submitter.check_secrets(caller, change.secrets, again, call)

    def _check_code(self, retry: Retry, change: Change) -> None:
        run = retry.run
        if not any(s.code == "snapshot" and s.name in retry.plan.again for s in run.stages):
            return
        if retry.old.source.digest is not None and run.source.digest is None:
            raise no_snapshot("this run")
        self._check_kept(retry.old, run.source)


def _nothing(old: Run, change: Change) -> ConflictError:
    if change.params:
        names = ", ".join(change.params)
        return ConflictError(
            f"every stage of {old.run_id} succeeded, and none uses {names}",
            remedy="Name the first stage to run again: --from STAGE",
        )
    return ConflictError(
        f"every stage of {old.run_id} succeeded: nothing to retry",
        remedy="Name the first stage to run again: --from STAGE; or run it all again: hostler "
        "rerun "
        f"{old.run_id}",
    )


def _given(params: Mapping[str, Scalar], before: str, now: str) -> dict[str, str]:
    """The parameters that were given with the run, as strings: those that differ from the defaults
    of its file. Parameters that the file no longer has are left out."""
    defaults, declared = _defaults(before), _defaults(now)
    return {
        name: _text(value)
        for name, value in params.items()
        if name in declared and (name not in defaults or defaults[name] != value)
    }


def _args_of(params: Mapping[str, Scalar], now: str) -> tuple[str, ...]:
    """The `args` that were given with the run, if its file has no parameter of that name."""
    told = params.get(ARGS)
    return tuple(shlex.split(told)) if isinstance(told, str) and ARGS not in _defaults(now) else ()


def _defaults(text: str) -> JsonTable:
    return table(_tables(text).get("params"))


def _tables(text: str) -> JsonTable:
    try:
        return load(text, "", InputError)[0]
    except InputError:
        return {}  # the error is reported where it is read


def _lines_of_cells(text: str, stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """The lines of the files that matrices name, as in the old run: the values of its cells."""
    found: dict[str, tuple[str, ...]] = {}
    for base, stage in table(_tables(text).get("stages")).items():
        for key, values in table(table(stage).get("matrix")).items():
            if name := string(table(values).get("lines")):
                lines = (stage.cell.get(key) for stage in stages if stage.base == base)
                found[posixpath.normpath(name)] = tuple(dict.fromkeys(map(str, lines)))
    return found


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def programs_of(run: Run) -> dict[str, str]:
    """Words of a run's commands -> the programs of the submitter's environment that they mean."""
    found: dict[str, str] = {}
    for stage in run.stages:
        name = (stage.program or "").rpartition("/")[2]
        if stage.program is None or stage.program in found:
            continue
        found |= {stage.program: stage.program, name: stage.program}
    return found


def _checkpoints(old: Run, run: Run, plan: RetryPlan) -> dict[str, str]:
    """Stage -> the run in which its checkpoint starts, if that is not the first run."""
    names = {stage.name for stage in run.stages}
    carried = {name: first for name, first in old.checkpoints.items() if name in names}
    return carried | dict.fromkeys(plan.anew, run.run_id)
