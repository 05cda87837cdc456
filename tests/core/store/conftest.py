from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hostler.store.database import Store
from tests.support.daemons.memory import tmp_path

__all__ = ["store", "tmp_path"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "state")
    yield opened
    await opened.close()
