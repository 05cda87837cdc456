"""The plan of a retry, as views. Pure."""

from __future__ import annotations

from hostler.decide.again import RetryPlan, changed_params
from hostler.model.codec import view_of
from hostler.model.config import LimitsConfig
from hostler.model.runs import Run
from hostler.model.views.plans import ChangedParam, RetriedStage, RetryView


def retry_view(old: Run, run: Run, plan: RetryPlan, limits: LimitsConfig) -> RetryView:
    """The `hostler.retry/1` object."""
    changed = changed_params(old.params, run.params)
    return RetryView(
        run_id=old.run_id,
        pipeline=run.pipeline,
        params={
            name: ChangedParam(before=old.params.get(name), now=run.params.get(name))
            for name in changed
        },
        stages=tuple(view_of(RetriedStage, stage) for stage in plan.stages),
        snapshot=any(s.code == "snapshot" and s.name in plan.again for s in run.stages),
        source_size=limits.source_size,
        source_file=limits.source_file,
    )
