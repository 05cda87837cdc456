from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    ["*", "**", "a", "data", "?", "*.log", "[ab]*", "build", "src", "d*a", "", "***", "[!a-c]"]
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
