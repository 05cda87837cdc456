"""Compares runs side by side (parameters, results, places, cost), and by which words in its name a
metric is better when lower or higher. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostler.base.units import format_value
from hostler.decide.again import changed_params
from hostler.decide.progress import Progress, progress_of
from hostler.model.durations import attempt_duration, run_duration
from hostler.model.hosts import HostFacts
from hostler.model.records import StageMetric
from hostler.model.runs import Attempt, Outcome, Run
from hostler.model.views.history import ComparedRow

Value = str | float | None
Curve = tuple[tuple[float, float], ...]
"""Points of one run."""

_LOWER = re.compile(r"loss|err|perplexity|ppl|wer|cer|mse|mae|rmse|fid|latency|time|seconds", re.I)
_HIGHER = re.compile(
    r"acc|f1|auc|precision|recall|score|bleu|rouge|map|iou|dice|psnr|ssim|reward|tok|throughput"
    r"|per_s|/s",
    re.I,
)
_COST = ("took_s", "gpu_hours", "energy_wh")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the runs, with further data about it."""

    run: Run
    facts: tuple[HostFacts, ...] = ()
    """The facts of the hosts of its attempts, at that time."""
    points: tuple[StageMetric, ...] = ()
    """The points that its newest attempts wrote, thinned out, in the order of its stages."""


def rows(sides: Sequence[Side], now: float) -> list[ComparedRow]:
    """All rows, section by section."""
    mixed = any(side.run.origins for side in sides)
    made = [_View(side, now, mixed) for side in sides]
    found = [
        *_section("parameters", [view.params() for view in made]),
        *_section("metrics", [view.metrics() for view in made], _better_metric),
        *_section("source", [view.source() for view in made]),
        *_section("hosts", [view.hosts() for view in made]),
        *_section("stages", [view.stages() for view in made]),
    ]
    # A run that failed early was cheap, not better.
    whole = all(side.run.outcome is Outcome.SUCCEEDED for side in sides)
    return [*found, *_section("cost", [view.cost() for view in made], _lowest if whole else None)]


def series(sides: Sequence[Side]) -> dict[str, tuple[Curve, ...]]:
    """Metric -> for each run its points: by step where all of them have one, else by seconds."""
    found = [_last_stages(side.points) for side in sides]
    names = dict.fromkeys(name for points in found for name in points)
    return {name: _curves([points.get(name, []) for points in found]) for name in names}


def _last_stages(points: Iterable[StageMetric]) -> dict[str, list[StageMetric]]:
    """Metric -> its points; if two stages wrote the same metric, those of the later one. One pass:
    a stage may write thousands of names."""
    found: dict[str, list[StageMetric]] = {}
    for point in points:
        there = found.setdefault(point.name, [])
        if there and there[-1].attempt_id != point.attempt_id:
            there.clear()
        there.append(point)
    return found


def _curves(curves: Sequence[Sequence[StageMetric]]) -> tuple[Curve, ...]:
    by_step = all(point.step is not None for points in curves for point in points)
    made = []
    for points in curves:
        begin = points[0].at if points else 0.0
        made.append(
            tuple(
                (float(point.step or 0) if by_step else point.at - begin, point.value)
                for point in points
                if math.isfinite(point.value)
            )
        )
    return tuple(made)


def _section(
    section: str,
    tables: Sequence[Mapping[str, Value]],
    better: Callable[[str, Sequence[Value]], int | None] | None = None,
) -> list[ComparedRow]:
    names = dict.fromkeys(name for table in tables for name in table)
    return [
        _row(section, name, tuple(table.get(name) for table in tables), better) for name in names
    ]


def _row(
    section: str,
    name: str,
    values: tuple[Value, ...],
    better: Callable[[str, Sequence[Value]], int | None] | None,
) -> ComparedRow:
    # NaN is not even equal to itself, and is the same thing all the same.
    alike = {"nan" if isinstance(v, float) and math.isnan(v) else v for v in values}
    differs = len(alike) > 1
    best = better(name, values) if better and differs else None
    return ComparedRow(section=section, name=name, values=values, differs=differs, better=best)


def _better_metric(name: str, values: Sequence[Value]) -> int | None:
    """The better direction, by the metric's name; None if the name does not show it."""
    lower, higher = bool(_LOWER.search(name)), bool(_HIGHER.search(name))
    if lower == higher:
        return None
    return _best(values, min if lower else max)


