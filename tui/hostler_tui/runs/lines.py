"""Lines about a run: its title, counts, stages in the graph, reasons, and submitted facts. Pure:
the time is an argument."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.base.dates import clock_text
from hostler.base.table import cell_width, cut, pad
from hostler.base.text import clean
from hostler.base.units import format_age, format_value
from hostler.model.durations import duration_of_run
from hostler.model.views.plans import WhyStage
from hostler.model.views.runs import RunView, StageView
from hostler.show.fold import Cells
from hostler.show.progress import Indices, stage_note
from hostler.show.provenance import kept_lines
from hostler.show.runs import stage_or_cells_row, stage_row
from hostler.show.why import why_lines
from hostler_tui.lab import Lab
from hostler_tui.lines import Line, Span, line, wrapped
from hostler_tui.runs.dag import Box, DagRow, box_lines, dag_rows, needs_of

CELLS_SHOWN = 6
"""Rows of one matrix: its cells with a note, and the others together."""
_LABEL_MOST = 28


def as_of(lab: Lab, now: float) -> float:
    """The time of the displayed data: now, or the daemon's last answer."""
    if lab.lost_since is None:
        return now
    return lab.fleet_seen_at if lab.fleet_seen_at is not None else lab.lost_since


def count_text(stages: Sequence[StageView]) -> str:
    """ "3 succeeded, 1 running": the number in each status."""
    counts: dict[str, int] = {}
    for stage in stages:
        counts[stage.status] = counts.get(stage.status, 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def worst_status(stages: Sequence[StageView]) -> str:
    """The status in which a matrix as a whole is drawn."""
    order = (
        "failed", "running", "starting", "collecting", "cancelled", "waiting", "skipped",
        "succeeded",
    )  # fmt: skip
    found = {stage.status for stage in stages}
    return next((status for status in order if status in found), "")


def dag_cells(row: DagRow, run: RunView, now: float, indices: Indices) -> list[str]:
    """The cells of a row of the graph: label, status, attempt, time, place, note."""
    if row.stage is not None:
        return stage_or_cells_row(row.stage, run, now, indices)
    if not row.cells:
        return ["", "", "", "", "", ""]
    label = f"{row.key.rstrip('/')}: {len(row.cells)} cells"
    return [label, worst_status(row.cells), "-", "-", "-", count_text(row.cells)]


def dag_lines(run: RunView, now: float, indices: Indices, width: int) -> list[Line]:
    """The graph as rails, one stage per line: name, status, time, place, note."""
    rows = dag_rows(run.stages, CELLS_SHOWN)
    cells = [dag_cells(row, run, now, indices) for row in rows]
    ends = [
        cell_width(row.lead) + cell_width(clean(of[0])) for row, of in zip(rows, cells, strict=True)
    ]
    wide = max(ends, default=0)
    wide = min(wide, _LABEL_MOST, max(8, width // 3))
    return [_dag_line(row, of, wide) for row, of in zip(rows, cells, strict=True)]


def _dag_line(row: DagRow, cells: Sequence[str], wide: int) -> Line:
    if not cells[0]:
        return ((f" {row.lead}", "dim"),)
    label, status, _, spent, where, note = cells
    name = cut(clean(label), max(4, wide - cell_width(row.lead)))
    spans: list[Span] = [
        (f" {row.lead}", "dim"), (pad(name, wide - cell_width(row.lead)), ""),
        (" " + pad(status, 10), status), (pad(spent, 8, right=True), "dim"),
    ]  # fmt: skip
    spans += [("  " + text, "") for text in (where, note) if text not in ("", "-")]
    return tuple(spans)


def graph_lines(
    run: RunView, now: float, indices: Indices, width: int, *, boxes: bool
) -> tuple[list[Line], bool]:
    """The graph, as boxes if requested and if they fit; whether it is boxes."""
    if boxes:
        needs = needs_of(run.stages)
        lines = box_lines(needs, _boxes(run, now, indices), width)
        if lines is not None:
            return lines, True
    return dag_lines(run, now, indices, width), False


def _boxes(run: RunView, now: float, indices: Indices) -> dict[str, Box]:
    groups: dict[str, list[StageView]] = {}
    for stage in run.stages:
        groups.setdefault(stage.base or stage.name, []).append(stage)
    return {key: _box(key, cells, run, now, indices) for key, cells in groups.items()}


def _box(key: str, cells: Sequence[StageView], run: RunView, now: float, indices: Indices) -> Box:
    if len(cells) > 1:
        return Box(f"{key} x{len(cells)}", worst_status(cells), count_text(cells))
    _, status, _, spent, where, note = stage_row(cells[0], run, now, indices)
    # What a start is busy with (a setup, an image) says more than where it is.
    place = note if where == "-" or (status == "starting" and cells[0].progress) else where
    said = [text for text in (spent, place) if text != "-"]
    return Box(key, status, "  ".join(said))


def run_title(run: RunView, now: float) -> Line:
    """The run in one line: id, pipeline, state, duration, owner, code."""
    seconds = duration_of_run(run, now)
    if seconds is None:  # it waits
        seconds = (run.finished_at or now) - run.submitted_at
    spent = format_age(seconds)
    title = f" ({run.title})" if run.title else ""
    return (
        (f" {run.run_id}", "title"), (f" {run.pipeline}{title}  ", ""),
        (run.state, run.state), (f" {spent}  by {run.owner}", ""),
        (code_text(run), "dim"),
    )  # fmt: skip


def code_text(run: RunView) -> str:
    """ " code 4f2c91a main with changes"; "" if it is unknown."""
    source = run.source
    if not source.git_commit:
        return ""
    branch = f" {source.git_branch}" if source.git_branch else ""
    dirty = " with changes" if source.git_dirty else ""
    return f"  code {source.git_commit[:10]}{branch}{dirty}"


def reason_lines(stage: StageView | Cells, width: int) -> list[Line]:
    """Why a stage waits or is in its state: the sentence, one line per host, what would start
    now."""
    first = stage.first if isinstance(stage, Cells) else stage
    label = stage.label if isinstance(stage, Cells) else first.label or first.name
    told = WhyStage(
        name=first.name, base=first.base, label=label, status=first.status,
        sentence=_sentence(first), reason=first.reason,
    )  # fmt: skip
    lines: list[Line] = []
    for number, text in enumerate(why_lines(told, whole=True)):
        lines += wrapped(text, width - 1, " ", "title" if number == 0 else "")
    return lines


def _sentence(stage: StageView) -> str:
    """Its note; without one, its status and place."""
    note = stage_note(stage)
    attempt = stage.attempt
    if note != "-" or not attempt:
        return note if note != "-" else stage.status
    return f"{stage.status} on {attempt.host}"


def fact_lines(run: RunView, width: int) -> list[Line]:
    """The submission: by whom, when, with which parameters and code."""
    facts = [
        ("owner", run.owner),
        ("submitted", clock_text(run.submitted_at)),
        ("finished", clock_text(run.finished_at)),
        ("cancelled by", run.cancelled_by or ""),
        ("priority", str(run.priority)),
        ("repeats", run.retry_of or ""),
        ("submitted by", run.parent or ""),
        ("code", code_text(run).strip().removeprefix("code ")),
        ("folder", run.source.path or ""),
        *(("kept", text.removeprefix("kept ")) for text in kept_lines(run)),
    ]
    lines = [_fact(name, value) for name, value in facts if value not in ("", "-")]
    params = run.params
    if params:
        lines += [line(""), line((" parameters", "title"))]
        lines += [_fact(name, format_value(value)) for name, value in params.items()]
    return [part for one in lines for part in _fitted(one, width)]


def _fact(name: str, value: str) -> Line:
    return ((f"  {pad(name, 13)}", "dim"), (value, ""))


def _fitted(spans: Line, width: int) -> list[Line]:
    if sum(cell_width(text) for text, _ in spans) <= width or len(spans) < 2:
        return [spans]
    return [spans[:1], *wrapped(spans[1][0], width, "    ")]
