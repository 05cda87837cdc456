"""A checkout whose repository takes commits or an index of another one: nothing of that is sent."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.packing import pack_source

pytestmark = pytest.mark.programs

SECRET = "hunter2-of-another-repository"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Another repository of the same person, checked out in part."""
    folder = _repository(tmp_path / "private", f"{SECRET}\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "more.txt").write_text(f"{SECRET}\n")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "second")
    _git(folder, "sparse-checkout", "set", "--no-cone", "/train.py")
    return folder


def _repository(folder: Path, text: str = "print('hi')\n") -> Path:
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text(text)
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "first")
    return folder


def _git(folder: Path, *arguments: str) -> str:
    words = ["git", "-C", str(folder), *arguments]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def _lend(git_dir: Path, private: Path) -> None:
    (git_dir / "objects/info").mkdir(exist_ok=True)
    (git_dir / "objects/info/alternates").write_text(f"{private}/.git/objects\n")


def _work_tree(tmp_path: Path, private: Path) -> tuple[Path, Path]:
    """A work tree, with a repository of its own that was unpacked along with it."""
    base = _repository(tmp_path / "unpacked" / "base")
    folder = tmp_path / "unpacked" / "tree"
    _git(base, "worktree", "add", "-q", str(folder))
    _lend(base / ".git", private)
    return folder, base / ".git/worktrees/tree"


def _head_of_a_work_tree(tmp_path: Path, private: Path) -> Path:
    folder, git_dir = _work_tree(tmp_path, private)
    (git_dir / "HEAD").unlink()
    (git_dir / "refs").mkdir(exist_ok=True)
    # git takes a link there only where it begins so.
    branch = os.path.relpath(private / ".git/refs/heads/main", git_dir / "refs")
    (git_dir / "HEAD").symlink_to(f"refs/{branch}")
    return folder


def _reference_of_a_work_tree(tmp_path: Path, private: Path) -> Path:
    folder, git_dir = _work_tree(tmp_path, private)
    (git_dir / "refs/worktree").mkdir(parents=True)
    (git_dir / "refs/worktree/x").symlink_to(private / ".git/refs/heads/main")
    (git_dir / "HEAD").write_text("ref: refs/worktree/x\n")
    return folder


def _reference_by_another_name(tmp_path: Path, private: Path) -> Path:
    folder = _repository(tmp_path / "unpacked")
    _lend(folder / ".git", private)
    (folder / ".git/refs/bisect").mkdir()
    (folder / ".git/refs/bisect/x").symlink_to(private / ".git/refs/heads/main")
    (folder / ".git/refs/heads/main").write_text("ref: main-worktree/refs/bisect/x\n")
    return folder


def _replaced_commit(tmp_path: Path, private: Path) -> Path:
    folder = _repository(tmp_path / "unpacked")
    _lend(folder / ".git", private)
    (folder / ".git/refs/replace").mkdir()
    replacement = folder / ".git/refs/replace" / _git(folder, "rev-parse", "HEAD")
    replacement.symlink_to(private / ".git/refs/heads/main")
    return folder


def _index(tmp_path: Path, private: Path) -> Path:
    folder = _repository(tmp_path / "unpacked")
    _lend(folder / ".git", private)
    (folder / ".git/index").unlink()
    (folder / ".git/index").symlink_to(private / ".git/index")
    return folder


WAYS = [
    _head_of_a_work_tree,
    _reference_of_a_work_tree,
    _reference_by_another_name,
    _replaced_commit,
    _index,
]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_another_repository_is_sent(
    way: Callable[[Path, Path], Path], tmp_path: Path, private: Path
) -> None:
    folder = way(tmp_path, private)
    # git itself follows it: else the checkout would be none of these.
    assert SECRET in _git(folder, "diff", "HEAD")
    with pytest.raises(InputError, match=r"is a link to .*git would read another repository"):
        pack_source(folder, temporary=tmp_path)


def test_links_that_stay_in_the_repository_are_no_reason(tmp_path: Path) -> None:
    folder = _repository(tmp_path / "mine")
    (folder / ".git/refs/heads/other").symlink_to("main")
    (folder / ".git/hooks").mkdir(exist_ok=True)
    (folder / ".git/hooks/pre-commit").symlink_to("/usr/bin/true")
    assert pack_source(folder, temporary=tmp_path).source.git_branch == "main"


def test_a_clone_that_shares_objects_is_packed_with_its_diff(tmp_path: Path) -> None:
    base = _repository(tmp_path / "base")
    _git(tmp_path, "clone", "-q", "--shared", str(base), "mine")
    (tmp_path / "mine" / "train.py").write_text("print('changed')\n")
    diff = pack_source(tmp_path / "mine", temporary=tmp_path).source.git_diff
    assert diff is not None
    assert "+print('changed')" in diff


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_repository_that_lies_elsewhere_is_taken_once_it_names_the_folder(
    tmp_path: Path, kind: str
) -> None:
    folder, other = _repository(tmp_path / "mine"), tmp_path / "other-disk"
    (folder / ".git").rename(other)
    if kind == "file":
        (folder / ".git").write_text(f"gitdir: {other}\n")
    else:
        (folder / ".git").symlink_to(other)
    with pytest.raises(InputError, match="does not name this folder") as caught:
        pack_source(folder, temporary=tmp_path)
    assert f"git config core.worktree {folder}" in caught.value.remedy
    _git(folder, "config", "core.worktree", str(folder))
    assert pack_source(folder, temporary=tmp_path).source.git_branch == "main"


def test_packing_writes_nothing_into_the_repository(tmp_path: Path) -> None:
    folder = _repository(tmp_path / "mine")
    _git(folder, "config", "core.splitIndex", "true")
    (folder / "new.py").write_text("new\n")
    before = sorted(path.name for path in (folder / ".git").rglob("*"))
    assert "+new" in (pack_source(folder, temporary=tmp_path).source.git_diff or "")
    assert sorted(path.name for path in (folder / ".git").rglob("*")) == before


@pytest.mark.parametrize("kind", ["pipe", "device", "missing"])
def test_a_broken_work_tree_is_told_at_once(tmp_path: Path, private: Path, kind: str) -> None:
    folder, git_dir = _work_tree(tmp_path, private)
    (git_dir / "gitdir").unlink()
    if kind == "pipe":
        os.mkfifo(git_dir / "gitdir")
    elif kind == "device":
        (git_dir / "gitdir").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="does not name this folder"):
        pack_source(folder, temporary=tmp_path)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    folder = _repository(tmp_path / "mine")
    (folder / ".git/refs/heads/circle").symlink_to("circle")
    assert pack_source(folder, temporary=tmp_path).files == 1
