"""Limits the size of a pipeline after expansion of cells and placeholders (64 MiB)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hostler.base.json_types import Json
from hostler.base.text import texts_in
from hostler.base.units import MIB
from hostler.model.pipelines import Scalar
from hostler.spec.placeholders import ARGS, PLACE

MAX_EXPANDED = 64 * MIB
"""Characters of all stages together. A file of 100 KiB could make gigabytes, of which each is
stored, shown and sent."""


@dataclass(slots=True)
class Room:
    """The remaining limit for one pipeline."""

    args: Sequence[str] = ()
    """The words of `{args}`."""
    cells: int = 0
    """Cells of matrices so far, including matrices that were refused after their cells were
    made."""
    _left: int = MAX_EXPANDED

    def take(
        self,
        value: Json,
        params: Mapping[str, Scalar],
        cells: Sequence[Mapping[str, Scalar]] = ({},),
    ) -> bool:
        """Count a table that is filled for each of the cells; returns whether it still fits."""
        lengths = {f"params.{name}": len(str(item)) for name, item in params.items()}
        lengths[ARGS] = sum(map(len, self.args))
        for name in cells[0] if cells else ():
            lengths[f"matrix.{name}"] = max(len(str(cell.get(name))) for cell in cells)
        if not cells:
            return True
        self._left -= len(cells) * sum(_length(text, lengths) for text in texts_in(value))
        return self._left >= 0


def _length(text: str, lengths: Mapping[str, int]) -> int:
    filled = (lengths.get(match[2], 0) for match in PLACE.finditer(text)) if "{" in text else ()
    return len(text) + sum(filled)


TOO_LARGE = f"is larger than {MAX_EXPANDED // MIB} MiB with all cells and values expanded"
