"""How one value of compared runs is written, and whether two values still differ as shown. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.base.units import format_duration

if TYPE_CHECKING:
    from hostler.model.views.history import ComparedRow


def seems_different(row: ComparedRow) -> bool:
    """Whether the displayed values still differ: 12 and 14 ms are both "0s"."""
    return row.differs and len({value_text(row.name, v) for v in row.values}) > 1


def value_text(name: str, value: str | float | None) -> str:
    """The value of a row for one run, for people."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return format_duration(round(value, 1)) if name.endswith("took_s") else f"{value:.6g}"
