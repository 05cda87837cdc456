"""JSON Schemas of our files, so that an editor completes and checks them while one types."""

from __future__ import annotations

from typing import Any

from hostler.base.units import format_duration, format_size
from hostler.spec.config_tables import ConfigTable
from hostler.spec.tables import PipelineTable

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SECONDS = frozenset(
    {
        "backoff", "lost_after", "grace", "look_interval", "look_timeout", "connect_timeout",
        "fresh_for", "release_patience", "keep_logs", "keep_outputs", "keep_sources",
        "keep_jobs",
    }
)  # fmt: skip


def schema() -> dict[str, Any]:
    """The JSON Schema of pipeline.toml."""
    return _tidy(PipelineTable.model_json_schema(), "Hostler pipeline")


def config_schema() -> dict[str, Any]:
    """The JSON Schema of config.toml."""
    return _tidy(ConfigTable.model_json_schema(), "Hostler configuration")


def _tidy(made: dict[str, Any], title: str) -> dict[str, Any]:
    clean = _without_null(made)
    for table in [clean, *clean.get("$defs", {}).values()]:
        for key, field in table.get("properties", {}).items():
            field.pop("title", None)
            if "description" in field:
                field["description"] = " ".join(field["description"].split())
            _write_default(key, field)
    return {"$schema": _DIALECT, **clean, "title": title}


def _write_default(key: str, field: dict[str, Any]) -> None:
    """Defaults as a person writes them, since the models hold seconds and bytes."""
    default = field.get("default")
    if key in _SECONDS and isinstance(default, float):
        field["default"] = format_duration(default)
    elif field.get("type") == "string" and isinstance(default, int):
        field["default"] = format_size(default).replace(" ", "")


def _without_null(value: Any) -> Any:
    """TOML has no null: a key is written or left out."""
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {
        key: _without_null(item)
        for key, item in value.items()
        if not (key == "default" and item is None)
    }
    options = made.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        kept = [option for option in options if option != {"type": "null"}]
        del made["anyOf"]
        made |= kept[0] if len(kept) == 1 else {"anyOf": kept}
    return made
