from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base.text_file import LARGEST, read_text


def test_lines_end_as_on_this_system(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes("a\r\nb\rü\n".encode())
    assert read_text(str(path)) == path.read_text(encoding="utf-8") == "a\nb\nü\n"


def test_what_is_too_large_or_has_no_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * LARGEST)
    assert len(read_text(str(path))) == LARGEST
    path.write_bytes(b"x" * (LARGEST + 1))
    for name in (str(path), "/dev/zero"):
        with pytest.raises(ValueError, match="larger than 4 MiB"):
            read_text(name)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(str(path))
