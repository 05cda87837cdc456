"""Which cells of a matrix share a row on a terminal: running and failed ones come first and
singly, as far as there is room. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostler.model.views.runs import StageView


_ORDER = ("running", "starting", "collecting", "failed", "lost", "waiting")


class Cells:
    """Stages of one matrix with one status, shown as one row. `more`: other cells are shown
    singly."""

    def __init__(self, stages: Sequence[StageView], *, more: bool) -> None:
        self.stages = tuple(stages)
        self.more = more

    @property
    def first(self) -> StageView:
        """The cell that represents all."""
        return self.stages[0]

    @property
    def label(self) -> str:
        """ "train: 272 cells", or "train: 272 more" if other cells are shown above."""
        return f"{base_of(self.first)}: {len(self.stages)} {'more' if self.more else 'cells'}"


def size_of(row: StageView | Cells) -> int:
    """The number of stages in a row."""
    return len(row.stages) if isinstance(row, Cells) else 1


def base_of(stage: StageView) -> str:
    """The stage's name in the file: the same for all cells of a matrix."""
    return stage.base or stage.name


def fold(stages: Sequence[StageView], room: int) -> list[StageView | Cells]:
    """What to show in `room` rows: every stage if they fit, else cells of one matrix with one
    status as one row, with as many singly as there is room for, what runs and failed first.

    May give more than `room` rows where there are more kinds of stages than that.
    """
    if len(stages) <= room:
        return list(stages)
    groups: dict[tuple[str, str], list[StageView]] = {}
    for stage in stages:
        groups.setdefault((base_of(stage), stage.status), []).append(stage)
    left = room - len(groups)
    singly: dict[tuple[str, str], int] = {}
    for key in sorted(groups, key=lambda key: _rank(key[1])):
        size = len(groups[key])
        if size - 1 <= left:
            singly[key] = size
        else:  # waiting and finished cells are all alike: some of them tell nothing
            singly[key] = max(0, left) if _rank(key[1]) < _ORDER.index("waiting") else 0
        left -= singly[key] - (singly[key] == size)
    rows: list[StageView | Cells] = []
    for key, members in groups.items():
        shown = singly[key]
        rows += members[:shown]
        if shown < len(members):
            rows.append(Cells(members[shown:], more=shown > 0))
    return rows


def _rank(status: str) -> int:
    return _ORDER.index(status) if status in _ORDER else len(_ORDER)
