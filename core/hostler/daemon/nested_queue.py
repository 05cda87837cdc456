"""The answer to `squeue` inside a stage: which tasks are listed and the word why each waits."""

from __future__ import annotations

from collections.abc import Iterator

from hostler.decide.progress import progress_of
from hostler.model.pipelines import Stage
from hostler.model.runs import Run
from hostler.sbatch.queue import QueuedTask
from hostler_agent.jobnumbers import job_number

_TASK = "SLURM_ARRAY_TASK_ID"


def queued_tasks(run: Run, now: float) -> Iterator[QueuedTask]:
    """Tasks that have not ended. The reason why one waits is a single word, as in Slurm: the
    daemon's full reasons name runs and hosts of other users."""
    progress, number = progress_of(run), job_number(run.run_id)
    for stage in run.stages:
        status = progress.status[stage.name]
        if status.is_final:
            continue
        tries = progress.tries.get(stage.name)
        last = tries[-1] if tries and not tries[-1].phase.is_final else None
        yield QueuedTask(
            number=number,
            task=stage.env.get(_TASK, ""),
            name=run.pipeline,
            user=run.owner,
            status=status.value,
            seconds=now - last.started_at if last and last.started_at is not None else 0.0,
            host=last.host if last else "",
            reason="Dependency" if _waits_for_others(run, stage) else "Resources",
        )


def _waits_for_others(run: Run, stage: Stage) -> bool:
    return any(each.run_id not in run.awaited for each in stage.after)
