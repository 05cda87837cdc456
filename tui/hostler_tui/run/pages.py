"""Pages of the run screen beside the log (metrics, artifacts, info, events, why, diff) and their
keys; how many charts and points are drawn. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from hostler.base.dates import local_text
from hostler.base.table import pad
from hostler.base.text import clean
from hostler.base.units import format_duration, format_size
from hostler.model.views.alerts import EventView
from hostler.model.views.files import ArtifactView
from hostler.model.views.history import AttemptUsage, MetricView, StageUsage
from hostler.model.views.runs import AttemptView, StageView
from hostler.show.progress import Indices, end_text, phase_text, where
from hostler.show.why import answer_lines
from hostler_tui.format import percent_text, squeeze
from hostler_tui.lines import Line, line, wrapped
from hostler_tui.run.data import RunData
from hostler_tui.runs.lines import fact_lines, reason_lines
from hostler_tui.runs.source import diff_lines
from hostler_tui.widgets.chart import Chart, Point, grid, number_text, sampled, side_by_side

PAGES = (
    ("log", "l"), ("metrics", "m"), ("why", "W"), ("info", "i"), ("artifacts", "a"),
    ("events", "e"), ("diff", "D"),
)  # fmt: skip
"""Pages and their keys."""
QUESTIONS = {
    "metrics": ("metrics", "usage"), "why": ("why",), "artifacts": ("artifacts",),
    "diff": ("source",),
}  # fmt: skip
"""The requests for a page's data."""

_MOST_CHARTS = 24
_MOST_POINTS = 1000
"""Points of a chart: more than the columns of any screen."""


def page_labels(page: str, width: int) -> list[tuple[str, str, str]]:
    """Every page with its key and the name to show. Where the names do not fit side by side, only
    the page on show has one. Width 0: nothing is laid out yet."""
    fits = not width or sum(len(f" {key} {name}") for name, key in PAGES) <= width
    return [(name, key, name if fits or name == page else "") for name, key in PAGES]


def page_lines(page: str, data: RunData, stage: str, size: tuple[int, int]) -> list[Line]:
    """One page for this width and height."""
    width, height = size
    failed = [data.failed[q] for q in QUESTIONS.get(page, ()) if q in data.failed]
    lines = _lines(page, data, stage, width, height)
    return [*(part for why in failed for part in wrapped(why, width, " ", "warn")), *lines]


def _lines(page: str, data: RunData, stage: str, width: int, height: int) -> list[Line]:
    if data.run is None:
        return []
    found = data.stage(stage)
    if page == "log" and found is not None:
        return [
            line((" It has not started, so it has no log.", "dim")),
            *reason_lines(found, width),
        ]
    if page == "metrics":
        return metric_lines(data, stage, width, height)
    if page == "why":
        return why_page(data, stage, width)
    if page == "artifacts":
        return artifact_lines(data.artifacts, width)
    if page == "events":
        return event_lines(data.events, width)
    if page == "diff":
        return diff_lines(data.source)
    return [*fact_lines(data.run, width), line(""), *attempt_lines(data, stage, width)]


def known_charts(data: RunData, stage: str) -> Sequence[Chart]:
    """The charts of a stage, made once for each answer."""
    if stage not in data.charts:
        rows, usage = data.metrics.get(stage) or (), data.usage.get(stage) or StageUsage()
        data.charts[stage] = charts_of(rows, usage)
    return data.charts[stage]


def charts_of(rows: Sequence[MetricView], usage: StageUsage) -> list[Chart]:
    """A chart for each metric of the newest attempt, then charts of the GPUs."""
    newest = rows[-1].attempt_id if rows else ""
    names: dict[str, list[MetricView]] = {}
    for row in rows:
        if row.attempt_id == newest:
            names.setdefault(row.name, []).append(row)
    return [*(_metric(name, of) for name, of in names.items()), *gpu_charts(usage)][:_MOST_CHARTS]


def _metric(name: str, rows: Sequence[MetricView]) -> Chart:
    """Over steps, if all points have a step; else over time."""
    if all(row.step is not None for row in rows):
        points = tuple((float(row.step), row.value) for row in rows if row.step is not None)
        ends = (number_text(points[0][0]), f"step {number_text(points[-1][0])}")
    else:
        points = tuple((row.at, row.value) for row in rows)
        ends = _clock_ends(points[0][0], points[-1][0])
    return Chart(name, thinned(sorted(points, key=lambda point: point[0])), ends=ends)


