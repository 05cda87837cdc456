"""Copies declared outputs of an ended attempt from its host into the content store, and says which
are missing; undeclared files: `copied_files`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hostler.base.errors import (
    AgentError,
    EngineError,
    InputError,
    NotFoundError,
)
from hostler.base.text import clean_line
from hostler.daemon.context import Context
from hostler.daemon.copied_files import Saver
from hostler.daemon.unanswered import Unanswered
from hostler.decide.copied_files import Staying
from hostler.decide.fullness import leaves_files
from hostler.model.events import EventKind
from hostler.model.files import Artifact
from hostler.model.hosts import Workload
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, Phase, Run
from hostler.runtimes.collect import Advance, collect_output
from hostler.store.secret_search import files_with

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Taken:
    """Declared outputs that were copied."""

    outputs: Mapping[str, str] = field(default_factory=dict)
    """Name -> digest of each that is there."""
    problem: str | None = None
    """Why an output could not be copied, in a sentence."""


class Collector:
    """Copies outputs and kept files. Files already copied are skipped."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._saver = Saver(context)
        self._unanswered = Unanswered()

    async def known(self, attempt: Attempt) -> list[Artifact]:
        """The outputs of the attempt that are already copied."""
        found = await self._context.store.artifacts(attempt.run_id)
        return [artifact for artifact in found if artifact.attempt_id == attempt.attempt_id]

    async def outputs(
        self, attempt: Attempt, stage: Stage, workload: Workload, verdict: Phase
    ) -> Taken:
        """Copy all outputs that exist; if one fails, the others are still copied.

        Raises Unreachable if the connection is lost: called again, it resumes where it stopped.
        """
        found = _outputs(await self.known(attempt)) if stage.outputs else {}
        problems: list[str] = []
        for name in stage.outputs:
            if name in found:
                continue
            try:
                found[name] = await self._output(attempt, stage, workload, name, verdict)
            except NotFoundError:
                path = stage.outputs[name]
                problems.append(
                    f"output {name}: there is no {path} in the working folder at the end"
                )
            except (InputError, EngineError, AgentError) as error:
                self._unanswered.check(attempt, error)
                problems.append(f"output {name} ({stage.outputs[name]}): {error.message}")
        self._unanswered.forget(attempt)
        return Taken(found, problems[0] if problems else None)

    async def call_partial(self, attempt: Attempt) -> None:
        """Mark the attempt's outputs as partial, because it has not succeeded after all."""
        await self._context.store.call_partial(attempt.attempt_id)

    async def files(
        self,
        run: Run,
        attempt: Attempt,
        stage: Stage,
        workload: Workload,
        verdict: Phase,
        taken: Taken,
    ) -> Staying | None:
        """Copy all other kept files; returns what stays on the host, if anything. Raises
        Unreachable."""
        if not leaves_files(stage, verdict):
            return None
        skip = tuple(stage.outputs[name] for name in taken.outputs)
        with self._told(attempt, "copying files") as advance:
            return await self._saver.save(
                run, attempt, stage, workload, verdict, skip=skip, advance=advance
            )  # fmt: skip

    async def tell_secrets(self, attempt: Attempt) -> None:
        """Report which copied files contain a value of the run's secrets: everyone who may read the
        files can read it."""
        context, run_id = self._context, attempt.run_id
        values = context.secrets.known_values(run_id) if context.has_secrets(run_id) else ()
        if not values:
            return
        found: list[str] = []
        for artifact in await self.known(attempt):
            archive = context.content.path(artifact.digest)
            found += await asyncio.to_thread(files_with, archive, values)
        if found:
            names = ", ".join(clean_line(path, 200) for path in found[:_MOST_NAMED])
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            message = (
                f"files of {attempt.attempt_id} contain values of its secrets: {names}{more}; "
                "everyone who may fetch the files can read these"
            )
            kind = EventKind.ATTEMPT_FILES_HOLD_SECRETS
            await context.tell(context.event(kind, message, attempt, severity="warning"))

    async def tell_lost(self, attempt: Attempt, stage: Stage, why: str) -> None:
        """Report that files of an attempt that should be saved are lost."""
        context = self._context
        if not leaves_files(stage, attempt.verdict or Phase.FAILED):
            return
        kept = await context.store.remainders(attempt.run_id)
        if any(each.attempt_id == attempt.attempt_id for each in kept):
            return
        if any(not artifact.is_output for artifact in await self.known(attempt)):
            return
        message = f"files of {attempt.attempt_id} are not saved: {why}"
        event = context.event(
            EventKind.ATTEMPT_FILES_NOT_SAVED, message, attempt, severity="warning"
        )
        await context.tell(event)

    async def _output(
        self, attempt: Attempt, stage: Stage, workload: Workload, name: str, verdict: Phase
    ) -> str:
        context = self._context
        with self._told(attempt, f"copying output {name}") as advance:
            collected = await collect_output(
                context.link(attempt.host),
                workload,
                stage.outputs[name],
                context.content,
                context.config.limits.output_size,
                advance,
            )
        artifact = Artifact(
            run_id=attempt.run_id,
            stage=attempt.stage,
            attempt_id=attempt.attempt_id,
            name=name,
            digest=collected.digest,
            size=collected.size,
            collected_at=context.clock.now(),
            files=collected.files,
            tree_digest=collected.tree_digest,
            partial=verdict is not Phase.SUCCEEDED,
            index=collected.index,
        )
        await context.store.add_artifact(artifact)
        return collected.digest

    @contextlib.contextmanager
    def _told(self, attempt: Attempt, what: str) -> Iterator[Advance]:
        """Show the progress of a transfer until it is over."""
        shown = self._context.progress

        def advance(done: int) -> None:
            shown[attempt.attempt_id] = (what, done, None)

        advance(0)
        try:
            yield advance
        finally:
            shown.pop(attempt.attempt_id, None)


def _outputs(artifacts: Iterable[Artifact]) -> dict[str, str]:
    return {a.name: a.digest for a in artifacts if a.is_output}
