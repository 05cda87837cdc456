from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons.memory import memory, tmp_path

__all__ = ["open_path", "tmp_path"]


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that other users may pass through. pytest shuts its own to them whenever another
    run of it begins."""
    folder = Path(tempfile.mkdtemp(prefix="hs-", dir=memory()))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
