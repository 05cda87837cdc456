"""Turns errors of readers into problems with a place and a hint."""

from __future__ import annotations

from typing import TypeVar

from hostler.base.json_types import Json
from hostler.base.keys import keys_of, read_table
from hostler.base.several import faults_of
from hostler.base.text import shown
from hostler.model.pipeline_file import PipelineTable, SharedKeys, StageTable
from hostler.model.pipelines import Resources
from hostler.spec import later
from hostler.spec.positions import Path
from hostler.spec.problems import Problems

T = TypeVar("T")


def validate(
    table: type[T],
    values: Json,
    path: Path,
    problems: Problems,
    *,
    known: type | None = None,
) -> T | None:
    """The table as a value of the model, or None after noting what is wrong with it.

    `known` is the table whose keys are suggested for unknown ones, where that is a larger one.
    """
    try:
        return read_table(table, values)
    except ValueError as error:
        faults = faults_of(error, *path)
    told = [fault.place for fault in faults if problems.has(fault.place)]
    for fault in faults:
        if fault.unknown_in is not None:
            own = known if known and fault.unknown_in is table else fault.unknown_in
            _note_unknown(str(fault.place[-1]), own, fault.place, problems)
        elif fault.place not in told:  # a placeholder that was not filled says it all
            problems.add(fault.place, fault.message)
    return None


def _note_unknown(key: str, table: type, path: Path, problems: Problems) -> None:
    refused = later.KEYS.get(table, {})
    if key in refused:
        problems.add(path, refused[key])
        return
    hint = _elsewhere(key, table) or problems.guess(key, keys_of(table))
    problems.add(path, f"unknown key {shown(key)}", hint)


def _elsewhere(key: str, table: type) -> str:
    """Where a key belongs that was written one table too high or too low."""
    if table is PipelineTable:
        return _of_a_stage(key)
    if issubclass(table, SharedKeys):
        if key in keys_of(Resources):
            return f"it belongs to `resources`: resources = {{ {key} = ... }}"
        if key in keys_of(StageTable):
            return f"`{key}` is each stage's own: it cannot be a default"
    if table is Resources and key in keys_of(StageTable):
        return f"`{key}` belongs to the stage itself, not to its resources"
    return ""


def _of_a_stage(key: str) -> str:
    """Where a stage's key belongs that was written at the top of the file."""
    if key in keys_of(Resources):
        return "it belongs to `resources`, under [defaults.resources] for all stages"
    if key in keys_of(SharedKeys):
        return "it belongs under [defaults], or to a stage"
    return "it belongs to a stage, under [stages.NAME]" if key in keys_of(StageTable) else ""
