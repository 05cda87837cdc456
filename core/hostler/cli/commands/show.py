"""`hostler show RUN`: one run with its stages (rows on a terminal, --all, --sort), its header
lines, and the diff of its code."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text
from hostler.base.errors import InputError
from hostler.base.table import is_terminal
from hostler.cli.follow import indices_of, shown_of
from hostler.cli.live import count_line, title_line
from hostler.cli.options import run_name
from hostler.cli.shared import add_common, hint, open_client, out, out_json, out_table
from hostler.show.fold import fold
from hostler.show.kept import shown_lines
from hostler.show.provenance import any_code_text, code_text, kept_lines, params_text
from hostler.show.runs import STAGE_COLUMNS, stage_or_cells_row

if TYPE_CHECKING:
    from hostler.model.views.runs import RunDetail, RunSource, RunView, StageView

_ROOM = 40
"""Rows of stages on a terminal; cells of a matrix share rows beyond that."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "run", type=run_name, metavar="RUN", help="a run's id, or its beginning; `last`"
    )
    parser.add_argument(
        "--all", action="store_true", help="show every cell of a long matrix, also on a terminal"
    )
    parser.add_argument(
        "--sort",
        metavar="[-]METRIC",
        help="sort stages and cells by the last value of a metric; - sorts descending",
    )
    parser.add_argument(
        "--diff", action="store_true", help="show the uncommitted changes of its code as a patch"
    )
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Show a run."""
    client = open_client(args)
    if args.diff:
        return _diff(args, client.source(args.run))
    found = client.show(args.run)
    if args.json:
        out_json("run", found)
        return 0
    stages = _sorted(found, args.sort) if args.sort else found.stages
    terminal = is_terminal()
    if terminal:
        for line in header_lines(found, time.time()):
            out(line)
    indices = indices_of(client, [found])
    shown = fold(stages, _ROOM) if terminal and not args.all and not args.sort else stages
    rows = [stage_or_cells_row(row, found, time.time(), indices) for row in shown]
    out_table(args, STAGE_COLUMNS, rows)
    if terminal:
        out(count_line(found))
        for line in shown_of(client, found):
            out(line)
    if len(shown) < len(stages):
        hint(args, f"every stage: hostler show {found.run_id} --all")
    return 0


def _sorted(run: RunView, asked: str) -> list[StageView]:
    """Its stages by a metric, those without it last. Raises InputError where none has it."""
    name = asked.removeprefix("-")
    metrics = {s.name: s.attempt.metrics if s.attempt else {} for s in run.stages}
    known = {stage: values.get(name) for stage, values in metrics.items()}
    sizes = {stage: value for stage, value in known.items() if value is not None}
    having = [stage for stage in run.stages if stage.name in sizes]
    if not having:
        names = sorted({metric for values in metrics.values() for metric in values})
        raise InputError(
            f"no stage of run {run.run_id} has a metric {name!r}",
            remedy=f"Its metrics: {', '.join(names)}" if names else "It has no metrics",
        )
    having.sort(key=lambda s: sizes[s.name], reverse=asked.startswith("-"))
    return having + [stage for stage in run.stages if stage.name not in sizes]


def _diff(args: argparse.Namespace, source: RunSource) -> int:
    if args.json:
        out_json("source", source)
        return 0
    diff = str(source.git_diff or "")
    for run_id, origin in source.origins.items():
        hint(args, f"{', '.join(origin.stages[:20])}: the code of {run_id}, not this one")
    if not diff:
        same = "its code equals the commit" if source.git_commit else "its code had no commit"
        hint(args, same)
    elif is_terminal():
        for line in diff.splitlines():
            out(line)
    else:
        sys.stdout.write(diff)  # for git apply, which wants every byte
    return 0


def header_lines(run: RunDetail, now: float) -> list[str]:
    """The lines about the run itself, above its stages."""
    lines = [
        title_line(run, now),
        f"by {run.owner}, submitted {clock_text(run.submitted_at)}",
    ]
    text = any_code_text if run.origins else code_text
    if code := text(run.source):
        lines.append(f"code: {code}")
    if run.params:
        lines.append(f"params: {params_text(run.params)}")
    if run.after or run.after_any:
        named = [*run.after, *(f"{run_id} (its end)" for run_id in run.after_any)]
        lines.append(f"starts after {', '.join(named)}")
    if run.retry_of:
        lines.append(f"repeats {run.retry_of}")
    if run.parent:
        lines.append(f"submitted by a stage of {run.parent}")
    if run.nested:
        lines.append(f"its stages submitted {', '.join(run.nested)}")
    lines += [f"{name} is served at {url}" for name, url in run.urls.items()]
    return [*lines, *kept_lines(run), *shown_lines(run)]
