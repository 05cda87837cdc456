"""`.dockerignore`, as Docker reads it."""

from __future__ import annotations

import time

import pytest

from hostler.base.errors import InputError
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


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(InputError, match="more than 1,000"):
        DockerIgnore(f"f{number}" for number in range(1001))
