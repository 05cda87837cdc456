"""The plan of a superseded daemon: no actions, and one reason for all pending stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hostler.decide.index import Index
from hostler.model.plans import Plan, Reason
from hostler.model.runs import StageStatus

Key = tuple[str, str]


def halted(index: Index) -> Plan:
    """No action, and why."""
    return Plan((), _Halted(index, index.snapshot.halted))


class _Halted(Mapping[Key, Reason]):
    """(run id, stage) -> the reason, for every stage that waits."""

    def __init__(self, index: Index, why: str) -> None:
        self._index = index
        self._reason = Reason(why)

    def __getitem__(self, key: Key) -> Reason:
        progress = self._index.progress.get(key[0])
        if progress is None or progress.status.get(key[1]) is not StageStatus.WAITING:
            raise KeyError(key)
        return self._reason

    def __iter__(self) -> Iterator[Key]:
        for run_id, progress in self._index.progress.items():
            for name, status in progress.status.items():
                if status is StageStatus.WAITING:
                    yield (run_id, name)

    def __len__(self) -> int:
        return sum(1 for _ in self)
