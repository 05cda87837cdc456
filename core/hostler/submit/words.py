"""The words of what is submitted, which may name files of its folder. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any


def words_of(body: Mapping[str, Any]) -> list[str]:
    """The words of a submission's commands, values of parameters and of cells."""
    command = body.get("command")
    if command is not None:
        return [*command["command"], *(command.get("each") or ())]
    try:
        document = tomllib.loads(body.get("pipeline") or "")
    except tomllib.TOMLDecodeError:
        return []  # what is wrong with it is told by the daemon
    found = [*_texts(document.get("params")), *(body.get("params") or {}).values()]
    stages = document.get("stages")
    for stage in stages.values() if isinstance(stages, dict) else ():
        if isinstance(stage, dict):
            found += [*_texts(stage.get("command")), *_texts(stage.get("env"))]
    return found


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
