"""From pydantic's errors to problems that a person understands. The one place that knows both."""

from __future__ import annotations

import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hostler.spec.positions import Path
from hostler.spec.problems import Problems, shown
from hostler.spec.several import Several
from hostler.spec.tables import PipelineTable, ResourcesTable, SharedKeys, StageTable, Table
from hostler.spec.values import kind_of

T = TypeVar("T", bound=Table)

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}


def validate(
    model: type[T],
    values: object,
    path: Path,
    problems: Problems,
    *,
    known: type[Table] | None = None,
) -> T | None:
    """The table as a model, or None after noting what is wrong with it.

    `known` is the model whose keys are suggested for unknown ones, where that is a larger one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _note(details, known or model, path, problems)
        return None


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys a table may have, as they are written in TOML."""
    return [field.alias or name for name, field in model.model_fields.items()]


def table_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model of the table at a path within a model; None where it is no table of ours."""
    here: Any = model
    for part in path:
        if not _is_model(here):
            inside = _inner(here)
            if inside is None:
                return None
            here = inside
            continue
        fields = {field.alias or name: field for name, field in here.model_fields.items()}
        if part not in fields:
            return None
        here = _unwrapped(fields[str(part)].annotation)
    return here if _is_model(here) else None


def _note(details: ErrorDetails, model: type[Table], path: Path, problems: Problems) -> None:
    location = details["loc"]
    if details["type"] == "extra_forbidden":
        table = table_at(model, location[:-1]) or model
        _note_unknown(str(location[-1]), table, (*path, *location), problems)
        return
    if location and location[-1] == "[key]":
        location = location[:-1]
    where = (*path, *location)
    if problems.has(where):
        return  # a placeholder that was not filled says it all
    error = details.get("ctx", {}).get("error")
    if isinstance(error, Several):
        for place, message in error.found:
            problems.add((*where, *place), message)
    else:
        problems.add(where, _sentence(details))


def _note_unknown(key: str, table: type[BaseModel], path: Path, problems: Problems) -> None:
    later: dict[str, str] = getattr(table, "later", {})
    if key in later:
        problems.add(path, later[key])
        return
    hint = _elsewhere(key, table) or problems.guess(key, keys_of(table))
    problems.add(path, f"unknown key {shown(key)}", hint)


def _elsewhere(key: str, table: type[BaseModel]) -> str:
    """Where a key belongs that was written one table too high or too low."""
    if table is PipelineTable:
        return _of_a_stage(key)
    if issubclass(table, SharedKeys):
        if key in ResourcesTable.model_fields:
            return f"it belongs to `resources`: resources = {{ {key} = ... }}"
        if key in keys_of(StageTable):
            return f"`{key}` is each stage's own: it cannot be a default"
    if table is ResourcesTable and key in keys_of(StageTable):
        return f"`{key}` belongs to the stage itself, not to its resources"
    return ""


def _of_a_stage(key: str) -> str:
    """Where a stage's key belongs that was written at the top of the file."""
    if key in ResourcesTable.model_fields:
        return "it belongs to `resources`, under [defaults.resources] for all stages"
    if key in keys_of(SharedKeys):
        return "it belongs under [defaults], or to a stage"
    return "it belongs to a stage, under [stages.NAME]" if key in keys_of(StageTable) else ""


def _sentence(details: ErrorDetails) -> str:
    kind = details["type"]
    if kind == "missing":
        return "is missing"
    if kind in ("value_error", "assertion_error"):
        return str(details.get("ctx", {}).get("error", details["msg"]))
    if kind in _WANTED:
        return f"should be {_WANTED[kind]}, is {kind_of(details['input'])}"
    return details["msg"]


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inner(kind: object) -> object:
    """What a table or list of them holds."""
    args = typing.get_args(kind)
    return _unwrapped(args[-1]) if args else None


def _unwrapped(annotation: object) -> object:
    """The model or container in an annotation, without `Annotated` and `| None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _unwrapped(typing.get_args(annotation)[0])
    options = [arg for arg in typing.get_args(annotation) if _is_model(arg)]
    return (
        options[0]
        if len(options) == 1 and typing.get_origin(annotation) is not dict
        else (annotation)
    )