def thinned(points: Sequence[Point], most: int = _MOST_POINTS) -> tuple[Point, ...]:
    """At most this many points, each the mean of neighbours; the last one unchanged."""
    if len(points) <= most:
        return tuple(points)
    values = squeeze([value for _, value in points], most - 1)
    places = squeeze([at for at, _ in points], most - 1)
    pairs = [(at, value) for at, value in zip(places, values, strict=True) if at is not None]
    return (*pairs, points[-1])


def gpu_charts(usage: StageUsage) -> list[Chart]:
    """Utilization and memory: the mean of the GPUs, step by step."""
    gpus = list(usage.gpus.values())
    if not gpus:
        return []
    begin, step = usage.begin, usage.step_s
    several = f" of {len(gpus)} GPUs" if len(gpus) > 1 else ""
    util = _mean([gpu.utilization for gpu in gpus])
    memory = _mean([gpu.memory_used for gpu in gpus])
    ends = _clock_ends(begin, begin + step * max(0, len(util) - 1))
    at = [begin + step * n for n in range(max(len(util), len(memory)))]
    return [
        Chart(f"GPU utilization{several}", sampled(tuple(zip(at, util, strict=False))), 0.0, 100.0,
              percent_text, ends, "leased"),
        Chart(f"GPU memory{several}", sampled(tuple(zip(at, memory, strict=False))), 0.0, None,
              format_size, ends, "leased"),
    ]  # fmt: skip


def _mean(series: Sequence[Sequence[float | None]]) -> list[float | None]:
    longest = max((len(values) for values in series), default=0)
    shown: list[float | None] = []
    for at in range(longest):
        known = [v for values in series if at < len(values) and (v := values[at]) is not None]
        shown.append(sum(known) / len(known) if known else None)
    return shown


def _clock_ends(first: float, last: float) -> tuple[str, str]:
    texts = [local_text("%H:%M", at) for at in (first, last)]
    return texts[0], texts[1]


def metric_lines(data: RunData, stage: str, width: int, height: int) -> list[Line]:
    """Charts, in as many columns as fit; below them the usage of the attempts."""
    rows, usage = data.metrics.get(stage), data.usage.get(stage)
    if rows is None and usage is None:
        return [] if data.failed else [line((" loading ...", "dim"))]
    charts = known_charts(data, stage)
    used = [_used(entry) for entry in (usage.attempts if usage is not None else ())]
    if not charts:
        hint = (" A stage that appends {\"step\": 1, \"loss\": 0.7} to the file $HOSTLER_METRICS "
                "has charts here.")  # fmt: skip
        return [line((f" {stage} wrote no metrics", "dim")), *wrapped(hint, width), *used]
    return [*grid(charts, width, max(height - len(used) - 1, 8)), *used]


