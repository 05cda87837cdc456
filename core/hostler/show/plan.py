"""Where stages would go, as rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from hostler.base.table import Column

PLAN_COLUMNS = (
    Column("STAGE", flex=True, least=8),
    Column("HOST", flex=True, least=8),
    Column("GPUS"),
    Column("WHY", flex=True, least=20),
)


def plan_row(stage: Mapping[str, Any]) -> list[str]:
    """One stage of the answer to POST /v1/plan; without a host it would wait."""
    gpus = stage.get("gpus") or ()
    shown = ",".join(str(gpu) for gpu in gpus) if isinstance(gpus, (list, tuple)) else str(gpus)
    reason = stage.get("reason") or {}
    why = stage.get("why") or reason.get("sentence") or "-"
    return [
        str(stage.get("label") or stage["stage"]),
        str(stage.get("host") or "waits"),
        shown or "-",
        str(why),
    ]


def alike_folded(rows: Sequence[list[str]], least: int = 4) -> list[list[str]]:
    """The rows, with `least` or more cells of one matrix that follow each other and go to the same
    place for the same reason as one."""
    folded: list[list[str]] = []
    for key, group in groupby(rows, key=lambda row: (base_name(row[0]), row[1:])):
        members = list(group)
        if len(members) < least:
            folded += members
        else:
            folded.append([f"{key[0]}: {len(members)} cells", *key[1]])
    return folded


def base_name(stage: str) -> str:
    """ "train" for the cell "train.17": stages' own names have no dots."""
    return stage.partition(".")[0]
