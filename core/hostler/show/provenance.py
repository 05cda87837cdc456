"""The code (commit, branch, changes) and parameters of stages in words, also of stages kept from
earlier runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hostler.base.units import format_value
from hostler.show.retry import stage_names

if TYPE_CHECKING:
    from hostler.model.pipelines import Scalar
    from hostler.model.views.runs import RunView, SourceView, StageView


def code_text(source: SourceView) -> str:
    """Its commit; "" if there is none."""
    if not source.git_commit:
        return ""
    dirty = " with changes" if source.git_dirty else ""
    branch = f" ({source.git_branch})" if source.git_branch else ""
    return f"{source.git_commit[:12]}{branch}{dirty}"


def any_code_text(source: SourceView) -> str:
    """Its commit; also the digest of the code if that differs from the commit, or there is none."""
    holds = source.git_dirty or not source.git_commit
    digest = f"snapshot {source.digest[:12]}" if holds and source.digest else ""
    return ", ".join(filter(None, (code_text(source), digest)))


def params_text(params: Mapping[str, Scalar]) -> str:
    """ "lr=0.1 epochs=3"."""
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items())


def kept_lines(run: RunView) -> list[str]:
    """For each earlier run, its stages that this run has kept; with their code and parameters, if
    those differ from this run's."""
    kept: dict[str, list[StageView]] = {}
    for stage in run.stages:
        if stage.kept and stage.attempt:
            kept.setdefault(stage.attempt.run_id, []).append(stage)
    return [_kept_line(run, run_id, stages) for run_id, stages in kept.items()]


def _kept_line(run: RunView, run_id: str, stages: list[StageView]) -> str:
    origin = run.origins.get(run_id)
    names = stage_names((s.base or s.name, s.name) for s in stages)
    said = f"kept from {run_id}: {names}"
    if origin is None:
        return said
    code, params = any_code_text(origin.source), origin.params
    others = {n: v for n, v in params.items() if run.params.get(n) != v}
    parts = [f"code {code}" if code else "", f"params {params_text(others)}" if others else ""]
    return "; ".join([said, *filter(None, parts)])
