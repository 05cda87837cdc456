"""Which worker of pytest-xdist runs which test file: a file stays on one, and the files that need
the lab on three of them, because each worker with such a file boots three hosts of its own."""

from __future__ import annotations

import re
from typing import Any

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

LABS = 3
_ON_A_LAB = re.compile(r"tests/e2e/test_(lab_\w+|screen)\.py")


class FewLabs(LoadFileScheduling):  # type: ignore[misc]
    """Deals out test files, those with a lab in three piles."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._piles: dict[str, str] = {}

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if not _ON_A_LAB.fullmatch(file):
            return file
        return self._piles.setdefault(file, f"lab {len(self._piles) % LABS}")