def _lowest(_name: str, values: Sequence[Value]) -> int | None:
    return _best(values, min)


def _best(values: Sequence[Value], choose: Callable[[list[float]], float]) -> int | None:
    """The run with the best number; None if fewer than two have a number, or if several have the
    best."""
    known = [v for v in values if isinstance(v, float) and math.isfinite(v)]
    if len(known) < 2:
        return None
    best = choose(known)
    return values.index(best) if known.count(best) == 1 else None


class _View:
    """One run as tables of name and value."""

    def __init__(self, side: Side, now: float, mixed: bool) -> None:
        self._side = side
        self._mixed = mixed
        self._run = side.run
        self._now = now
        self._progress: Progress = progress_of(side.run)

    def params(self) -> dict[str, Value]:
        return {name: _value(value) for name, value in self._run.params.items()}

    def metrics(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for attempt in self._newest():
            found |= {name: float(value) for name, value in attempt.metrics.items()}
        return found

    def source(self) -> dict[str, Value]:
        source = self._run.source
        return {
            "pipeline": self._run.pipeline,
            "commit": source.git_commit,
            "branch": source.git_branch,
            "uncommitted changes": "yes" if source.git_dirty else "no",
            "content": source.digest,
            "path": source.path,
            "images": _joined(stage.image for stage in self._run.stages),
        }

    def hosts(self) -> dict[str, Value]:
        facts = self._side.facts
        attempts = self._newest()
        gpus = sum(len(attempt.gpus) for attempt in attempts)
        return {
            "hosts": _joined(attempt.host for attempt in attempts),
            "GPUs": float(gpus),
            "driver": _joined(fact.driver for fact in facts),
            "CUDA": _joined(fact.cuda for fact in facts),
            "kernel": _joined(fact.kernel for fact in facts),
            "docker": _joined(fact.docker for fact in facts),
        }

    def stages(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        newest = {attempt.stage: attempt for attempt in self._newest()}
        for stage in self._run.stages:
            attempt, tries = newest.get(stage.name), len(self._progress.tries.get(stage.name, ()))
            status: str = self._progress.status[stage.name].value
            if attempt is not None and attempt.cause is not None:
                status += f": {attempt.cause.value}"
            found[stage.name] = status
            found[f"{stage.name} took_s"] = self._took(attempt)
            found[f"{stage.name} attempts"] = float(tries)
            if self._mixed:
                found[f"{stage.name} code"] = self._code(stage.name)
        return found

    def cost(self) -> dict[str, Value]:
        used = [attempt.usage for attempt in self._run.attempts]
        seconds = [u["gpu_seconds_allocated"] for u in used if "gpu_seconds_allocated" in u]
        energy = [u["energy_wh"] for u in used if "energy_wh" in u]
        figures = (
            run_duration(self._run.started_at, self._run.finished_at, self._now),
            sum(seconds) / 3600 if seconds else None,
            sum(energy) if energy else None,
        )
        return dict(zip(_COST, figures, strict=True))

    def _code(self, stage: str) -> str | None:
        """The code of a stage and, if they are not the run's own, its parameters."""
        origin = self._run.origin_of(stage)
        source, params = origin.source, origin.params
        others = [f"{n}={format_value(params[n])}" for n in changed_params(self._run.params, params)
                  if n in params]  # fmt: skip
        # Two trees with changes have one commit.
        content = source.digest if source.git_dirty or source.git_commit is None else None
        parts = [(source.git_commit or "")[:12], (content or "")[:12], *others]
        return " ".join(filter(None, parts)) or None

    def _newest(self) -> list[Attempt]:
        """The last attempt of each stage, those kept of an earlier run first."""
        newest = dict(self._run.kept)
        newest |= {attempt.stage: attempt for attempt in self._run.attempts}
        return list(newest.values())

    def _took(self, attempt: Attempt | None) -> float | None:
        if attempt is None:
            return None
        return attempt_duration(
            attempt.duration, attempt.started_at, attempt.finished_at, self._now
        )


def _value(value: object) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    return float(value) if isinstance(value, int | float) else str(value)


def _joined(names: Iterable[str | None]) -> str | None:
    return ", ".join(sorted({name for name in names if name})) or None
