from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, InputError, NotFoundError
from hostler.store.content import ContentStore


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _put(content: ContentStore, tmp_path: Path, data: bytes) -> str:
    temporary = tmp_path / "incoming"
    temporary.write_bytes(data)
    return content.adopt(temporary)


def test_a_file_is_taken_in_by_its_content(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    digest = _put(content, tmp_path, b"hello")
    assert digest == _sha(b"hello")
    assert content.has(digest)
    assert content.path(digest).read_bytes() == b"hello"
    assert content.size(digest) == 5
    assert not (tmp_path / "incoming").exists()
    assert _put(content, tmp_path, b"hello") == digest
    assert not (tmp_path / "incoming").exists()
    with pytest.raises(NotFoundError):
        content.path(_sha(b"other"))


def test_the_wrong_content_is_refused_and_left(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    temporary = tmp_path / "incoming"
    temporary.write_bytes(b"hello")
    with pytest.raises(InputError, match="send it again"):
        content.adopt(temporary, _sha(b"other"))
    assert temporary.exists()
    assert content.sizes() == {}


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_digests_are_looked_up(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        ContentStore(tmp_path).has(name)


def test_a_link_is_not_taken_in(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(Exception, match="link"):
        ContentStore(tmp_path).adopt(tmp_path / "link")


def test_a_transfer_is_resumed_where_it_ended(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    data = os.urandom(300_000)
    with content.partial("upload-1") as partial:
        partial.append(data[:100_000])
    with content.partial("upload-1") as partial:
        assert partial.size == 100_000
        assert partial.digest == _sha(data[:100_000])
        partial.append(data[100_000:])
        assert partial.finish(_sha(data)) == _sha(data)
    assert content.path(_sha(data)).read_bytes() == data
    with content.partial("upload-1") as partial:
        assert partial.size == 0


def test_a_transfer_of_the_wrong_bytes_begins_anew(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    with content.partial("x") as partial:
        partial.append(b"wrong")
        with pytest.raises(InputError):
            partial.finish(_sha(b"right"))
    with content.partial("x") as partial:
        assert partial.size == 0
        partial.append(b"wro")
        partial.restart()
        partial.append(b"right")
        partial.finish(_sha(b"right"))
    assert content.has(_sha(b"right"))
    assert not content.has(_sha(b"wrong"))


def test_two_cannot_receive_the_same_transfer(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    with content.partial("x"), pytest.raises(ConflictError):
        content.partial("x")
    with content.partial("x"):
        pass
    for name in ("../x", "", "a/b"):
        with pytest.raises(InputError):
            content.partial(name)


def test_what_was_never_received_whole_goes_after_a_while(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    with content.partial("abandoned") as partial:
        partial.append(b"half")
    with content.partial("busy") as busy:
        busy.append(b"busy")
        soon, later = time.time() - 60, time.time() + 60
        assert content.abandoned(soon) == {}
        assert content.abandoned(later) == {"abandoned": 4, "busy": 4}
        assert content.remove_abandoned(soon) == 0
        assert content.remove_abandoned(later) == 4
        assert [path.name for path in (tmp_path / "partial").iterdir()] == ["busy"]


def test_what_is_removed_is_gone_and_a_blob_that_comes_again_is_young_again(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    kept, gone = _put(content, tmp_path, b"kept"), _put(content, tmp_path, b"gone")
    os.utime(content.path(kept), (0, 0))
    _put(content, tmp_path, b"kept")
    assert content.sizes()[kept][1] > 1
    assert content.remove([gone]) == 4
    assert (content.has(kept), content.has(gone)) == (True, False)
    assert content.remove([gone, kept]) == 4


def test_names_and_sizes_are_of_blobs_only(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    (tmp_path / "file").write_bytes(b"12345")
    digest = content.adopt(tmp_path / "file")
    folder = tmp_path / "content" / digest[:2]
    (folder / f".{digest}.77").write_bytes(b"half of a copy")
    (folder / ("x" * 64)).write_bytes(b"no digest")
    assert content.names() >= {digest}
    found = content.sizes_of([*content.names(), "0" * 64])
    assert {name: size for name, (size, _) in found.items()} == {digest: 5}
