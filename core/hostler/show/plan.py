"""The table of `--plan`: where stages would go and why; when equal cells of a matrix share a
row. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from hostler.base.table import Column

if TYPE_CHECKING:
    from hostler.model.views.plans import PlannedStage

PLAN_COLUMNS = (
    Column("STAGE", flex=True, least=8),
    Column("HOST", flex=True, least=8),
    Column("GPUS"),
    Column("WHY", flex=True, least=20),
)


def plan_row(stage: PlannedStage) -> list[str]:
    """One stage of the answer to POST /v1/plan; a stage without a host would wait."""
    why = stage.why or (stage.reason.sentence if stage.reason else "-")
    gpus = ",".join(map(str, stage.gpus))
    return [stage.stage, stage.host or "waits", gpus or "-", why]


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
    """ "train" for the cell "train.17": names of stages contain no dots."""
    return stage.partition(".")[0]
