"""Archives that are more than they seem are refused before anything of them is written."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hostler_agent import archive
from hostler_agent.folders import Refusal
from tests.support.values.tars import tar_of


def _sparse(name: str, size: int, style: str) -> bytes:
    """A file that claims `size` bytes and carries one block of them."""
    block = b"x" * 512
    made = io.BytesIO()
    info = tarfile.TarInfo(name)
    info.size = len(block)
    if style == "gnu":
        info.type = tarfile.GNUTYPE_SPARSE
        head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        head[386:410] = b"%011o\0%011o\0" % (0, len(block))
        head[483:495] = b"%011o\0" % size
        head[148:156] = b"%06o\0 " % (sum(head[:148]) + 8 * 32 + sum(head[156:]))
        return bytes(head) + block + bytes(1024)
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info.pax_headers = {
            "GNU.sparse.size": str(size), "GNU.sparse.numblocks": "1",
            "GNU.sparse.map": f"0,{len(block)}",
        }  # fmt: skip
        tar.addfile(info, io.BytesIO(block))
    return made.getvalue()


def _many(count: int) -> bytes:
    return tar_of({f"{number}": b"" for number in range(count)})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_sparse("s", 30 << 20, "gnu"), "'s', a sparse file"),
        (_sparse("s", 30 << 20, "pax"), "'s', a sparse file"),
        (_many(21), "more than 20 files and folders"),
        (tar_of({"a/" * 20 + "f": b""}), "more than 20 files and folders"),
        (tar_of({"a": bytes(600), "b": bytes(500)}), "when unpacked"),
        (tar_of({"a": b"1"}, b={"mtime": 2**60}), "an invalid time"),
        (tar_of({"a": b"1"}, b={"name": "n/" * 2100}), "path that is too long"),
        (tar_of({"a": b"1"}, b={"type": tarfile.SYMTYPE, "linkname": "n/" * 2100}), "too long"),
        (tar_of({"a": b"1"}, b={"name": "n" * 70_000}), "a header that is too large"),
        (tar_of({"a": b"1", "b": bytes(700)})[:1600], "unexpected end of data"),
    ],
)
def test_what_is_too_much_leaves_nothing_behind(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(data)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(Refusal, match=words) as said:
        archive.extract(str(tmp_path / "t.tar"), str(target), archive.Caps(20, 1024))
    assert said.value.kind == "InputError"
    assert list(target.iterdir()) == []


def test_what_is_not_too_much_is_unpacked(tmp_path: Path) -> None:
    folders: dict[str, dict[str, object]] = {
        name: {"type": tarfile.DIRTYPE, "mode": 0o755} for name in ("./", "a", "e")
    }
    (tmp_path / "t.tar").write_bytes(tar_of({"a/b/c": bytes(1000), "./a/d": bytes(24)}, **folders))
    archive.extract(str(tmp_path / "t.tar"), str(tmp_path), archive.Caps(5, 1024))
    assert (tmp_path / "a/b/c").stat().st_size == 1000
    assert (tmp_path / "e").is_dir()
