"""The files of an attempt whose work has ended: from its host into the content store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hostler.daemon.context import Context
from hostler.errors import AgentError, EngineError, InputError, NotFoundError
from hostler.model.hosts import Workload
from hostler.model.pipelines import Stage
from hostler.model.records import Artifact
from hostler.model.runs import Attempt, Phase
from hostler.runtimes.collect import Collected, collect_output


@dataclass(frozen=True, slots=True)
class Taken:
    """What was copied of an attempt."""

    outputs: Mapping[str, str] = field(default_factory=dict)
    """Name -> digest of each declared output that is there."""
    problem: str | None = None
    """Why a declared output could not be taken, in a sentence."""


class Collector:
    """Copies outputs. What is there already is not copied again."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def has_work(self, stage: Stage) -> bool:
        """Whether there may be anything to copy of a stage that has ended."""
        return bool(stage.outputs)

    async def known(self, attempt: Attempt) -> list[Artifact]:
        """What was copied of the attempt already."""
        found = await self._context.store.artifacts(attempt.run_id)
        return [artifact for artifact in found if artifact.attempt_id == attempt.attempt_id]

    async def take(
        self, attempt: Attempt, stage: Stage, workload: Workload, verdict: Phase
    ) -> Taken:
        """Copy the outputs as far as they are there; every one of them, where one fails too.

        Raises Unreachable when cut: called again, it goes on where it stopped.
        """
        found = _outputs(await self.known(attempt))
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
                problems.append(f"output {name} ({stage.outputs[name]}): {error.message}")
        return Taken(found, problems[0] if problems else None)

    async def _output(
        self, attempt: Attempt, stage: Stage, workload: Workload, name: str, verdict: Phase
    ) -> str:
        context = self._context
        collected = await collect_output(
            context.link(attempt.host),
            workload,
            stage.outputs[name],
            context.content,
            context.config.limits.output_size,
        )
        partial = verdict is not Phase.SUCCEEDED
        await self._add(attempt, name, collected, kind="output", partial=partial)
        return collected.digest

    async def _add(
        self, attempt: Attempt, name: str, collected: Collected, *, kind: str, partial: bool
    ) -> None:
        artifact = Artifact(
            run_id=attempt.run_id,
            stage=attempt.stage,
            attempt_id=attempt.attempt_id,
            name=name,
            digest=collected.digest,
            size=collected.size,
            collected_at=self._context.clock.now(),
            files=collected.files,
            tree_digest=collected.tree_digest,
            kind=kind,
            partial=partial,
            index=collected.index,
        )
        await self._context.store.add_artifact(artifact)


def _outputs(artifacts: Iterable[Artifact]) -> dict[str, str]:
    return {a.name: a.digest for a in artifacts if a.is_output}
