"""Where stages would go, as rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostler.quick.table import Column

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
