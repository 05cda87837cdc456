"""The contracts that can be read off without running anything: OpenAPI, schemas, names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hostler.model.events import EventKind

ROOT = Path(__file__).resolve().parents[2]
_PROSE = frozenset({"description", "title", "summary", "operationId", "examples", "$schema"})
"""Words for people, and names that are made from those of functions."""
_VERB = re.compile(r"[a-z]+\.[a-z]+")


def openapi(made: dict[str, Any]) -> dict[str, Any]:
    """What a client must send to which path, and which answers are promised."""
    schemas = made.get("components", {}).get("schemas", {})
    return {
        f"{method.upper()} {path}": {
            "parameters": sorted(
                (plain(p, schemas) for p in call.get("parameters", [])),
                key=lambda p: (p["in"], p["name"]),
            ),
            "request": plain(call.get("requestBody"), schemas),
            "responses": named(call["responses"]),
        }
        for path, methods in made["paths"].items()
        for method, call in methods.items()
    }


def views(made: dict[str, Any]) -> dict[str, Any]:
    """The objects in answers, each once, by name: each key with its type in short."""
    schemas = made["components"]["schemas"]
    found: dict[str, Any] = {}
    left = [call["responses"] for methods in made["paths"].values() for call in methods.values()]
    while left:
        for name in _referred(left.pop()) - found.keys():
            members = schemas[name].get("properties")
            found[name] = short(schemas[name]) if members is None else _shorts(members)
            left.append(schemas[name])
    return found


def named(value: Any) -> Any:
    """A schema without words for people, each reference the name of what it refers to."""
    return plain(value, {name: {"type": name} for name in _referred(value)})


def short(schema: dict[str, Any]) -> str:
    """A type in one line, like "[number | null]" or "{Reason}"."""
    if "anyOf" in schema:
        return " | ".join(map(short, schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(repr(word) for word in schema["enum"])
    if "prefixItems" in schema:
        return f"[{', '.join(map(short, schema['prefixItems']))}]"
    if schema.get("type") == "array":
        return f"[{short(schema['items'])}]"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{{{short(schema['additionalProperties'])}}}"
    return str(schema.get("type", "any"))


def _shorts(members: dict[str, Any]) -> dict[str, str]:
    return {name: short(schema) for name, schema in members.items()}


def _referred(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for item in value for name in _referred(item)}
    if not isinstance(value, dict):
        return set()
    if isinstance(value.get("$ref"), str):
        return {value["$ref"].rpartition("/")[2]}
    return {name for item in value.values() for name in _referred(item)}


def plain(value: Any, schemas: dict[str, Any]) -> Any:
    """A schema without words for people, each reference replaced by what it refers to."""
    if isinstance(value, list):
        return [plain(item, schemas) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        return plain(schemas[value["$ref"].rpartition("/")[2]], schemas)
    # A property may be called "title": only words are left out, not descriptions of keys.
    return {
        key: {name: plain(field, schemas) for name, field in item.items()}
        if key == "properties"
        else plain(item, schemas)
        for key, item in value.items()
        if key not in _PROSE and key != "$defs"
    }


def schema_outline(schema: dict[str, Any]) -> Any:
    """The same of a JSON Schema with its own definitions."""
    return plain(schema, schema.get("$defs", {}))


def event_kinds() -> list[str]:
    """What the daemon writes into the log of events."""
    return sorted(kind.value for kind in EventKind)


def agent_verbs() -> list[str]:
    """What a daemon asks of an agent, by name."""
    texts = set(_texts(ROOT / "agents" / "hostler_agent" / "verbs.py"))
    return sorted(text for text in texts if _VERB.fullmatch(text))


def labels() -> list[str]:
    """Labels of containers and volumes."""
    places = (ROOT / "agents", ROOT / "core" / "hostler" / "runtimes")
    texts = {text for place in places for text in _texts(place)}
    return sorted(text for text in texts if re.fullmatch(r"hostler\.[a-z]+", text))


def variables() -> list[str]:
    """Environment variables with our name, of people, stages and tests."""
    rooms = ("agents", "core", "tui")
    texts = {text for room in rooms for text in _texts(ROOT / room, "HOSTLER_")}
    return sorted(text for text in texts if re.fullmatch(r"HOSTLER_[A-Z_]+", text))


@cache
def _texts(place: Path, word: str = "") -> tuple[str, ...]:
    """The texts in the code of the files that have this word: few need to be parsed."""
    return tuple(_constants([place] if place.is_file() else sorted(place.rglob("*.py")), word))


def _constants(files: list[Path], word: str) -> Iterator[str]:
    for file in files:
        code = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(code)) if word in code else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
