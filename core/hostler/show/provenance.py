"""With which code and parameters the stages of a run were made, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostler.base.units import format_value
from hostler.show.retry import stage_names

Run = Mapping[str, Any]


def code_text(source: Mapping[str, Any]) -> str:
    """Its commit; "" where there is none."""
    if not source.get("git_commit"):
        return ""
    dirty = " with changes" if source.get("git_dirty") else ""
    branch = f" ({source['git_branch']})" if source.get("git_branch") else ""
    return f"{source['git_commit'][:12]}{branch}{dirty}"


def any_code_text(source: Mapping[str, Any]) -> str:
    """Its commit; what it holds where it is not that of the commit, or there is none."""
    holds = source.get("digest") and (source.get("git_dirty") or not source.get("git_commit"))
    digest = f"snapshot {source['digest'][:12]}" if holds else ""
    return ", ".join(filter(None, (code_text(source), digest)))


def params_text(params: Mapping[str, Any]) -> str:
    """ "lr=0.1 epochs=3"."""
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items())


def kept_lines(run: Run) -> list[str]:
    """For each earlier run its stages that this one has kept; with their code and parameters, where
    those are not this run's."""
    kept: dict[str, list[Mapping[str, Any]]] = {}
    for stage in run["stages"]:
        if stage.get("kept"):
            kept.setdefault(str(stage["attempt"]["run_id"]), []).append(stage)
    return [_kept_line(run, run_id, stages) for run_id, stages in kept.items()]


def _kept_line(run: Run, run_id: str, stages: list[Mapping[str, Any]]) -> str:
    origin = (run.get("origins") or {}).get(run_id)
    names = stage_names((str(s.get("base") or s["name"]), str(s["name"])) for s in stages)
    said = f"kept from {run_id}: {names}"
    if origin is None:
        return said
    code, params = any_code_text(origin["source"]), origin["params"]
    others = {n: v for n, v in params.items() if (run.get("params") or {}).get(n) != v}
    parts = [f"code {code}" if code else "", f"params {params_text(others)}" if others else ""]
    return "; ".join([said, *filter(None, parts)])
