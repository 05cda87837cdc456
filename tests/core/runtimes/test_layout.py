"""Sources for containers as everybody reads them alike."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from hostler.model.jobs import Placement
from hostler.runtimes.layout import Layouts
from hostler.store.archives import normalise
from hostler.store.content import ContentStore
from tests.support.values.tars import tar_of

FILES = {"b": b"2" * 3000, "a/x": b"1"}


def kept(content: ContentStore, made: Path) -> Placement:
    size = made.stat().st_size
    return Placement(content.adopt(made), size, "")


async def test_a_source_as_hostler_packs_it_is_sent_as_it_is(
    content: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of it may have no room in a temporary folder, which often lies in memory."""
    (tmp_path / "odd").write_bytes(tar_of(FILES))
    normalise(tmp_path / "odd", tmp_path / "plain")
    source = kept(content, tmp_path / "plain")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    layouts = Layouts(content.path)
    for _ in range(2):
        async with layouts.plain(source) as (digest, path):
            assert (digest, path) == (source.digest, content.path(source.digest))


async def test_another_one_is_packed_anew_and_leaves_nothing(
    content: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd").write_bytes(tar_of(FILES))
    _, wanted, _ = normalise(tmp_path / "odd", tmp_path / "plain")
    source = kept(content, tmp_path / "odd")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    async with Layouts(content.path).plain(source) as (digest, path):
        assert digest == wanted != source.digest
        assert path.read_bytes() == (tmp_path / "plain").read_bytes()
    assert list((tmp_path / "temporary").iterdir()) == []
