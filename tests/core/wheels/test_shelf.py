"""The wheels that the daemon keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostler.base.errors import InputError, StateError
from hostler.wheels.shelf import Shelf, Wheel

KEY = "0" * 64


def filled(shelf: Shelf, key: str, **files: str) -> tuple[Wheel, ...]:
    """A set of wheels; "_" stands for the rest of their names."""
    with shelf.work_folder() as folder:
        for name, data in files.items():
            (folder / f"{name}-1-py3-none-any.whl").write_text(data)
        return shelf.take(folder, key)


def test_what_was_taken_is_found(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.find(KEY) is None
    wheels = filled(shelf, KEY, a="A", b="BB")
    assert [(w.name, w.size) for w in wheels] == [
        ("a-1-py3-none-any.whl", 1), ("b-1-py3-none-any.whl", 2),
    ]  # fmt: skip
    assert Shelf(tmp_path).find(KEY) == wheels
    assert shelf.path(wheels[0].digest).read_text() == "A"
    shelf.path(wheels[1].digest).unlink()
    assert shelf.find(KEY) is None
    assert filled(shelf, "1" * 64) == ()
    assert shelf.find("1" * 64) == ()


@pytest.mark.parametrize("kind", ["link", "folder", "name", "fifo"])
def test_nothing_but_wheels_is_taken(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("s")
    shelf = Shelf(tmp_path / "state")
    with shelf.work_folder() as folder:
        path = folder / "a-1-py3-none-any.whl"
        if kind == "link":
            path.symlink_to(tmp_path / "secret")
        elif kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            (folder / "a.tar.gz").write_text("x")
        with pytest.raises((InputError, StateError)):
            shelf.take(folder, KEY)
    assert shelf.find(KEY) is None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    old, new = filled(shelf, KEY, a="aaaa"), filled(shelf, "1" * 64, b="bbbb")
    os.utime(shelf.path(old[0].digest), (1, 1))
    os.utime(shelf.path(new[0].digest), (2, 2))
    assert shelf.shrink(8) == 0
    with shelf.using(old):
        assert shelf.shrink(4) == 4
    assert shelf.find("1" * 64) is None
    assert shelf.find(KEY) == old, "it was in use"
    assert shelf.shrink(0) == 4
    assert not [path for path in (tmp_path / "wheels").rglob("*") if path.is_file()]


def test_what_a_killed_daemon_left_is_removed(tmp_path: Path) -> None:
    work = tmp_path / "wheels" / "work"
    Shelf(tmp_path)
    (work / "half" / "tmp").mkdir(parents=True)
    Shelf(tmp_path)
    assert list(work.iterdir()) == []


def test_a_damaged_wheel_goes(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    a, b = filled(shelf, KEY, a="A", b="B")
    shelf.path(b.digest).write_text("C")
    assert not shelf.drop_damaged(a.digest)
    assert shelf.drop_damaged(b.digest)
    assert shelf.find(KEY) is None
