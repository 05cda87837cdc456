"""The words of what is submitted, which may name files of its folder. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from hostler.base.text import texts_in


def words_of(body: Mapping[str, Any]) -> list[str]:
    """The words of a submission's commands, values of parameters and of cells."""
    command = body.get("command")
    if command is not None:
        return [*command["command"], *(command.get("each") or ())]
    try:
        document = tomllib.loads(body.get("pipeline") or "")
    except tomllib.TOMLDecodeError:
        return []  # what is wrong with it is told by the daemon
    found = [*texts_in(document.get("params")), *(body.get("params") or {}).values()]
    stages = document.get("stages")
    for stage in stages.values() if isinstance(stages, dict) else ():
        if isinstance(stage, dict):
            found += [*texts_in(stage.get("command")), *texts_in(stage.get("env"))]
    return found
