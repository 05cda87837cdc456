"""What the tests load from a folder that outlives them is their own user's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.support.machines.users import MALLORY, NEEDS_ROOT
from tests.support.programs import cache as module
from tests.support.programs.cache import cache
from tests.support.programs.fake_nvml import build

pytestmark = pytest.mark.programs


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    module._cache.cache_clear()
    return tmp_path


def squat(folder: Path, kind: str) -> Path:
    """Something in the place of the cache."""
    path = folder / f"hostler-fake-nvml-{os.getuid()}"
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    if kind == "link":
        path.symlink_to(elsewhere)
        return elsewhere
    if kind == "file":
        path.touch()
        return elsewhere
    path.mkdir()
    path.chmod(0o777 if kind == "open" else 0o755)
    if kind == "theirs":
        os.chown(path, MALLORY, MALLORY)
    return path


@pytest.mark.parametrize("kind", ["open", "link", "file", pytest.param("theirs", marks=NEEDS_ROOT)])
def test_a_folder_that_somebody_else_made_is_not_used(shared: Path, kind: str) -> None:
    there = squat(shared, kind)
    used = cache("hostler-fake-nvml")
    assert used != there
    assert module.is_own(used)
    if kind == "open":
        assert build().parent.parent == used
    assert not list(there.iterdir())


def test_ones_own_folder_is_used_again(shared: Path) -> None:
    first = cache("x")
    assert first.stat().st_mode & 0o777 == 0o700
    module._cache.cache_clear()
    assert cache("x") == first
