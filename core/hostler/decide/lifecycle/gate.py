"""A stage of kind `gate`: its keys; its metrics decide whether the stages that need it may run."""

from __future__ import annotations

from collections.abc import Mapping

from hostler.decide.causes import Ending
from hostler.decide.conditions import gate_failure
from hostler.decide.lifecycle.task import Task
from hostler.model.pipelines import Cause, Scalar, Stage
from hostler.model.runs import Phase


class Gate(Task):
    """See `Lifecycle` for what each answer means."""

    keys: Mapping[str, str] = {"pass": 'pass = ["accuracy >= 0.95"]'}

    def judge(
        self,
        stage: Stage,
        ended: Ending,
        metrics: Mapping[str, float],
        params: Mapping[str, Scalar],
    ) -> Ending:
        """Exit code 0 is not enough: every condition of `pass` must hold."""
        refusal = gate_failure(stage, metrics, params) if ended[0] is Phase.SUCCEEDED else None
        return ended if refusal is None else (Phase.FAILED, Cause.GATE, refusal)
