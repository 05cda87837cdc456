"""`.dockerignore`, as Docker reads it."""

from __future__ import annotations

import time

import pytest

from hostler.base.errors import InputError
from hostler.packing import dockerignore
from hostler.packing.dockerignore import DockerIgnore


@pytest.mark.parametrize(
    ("lines", "out", "kept"),
    [
        (["*.pyc"], ["a.pyc"], ["src/a.pyc", "a.py"]),
        (["**/*.pyc"], ["a.pyc", "src/deep/a.pyc"], ["a.py"]),
        (["data"], ["data", "data/x", "data/x/y"], ["my/data", "database"]),
        (["/data/"], ["data", "data/x"], ["my/data"]),
        (["./data"], ["data/x"], ["x"]),
        (["data", "!data/keep"], ["data/x"], ["data/keep", "data/keep/deep"]),
        (["*", "!src", "src/*.log"], ["a", "src/x.log"], ["src", "src/a.py", "src/sub/x.log"]),
        (["# data", "", "  ", "."], [], ["data", "# data"]),
        (["  data  "], ["data"], []),
        (["a/../data"], ["data"], ["a"]),
        (["?.txt", "file[0-9]"], ["a.txt", "file7"], ["ab.txt", "filex"]),
        (["!data", "data"], ["data"], []),
    ],
)
def test_what_is_left_out(lines: list[str], out: list[str], kept: list[str]) -> None:
    ignored = DockerIgnore(lines)
    assert [path for path in out if not ignored.leaves_out(path)] == []
    assert [path for path in kept if ignored.leaves_out(path)] == []


def test_hostile_patterns_take_a_bounded_time() -> None:
    ignored = DockerIgnore(["/".join(["**", "*a*a*a*a"] * 12), "*" * 900 + "b"])
    began = time.process_time()
    ignored.leaves_out("/".join(["a" * 60] * 30))
    assert time.process_time() - began < 2.0


def test_patterns_are_tried_once_for_a_folder_however_deep_its_files_lie() -> None:
    ignored = DockerIgnore([f"**/a{number}*b*c" for number in range(300)])
    began, deep = time.process_time(), "/".join(["folder"] * 30)
    assert not any(ignored.leaves_out(f"{deep}/f{number}") for number in range(60))
    assert time.process_time() - began < 2.0
    many = [f"d{number}/{name}" for number in range(1500) for name in ("x", "keep/y")]
    light = DockerIgnore(["d7", "!**/keep", "d9/*"])
    left_out = [path for path in many if light.leaves_out(path)]
    assert left_out == ["d7/x", "d9/x", "d9/keep/y"]
    assert not light.leaves_out("/".join(["a"] * 2000))


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(InputError, match="more than 1,000"):
        DockerIgnore(f"f{number}" for number in range(1001))
    began = time.process_time()
    with pytest.raises(InputError, match="more than 1,000"):
        DockerIgnore(f"f{number}" for number in range(200_000))
    assert time.process_time() - began < 5.0


def test_all_paths_together_take_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored = DockerIgnore(["*.pyc"])
    assert not ignored.leaves_out("a/b")
    monkeypatch.setattr(dockerignore, "_MOST_SECONDS", -1.0)
    with pytest.raises(InputError, match="for these files"):
        ignored.leaves_out("a/c")
