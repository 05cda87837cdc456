from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.packing.ignore import Ignore

_PATHS = [
    "a", "a.log", "b.txt", "data/x", "data/y.log", "src/data/x", "src/a.log", "deep/er/data/z",
    "deep/er/b.txt", "x/y/z/a", "build/out", "src/build/out", "[b]", "#a", "!a", "with space ",
]  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "out"),
    [
        (["*.log"], {"a.log", "data/y.log", "src/a.log"}),
        (["/a.log"], {"a.log"}),
        (["data/"], {"data/x", "data/y.log", "src/data/x", "deep/er/data/z"}),
        (["/data"], {"data/x", "data/y.log"}),
        (["src/data"], {"src/data/x"}),
        (["**/data"], {"data/x", "data/y.log", "src/data/x", "deep/er/data/z"}),
        (["deep/**/z"], {"deep/er/data/z"}),
        (["x/**"], {"x/y/z/a"}),
        (["*.log", "!a.log"], {"data/y.log"}),
        (["data", "!data/x"], {"data/x", "data/y.log", "src/data/x", "deep/er/data/z"}),
        (["?.txt"], {"b.txt", "deep/er/b.txt"}),
        (["[!a].txt"], {"b.txt", "deep/er/b.txt"}),
        (["# a comment", "", "   ", "/"], set()),
        (["\\#a", "\\!a"], {"#a", "!a"}),
        (["with space\\ "], {"with space "}),
        (["["], set()),
    ],
)
def test_patterns_mean_what_they_mean_in_gitignore(patterns: list[str], out: set[str]) -> None:
    ignore = Ignore(patterns)
    assert {path for path in _PATHS if ignore.leaves_out(path)} == out


_PART = st.sampled_from(
    [
        "*",
        "**",
        "a",
        "data",
        "?",
        "*.log",
        "[ab]*",
        "build",
        "src",
        "d*a",
        "",
        "***",
        "[!a-c]",
        "**a",
        "*a*",
        "d*t*",
        "[a/b]",
        "*er",
        "**.t*t",
    ]
)
_PATTERN = st.builds(
    lambda sign, root, parts, end: sign + root + "/".join(parts) + end,
    st.sampled_from(["", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(_PART, min_size=1, max_size=4),
    st.sampled_from(["", "", "/"]),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for path in _PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    return folder


@pytest.mark.programs
@given(st.lists(_PATTERN, min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_git_itself_agrees(repository: Path, patterns: list[str]) -> None:
    (repository / ".git" / "info" / "exclude").write_text("\n".join(patterns) + "\n")
    said = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-z", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    kept = {name.decode() for name in said.stdout.split(b"\0") if name}
    ignore = Ignore(patterns)
    assert {path for path in _PATHS if not ignore.leaves_out(path)} == kept


@pytest.mark.programs
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/a/**/a/**/a/**/b", "a/" * 1000 + "c"),
        ("**/*a*/**/*a*/**/*a*/**/*a*/b", "aaaaaaaa/" * 400 + "c"),
        ("*a*a*a*a*a*a*a*b", "a" * 250),
        ("x/**/y/**/y/**/y/**/z", "x/" + "y/" * 1000 + "a"),
        ("*" * 1000 + "b", "a" * 250),
        ("[a]*[a]*[a]*[a]*[a]*b", "d/" * 1000 + "a" * 250),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    """In a process of its own: an endless match cannot be interrupted."""
    program = (
        "import sys; from hostler.packing.ignore import Ignore; "
        "print(Ignore(sys.argv[1:2]).leaves_out(sys.argv[2]))"
    )
    argv = [sys.executable, "-c", program, pattern, path]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_a_path_of_any_depth_is_matched() -> None:
    deep = "d/" * 2000
    assert Ignore(["/d/d/d/x", "*.log"]).leaves_out(deep + "a.log")
    assert Ignore(["**/d/**/d/a"]).leaves_out(deep + "a")
    assert not Ignore(["**/d/**/e/a"]).leaves_out(deep + "a")


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(InputError, match="more than 1,000 patterns"):
        Ignore([f"a{number}" for number in range(1001)])
