"""Which names a `when` may use, and why a gate's `pass` fails; the syntax of both is in
`expressions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hostler.base.errors import InputError
from hostler.decide.expressions import evaluate
from hostler.model.pipelines import Scalar, Stage
from hostler.model.runs import Run

Metrics = Mapping[str, float]


def expression_names(
    run: Run, stage: Stage, metrics: Callable[[str], Metrics]
) -> dict[str, object]:
    """The names of a `when`: `params`, `matrix`, and each needed stage with its metrics.

    A needed stage with a matrix appears under its base; each of its metrics is then a list, one
    value for each cell that wrote it.
    """
    names: dict[str, object] = {"params": dict(run.params), "matrix": dict(stage.cell)}
    bases = {s.name: s.base for s in run.stages} if stage.needs else {}
    cells: dict[str, dict[str, list[float]]] = {}
    for need in stage.needs:
        base = bases.get(need, need)
        if base == need:
            names[base] = dict(metrics(need))
            continue
        names[need] = dict(metrics(need))
        columns = cells.setdefault(base, {})
        for key, value in metrics(need).items():
            columns.setdefault(key, []).append(value)
    names.update(cells)
    return names


def gate_failure(
    stage: Stage,
    metrics: Metrics,
    params: Mapping[str, Scalar],
) -> str | None:
    """Why a gate fails, in one sentence; None: every condition holds.

    The names are the gate's own metrics, `params` and `matrix`. A condition that cannot be
    evaluated, for example because a metric was never written, fails.
    """
    names: dict[str, object] = {
        **metrics,
        "params": dict(params),
        "matrix": dict(stage.cell),
    }
    for condition in stage.conditions:
        try:
            holds = bool(evaluate(condition, names, stage=stage.name))
        except (InputError, ValueError) as error:
            return f"{condition} cannot be evaluated: {error}"
        if not holds:
            return f"{condition} does not hold ({_numbers(condition, metrics)})"
    return None


def _numbers(condition: str, metrics: Metrics) -> str:
    named = [f"{key} is {value:g}" for key, value in metrics.items() if key in condition]
    return ", ".join(named) or "it names no metric"
