"""A daemon whose state folder was deleted or replaced ends; one with a disk in trouble does not."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import StateError
from hostler.daemon.lock import StateLock
from hostler.daemon.serve import serve
from hostler.sim import outside
from tests.support.daemons.simdaemon import FAST
from tests.support.daemons.simlab import small_lab


def replaced(folder: Path) -> None:
    folder.rename(folder.with_name("away"))
    folder.mkdir()
    (folder / "daemon.lock").write_text("{}")


@pytest.mark.parametrize(
    "lose",
    [
        shutil.rmtree,
        lambda folder: (folder / "daemon.lock").unlink(),
        lambda folder: folder.rename(folder.with_name("away")),
        replaced,
    ],
    ids=["deleted", "emptied", "moved", "replaced"],
)
def test_a_folder_that_is_not_in_its_place_is_lost(
    tmp_path: Path, lose: Callable[[Path], object]
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    with StateLock(folder) as lock:
        assert not lock.is_lost()
        lose(folder)
        assert lock.is_lost()
    assert not lock.is_lost(), "it holds nothing any more"


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE]
)
def test_a_disk_in_trouble_is_no_lost_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(*_args: Any, **_more: Any) -> None:
        raise OSError(number, os.strerror(number))

    with StateLock(tmp_path) as lock:
        monkeypatch.setattr(os, "lstat", fails)
        assert not lock.is_lost()


def test_a_daemon_ends_with_the_reason_and_leaves_what_is_there_now(tmp_path: Path) -> None:
    state, lab = tmp_path / "state", small_lab(1)
    went: list[str] = []

    async def api(*_args: object, **_more: object) -> None:
        replaced(state)
        try:
            await asyncio.Event().wait()
        finally:
            went.append("api")

    with pytest.raises(StateError, match="was deleted, moved or replaced") as caught:
        serve(
            lab.config(), state, state / "s", api, outside(lab), lab.clock,
            ending=lambda: went.append("ending"), timings=replace(FAST, state_every=0.02),
        )  # fmt: skip
    known = (tmp_path / "away/id").read_text().strip()
    assert known in caught.value.message
    assert went == ["ending", "api"]
    assert os.listdir(state) == ["daemon.lock"]
