"""The words of a submission (commands, parameters, cells) that may name files which are not
sent; packing/source.py words that note. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from hostler.base.json_types import Json, JsonTable
from hostler.base.text import texts_in
from hostler_agent.json_values import strings, table


def words_of(body: Mapping[str, Json]) -> list[str]:
    """The words of a submission's commands, values of parameters and of cells."""
    if body.get("command") is not None:
        command = table(body["command"])
        return [word for key in ("command", "each") for word in strings(command.get(key))]
    document = pipeline_tables(body)
    if not document:
        return []
    found = [*texts_in(document.get("params")), *texts_in(body.get("params"))]
    found += strings(body.get("args"))
    for stage in map(table, table(document.get("stages")).values()):
        found += [*texts_in(stage.get("command")), *texts_in(stage.get("env"))]
    return found


def pipeline_tables(body: Mapping[str, Json]) -> JsonTable:
    """The tables of a submission's pipeline file; none if it cannot be read: the daemon reports the
    error."""
    try:
        return tomllib.loads(str(body.get("pipeline") or ""))
    except (ValueError, OverflowError, RecursionError):  # a syntax, a number, a depth
        return {}
