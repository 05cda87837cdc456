"""What a retry comes to, as a JSON object of the API. Pure."""

from __future__ import annotations

from typing import Any

from hostler.decide.again import RetryPlan, changed_params
from hostler.model.codec import to_json
from hostler.model.runs import Run


def retry_object(old: Run, run: Run, plan: RetryPlan) -> dict[str, Any]:
    """The `hostler.retry/1` object."""
    changed = changed_params(old.params, run.params)
    return {
        "schema": "hostler.retry/1",
        "run_id": old.run_id,
        "pipeline": run.pipeline,
        "params": {
            name: {"before": old.params.get(name), "now": run.params.get(name)} for name in changed
        },
        "stages": [to_json(stage) for stage in plan.stages],
        "snapshot": any(s.code == "snapshot" and s.name in plan.again for s in run.stages),
    }
