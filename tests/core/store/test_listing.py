"""The list of what lies where in a saved tar."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base.errors import NotFoundError, StateError
from hostler.store.archives import normalise
from hostler.store.content import ContentStore
from hostler.store.saved import listing_of, read_listing, top_level, write_listing
from tests.support.values.tars import tar_of


def test_each_file_lies_at_its_offset(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    made, clean = tmp_path / "made.tar", tmp_path / "clean.tar"
    files = {"runs/a": b"one", "model.pt": b"x" * 3000, "n\udcffame": b"", "runs/deep/b": b"two"}
    link = {"name": "last", "type": b"2", "linkname": "model.pt"}
    made.write_bytes(tar_of(files, link=link))
    manifest, _, _ = normalise(made, clean)
    digest = write_listing(listing_of(clean, manifest), content, "key")
    listing = read_listing(content, digest)
    data = clean.read_bytes()
    assert {f.path: data[f.offset : f.offset + f.size] for f in listing.files} == files
    assert listing.links == (("last", "model.pt"),)
    assert [(e.name, e.size, e.files) for e in top_level(listing)] == [
        ("last", 0, 1), ("model.pt", 3000, 1), ("n\udcffame", 0, 1), ("runs/", 6, 2),
    ]  # fmt: skip
    assert write_listing(listing, content, "key") == digest


def test_a_list_that_is_gone_or_broken(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    with pytest.raises(NotFoundError):
        read_listing(content, "a" * 64)
    for broken in (b"{", b"[]", b'{"files": [[1]], "links": []}'):
        file = tmp_path / "broken"
        file.write_bytes(broken)
        with pytest.raises(StateError, match="not a list of files"):
            read_listing(content, content.adopt(file))
