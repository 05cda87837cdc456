"""The warning at submission that stages choose GPUs themselves; the patterns for
CUDA_VISIBLE_DEVICES are in `base.own_gpus`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from hostler.base.own_gpus import VARIABLES, own_gpus, told_of
from hostler.model.pipelines import Stage
from hostler.model.runtimes import traits_of

_MOST_NAMED = 3
_MOST_TEXT = 512 * 1024
"""Limit of the commands that mention the variable, in characters: a run may have 64 MiB of them."""


def told_of_own_gpus(stages: Iterable[Stage]) -> str | None:
    """Which commands set CUDA_VISIBLE_DEVICES, in one sentence; None: no command does where it
    matters."""
    found: dict[str, dict[str, None]] = {}
    left = _MOST_TEXT
    for stage in stages:
        text = "\n".join(stage.command) if traits_of(stage.runtime).sees_all_gpus else ""
        left -= len(text) if VARIABLES in text else 0
        if left < 0:
            break
        assignment = own_gpus(text)
        if assignment is not None:
            found.setdefault(assignment, {})[stage.base] = None
    return "; ".join(told_of(said, _named([*names])) for said, names in found.items()) or None


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return f"stage {', '.join(names[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else "")