def metric_strip(data: RunData, stage: str, width: int, height: int) -> list[Line]:
    """One row of charts: the first metrics, and the GPUs."""
    charts = known_charts(data, stage)
    metrics = [chart for chart in charts if chart.role == "accent"]
    others = [chart for chart in charts if chart.role != "accent"]
    across = max(1, width // 32)
    chosen = [*metrics[: max(1, across - len(others))], *others][:across]
    if not chosen:
        return [line((f" {stage}: no metrics yet", "dim"))]
    return side_by_side(chosen, width, height)


def _used(entry: AttemptUsage) -> Line:
    parts = []
    if entry.gpu_seconds_allocated:
        parts.append(f"{format_duration(entry.gpu_seconds_allocated)} of GPU time")
    if entry.mean_utilization is not None:
        parts.append(f"{percent_text(entry.mean_utilization)} busy")
    if entry.peak_memory:
        parts.append(f"peak {format_size(entry.peak_memory)}")
    if entry.energy_wh is not None:
        parts.append(f"{entry.energy_wh:.4g} Wh")
    return line((f" {entry.attempt_id}: ", "dim"), ", ".join(parts) or "not measured")


def attempt_lines(data: RunData, stage: str, width: int) -> list[Line]:
    """What ran for a stage: command, image, and every attempt."""
    found = data.stage(stage)
    if found is None:
        return []
    lines = [line((f" stage {found.label or stage}", "title"))]
    facts = (
        ("kind", found.kind), ("runtime", found.runtime), ("image", found.image),
        ("gpus", str(found.gpus or "")), ("needs", needs_text(found)),
        ("command", " ".join(found.command)),
    )  # fmt: skip
    for name, text in facts:
        if text:
            lines += wrapped(f"{pad(name, 11)}{text}", width, "  ")
    for attempt in found.attempts:
        lines += wrapped(attempt_text(attempt, {}), width, "  ")
    return lines


def needs_text(stage: StageView) -> str:
    """The stages it needs, in the words of its file: "train, eval?"."""
    ended = frozenset(stage.needs_ended)
    return ", ".join(f"{name}?" if name in ended else name for name in stage.needs)


def attempt_text(attempt: AttemptView, indices: Indices) -> str:
    """ "try 2: failed on gpu1:0-1 after 3m12s (OOM, exit code 137)"."""
    text = f"try {attempt.number}: {phase_text(attempt)} on {where(attempt, indices)}"
    if attempt.duration is not None:
        text += f" after {format_duration(round(attempt.duration, 1))}"
    end = end_text(attempt)
    text = f"{text} ({end})" if end else text
    return f"{text}; {attempt.warning}" if attempt.warning else text


def why_page(data: RunData, stage: str, width: int) -> list[Line]:
    """The answer of `hostler why`, the selected stage first."""
    if data.why is None:
        return [] if "why" in data.failed else [line((" loading ...", "dim"))]
    own = tuple(one for one in data.why.stages if one.name == stage)
    lines: list[Line] = []
    for text in answer_lines(replace(data.why, stages=own), single=True) if own else ():
        lines += wrapped(text, width - 1, " ", "title")
    if own == tuple(data.why.stages):
        return lines
    lines.append(line(""))
    for text in answer_lines(data.why, single=False):
        lines += wrapped(text, width - 1, " ")
    return lines


def artifact_lines(artifacts: Sequence[ArtifactView] | None, width: int) -> list[Line]:
    """The outputs of stages: stage, output, size, digest."""
    if artifacts is None:
        return [line((" loading ...", "dim"))]
    if not artifacts:
        return [line((" no outputs were collected", "dim"))]
    lines = [
        line((f" {pad('STAGE', 16)}  {pad('OUTPUT', 16)}  {'SIZE':>10}  FILES  DIGEST", "dim"))
    ]
    for one in artifacts:
        lines.append(line(
            f" {pad(clean(one.stage), 16)}  {pad(clean(one.name), 16)}",
            f"  {format_size(one.size):>10}  {one.files or '-'!s:>5}",
            (f"  {one.digest[:12]}", "dim"),
        ))  # fmt: skip
    return [*lines, line(""), line((" g", "key"), "  their files: mark, fetch or read them")]


def event_lines(events: Sequence[EventView], width: int) -> list[Line]:
    """The newest first."""
    lines: list[Line] = []
    form = "%m-%d %H:%M:%S" if width >= 60 else "%H:%M:%S"
    indent = len(time.strftime(form)) + 5
    for event in reversed(events):
        at = local_text(form, event.at)
        role = {"warning": "warn", "error": "bad"}.get(event.severity, "")
        mark = {"warning": "! ", "error": "!!"}.get(event.severity, "  ")
        first, *more = wrapped(event.message, width - indent, "", role)
        lines.append(((f" {at} {mark} ", "dim"), *first))
        lines += [((" " * indent, ""), *part) for part in more]
    return lines or [line((" no events yet", "dim"))]


def summary_lines(data: RunData, stage: str, width: int) -> list[Line]:
    """For the space below the stages of a tall screen: facts, outputs, the last events."""
    if data.run is None:
        return []
    lines = fact_lines(data.run, width)
    if data.artifacts:
        lines += [line(""), line((" artifacts", "title"))]
        for one in data.artifacts[-8:]:
            lines.append(line(f"  {one.stage}/{one.name}  ", (format_size(one.size), "dim")))
    lines += [line(""), line((" events", "title"))]
    return [*lines, *event_lines(data.events[-12:], width)]
