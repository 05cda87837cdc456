"""JSON Schemas of our files, so that an editor completes and checks them while one types."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import Key, keys_of, title_of
from hostler.decide.lifecycle import LIFECYCLES, Lifecycle
from hostler.model.config import Config
from hostler.model.pipeline_file import PipelineTable, StageTable

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> JsonTable:
    """The JSON Schema of pipeline.toml."""
    made = _of_file(PipelineTable, "Hostler pipeline")
    tables = made["$defs"]
    stage = tables[title_of(StageTable)] if isinstance(tables, dict) else None
    if isinstance(stage, dict):
        stage["allOf"] = [_of_kind(kind, lifecycle) for kind, lifecycle in LIFECYCLES.items()]
    return made


def _of_kind(kind: str, lifecycle: Lifecycle) -> JsonTable:
    """Keys that a stage of a kind needs and may have, and keys that other kinds may not have."""
    own = [*lifecycle.keys, *lifecycle.optional]
    needed: list[Json] = [*(["command"] if lifecycle.has_workload else []), *lifecycle.keys]
    made: JsonTable = {"if": _is_of(kind)}
    then: JsonTable = {"required": needed} if needed else {}
    if lifecycle.takes is not None:
        names = sorted(lifecycle.takes)
        inner = [name.removeprefix("resources.") for name in names if "." in name]
        then["propertyNames"] = {"enum": [name for name in names if "." not in name]}
        then["properties"] = {"resources": {"propertyNames": {"enum": [*inner]}}}
    if then:
        made["then"] = then
    if own:
        made["else"] = {"properties": dict.fromkeys(own, False)}
    return made


def _is_of(kind: str) -> JsonTable:
    """Whether a stage is of a kind; without a kind, it is the default one."""
    is_default = keys_of(StageTable)["kind"].default == kind
    found: JsonTable = {"properties": {"kind": {"const": str(kind)}}}
    return found if is_default else {**found, "required": ["kind"]}


def config_schema() -> JsonTable:
    """The JSON Schema of config.toml."""
    return _of_file(Config, "Hostler configuration")


def _of_file(table: type, title: str) -> JsonTable:
    inner = sorted(set(_tables_in(table)), key=title_of)
    tables: JsonTable = {title_of(one): _of_table(one) for one in inner}
    return {"$schema": _DIALECT, "$defs": tables, **_of_table(table), "title": title}


def _tables_in(table: type) -> Iterator[type]:
    for key in keys_of(table).values():
        for inner in key.kind.tables:
            yield inner
            yield from _tables_in(inner)


def _of_table(table: type) -> JsonTable:
    keys = keys_of(table).values()
    required: list[Json] = [key.name for key in keys if key.is_required]
    return {
        "additionalProperties": False,
        "description": inspect.getdoc(table),
        "properties": {key.name: _of_key(key) for key in keys},
        **({"required": required} if required else {}),
        "title": title_of(table),
        "type": "object",
    }


def _of_key(key: Key) -> JsonTable:
    """TOML has no null: a key is present or absent."""
    made = dict(key.kind.schema)
    if key.help:
        made["description"] = key.help
    if isinstance(key.default, (str, int, float)):
        made["default"] = key.kind.write(key.default)
    return made
