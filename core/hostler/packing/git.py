"""What git knows of a folder. Only reads; takes no lock of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hostler.errors import InputError

_TIMEOUT_S = 60.0
_HIDDEN_BY_CALLER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def is_repository(folder: Path) -> bool:
    """Whether git answers for this folder.

    Raises InputError where it is a repository that cannot be read (no git, another owner): taking
    every file instead would send what was meant to stay.
    """
    looks_like_one = any((place / ".git").exists() for place in (folder, *folder.parents))
    if not looks_like_one:
        return False
    try:
        answer = _run(folder, "rev-parse", "--is-inside-work-tree")
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is a git repository, but git is not installed", remedy="install git"
        ) from error
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(
            f"git cannot read {folder}: {said[0] if said else 'no reason given'}",
            remedy="try `git status` there",
        )
    if answer.stdout.strip() != b"true":
        return False
    # A project below a repository that ignores it (a home folder kept in git) is its own tree.
    return _run(folder, "check-ignore", "--quiet", str(folder)).returncode != 0


def listed_files(folder: Path) -> list[str]:
    """Tracked files and untracked ones that are not ignored, relative to `folder`.

    Of repositories inside (submodules, or just lying there), the same.
    """
    shown = _must(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    found: set[str] = set()
    for raw in filter(None, shown.split(b"\0")):
        name = os.fsdecode(raw).rstrip("/")
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            if (path / ".git").exists():
                found.update(f"{name}/{inner}" for inner in listed_files(path))
        elif os.path.lexists(path):
            found.add(name)
    return sorted(found)


def commit(folder: Path) -> str | None:
    """The commit that is checked out; None before the first one."""
    return _line(folder, "rev-parse", "--verify", "--quiet", "HEAD")


def branch(folder: Path) -> str | None:
    """The branch that is checked out; None for none."""
    return _line(folder, "symbolic-ref", "--short", "--quiet", "HEAD")


def is_dirty(folder: Path) -> bool:
    """Whether the folder differs from the commit, untracked files included."""
    return bool(_must(folder, "status", "--porcelain", "-z", "--", "."))


def new_files(folder: Path) -> list[str]:
    """Files that are neither tracked nor ignored, relative to `folder`."""
    shown = _must(folder, "ls-files", "-z", "--others", "--exclude-standard")
    return [os.fsdecode(raw) for raw in shown.split(b"\0") if raw and not raw.endswith(b"/")]


def diff(folder: Path, limit: int, without: Sequence[str], new: Sequence[str] = ()) -> str:
    """The folder against its commit, cut at `limit` bytes with a note; some paths left out, and
    these `new` files in it."""
    excluded = [f":(exclude,literal){name}" for name in without]
    with _index_with(folder, new) as environment:
        process = subprocess.Popen(
            _argv(
                folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color",
                "--relative", "--", ".", *excluded,
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )  # fmt: skip
        with process:
            assert process.stdout is not None  # it was asked for
            data = process.stdout.read(limit + 1)
            process.kill()
    text = data[:limit].decode("utf-8", "replace")
    return text + f"\n[cut at {limit} bytes]\n" if len(data) > limit else text


@contextmanager
def _index_with(folder: Path, new: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """An environment in which git takes these files for added: by a copy of the index."""
    index, objects = (_git_path(folder, name) for name in ("index", "objects"))
    if not new or not index.is_file():
        yield _environment()
        return
    with tempfile.TemporaryDirectory(prefix="hostler-index-") as scratch:
        copy = {**_environment(), "GIT_INDEX_FILE": shutil.copy(index, scratch)}
        # What git writes for an added file goes into the scratch folder too.
        adding = {
            **copy,
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        added = subprocess.run(
            _argv(
                folder, "add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul"
            ),
            input=b"\0".join(map(os.fsencode, new)),
            capture_output=True,
            env=adding,
            timeout=_TIMEOUT_S,
            check=False,
        )
        # Before git 2.26 it cannot be asked so: then only tracked files are told.
        yield _environment() if added.returncode else copy


def _git_path(folder: Path, name: str) -> Path:
    return (folder / (_line(folder, "rev-parse", "--git-path", name) or name)).resolve()


def _line(folder: Path, *arguments: str) -> str | None:
    answer = _run(folder, *arguments)
    return answer.stdout.decode(errors="replace").strip() or None


def _must(folder: Path, *arguments: str) -> bytes:
    answer = _run(folder, *arguments)
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip()
        raise InputError(f"git {arguments[0]} failed in {folder}: {said}")
    return answer.stdout


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            _argv(folder, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"git {arguments[0]} did not end within a minute in {folder}") from error


def _argv(folder: Path, *arguments: str) -> list[str]:
    return ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _HIDDEN_BY_CALLER}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
