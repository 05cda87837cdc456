"""Exports past runs to a CSV or JSON file: its columns and form. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from hostler.base.dates import exact_time
from hostler.base.units import format_value
from hostler.model.codec import to_json
from hostler.model.views.history import HistoryRow
from hostler_tui.history.rows import names_of


def as_csv(runs: Sequence[HistoryRow]) -> str:
    """All runs with all their values, one column each."""
    params = names_of(run.params for run in runs)
    metrics = names_of(run.metrics for run in runs)
    plain = ("run_id", "state", "pipeline", "owner", "git_commit", "submitted_at", "finished_at",
             "took_s", "gpu_hours", "energy_wh", "title", "cause")  # fmt: skip
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*plain, *(f"param.{p}" for p in params), *(f"metric.{m}" for m in metrics)])
    for run in runs:
        whole = to_json(run)
        cells = [_csv_cell(name, whole[name]) for name in plain]
        cells += [format_value(run.params.get(name, "")) for name in params]
        cells += [run.metrics.get(name, "") for name in metrics]
        writer.writerow(cells)
    return out.getvalue()


def _csv_cell(name: str, value: object) -> object:
    if value is None:
        return ""
    return exact_time(value) if name.endswith("_at") and isinstance(value, int | float) else value


def exported(runs: Sequence[HistoryRow], path: str) -> str:
    """The runs in the format for the file's name."""
    if path.endswith(".json"):
        return (
            json.dumps({"schema": "hostler.runs/1", "runs": to_json(tuple(runs))}, indent=1) + "\n"
        )
    return as_csv(runs)
