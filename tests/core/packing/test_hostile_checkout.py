"""A folder that somebody unpacked: packing it runs nothing of it, and reads nothing outside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.packing import PackedSource, pack_source, source_names, tree
from hostler.packing.git_run import git_in
from hostler.packing.ignore import Ignore
from hostler.packing.inside import Inside, LinkOnTheWay

pytestmark = pytest.mark.programs

SECRET = "hunter2-of-another-folder"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a commit, a change and a new file: all of git is asked about it."""
    folder = tmp_path / "checkout"
    return _repository(folder)


def _repository(folder: Path, text: str = "print('hi')\n") -> Path:
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text(text)
    (folder / "data.bin").write_text("1\n")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "first")
    (folder / "train.py").write_text("print('changed')\n")
    (folder / "new.py").write_text("new\n")
    os.utime(folder / "data.bin", (5, 5))  # to be read again, as after unpacking
    return folder


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def _pack(folder: Path, tmp_path: Path, **options: object) -> PackedSource:
    place = tmp_path / "packed"
    place.mkdir(exist_ok=True)
    return pack_source(folder, temporary=place, **options)  # type: ignore[arg-type]


def _names(packed: PackedSource) -> set[str]:
    with tarfile.open(packed.path) as tar:
        return {member.name for member in tar if not member.isdir()}


def _filter(folder: Path, run: str, part: str = "clean") -> None:
    _git(folder, "config", f"filter.evil.{part}", f"{run}; cat")
    (folder / ".gitattributes").write_text("* filter=evil\n")


def _required(folder: Path, run: str) -> None:
    _filter(folder, run)
    _git(folder, "config", "filter.evil.required", "true")


def _nameless_filter(folder: Path, run: str) -> None:
    """A filter whose name is empty."""
    with (folder / ".git/config").open("a") as config:
        config.write(f'[filter ""]\nclean = "{run}; cat"\n')
    (folder / ".gitattributes").write_text("* filter=\n")


def _included_filter(folder: Path, run: str) -> None:
    (folder / "more").write_text(f'[filter "evil"]\nclean = "{run}; cat"\n')
    _git(folder, "config", "include.path", "../more")
    (folder / ".gitattributes").write_text("* filter=evil\n")


def _overridden_filter(folder: Path, run: str) -> None:
    """The person has a filter of that name; the repository changes what it runs."""
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text('[filter "evil"]\nclean = cat\n')
    _filter(folder, run)


def _worktree_filter(folder: Path, run: str) -> None:
    _git(folder, "config", "extensions.worktreeConfig", "true")
    _git(folder, "config", "--worktree", "filter.evil.clean", f"{run}; cat")
    (folder / ".gitattributes").write_text("* filter=evil\n")


def _lfs_extension(key: str, value: str) -> Callable[[Path, str], None]:
    """A large-file filter of the person's own, which runs what the repository names."""

    def put(folder: Path, run: str) -> None:
        own = f'[filter "lfs"]\nclean = "{run}; cat"\n'
        Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text(own)
        _git(folder, "config", key, value)
        (folder / ".gitattributes").write_text("* filter=lfs\n")

    return put


def _hook(folder: Path, run: str) -> None:
    for name in ("post-index-change", "pre-commit", "fsmonitor-watchman", "reference-transaction"):
        hook = folder / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\n{run}\n")
        hook.chmod(0o755)


def _setting(key: str, value: str = "{run}") -> Callable[[Path, str], None]:
    def put(folder: Path, run: str) -> None:
        _git(folder, "config", key, value.format(run=run))

    return put


def _external_diff(folder: Path, run: str) -> None:
    _git(folder, "config", "diff.external", run)
    _git(folder, "config", "diff.evil.command", run)
    _git(folder, "config", "diff.evil.textconv", run)
    (folder / ".gitattributes").write_text("* diff=evil\n")


def _promisor(folder: Path, run: str) -> None:
    """Objects that are missing are fetched by a program that the config names."""
    _git(folder, "config", "core.repositoryFormatVersion", "1")
    _git(folder, "config", "extensions.partialClone", "origin")
    _git(folder, "config", "remote.origin.url", str(folder))
    _git(folder, "config", "remote.origin.promisor", "true")
    _git(folder, "config", "remote.origin.uploadpack", f"{run}; git-upload-pack")
    for path in (folder / ".git/objects").glob("??/*"):
        kind = subprocess.run(
            ["git", "-C", str(folder), "cat-file", "-t", path.parent.name + path.name],
            capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        if kind == "blob":
            path.unlink()


def _submodule(folder: Path, run: str) -> None:
    inner = _repository(folder / "inner")
    _git(folder, "-c", "protocol.file.allow=always", "submodule", "add", "./inner", "inner")
    _git(folder, "commit", "-q", "-m", "with a submodule")
    _filter(inner, run)
    _hook(inner, run)
    _git(inner, "config", "core.fsmonitor", run)
    _git(folder, "config", "diff.submodule", "diff")
    _git(folder, "config", "status.submoduleSummary", "true")


def _bare_inside(folder: Path, run: str) -> None:
    """A folder that looks like a repository itself, without any `.git`."""
    bare = folder / "sub"
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    _git(bare, "config", "core.bare", "false")
    _git(bare, "config", "core.worktree", str(folder))
    _git(bare, "config", "core.fsmonitor", run)


def _hooks_path(folder: Path, run: str) -> None:
    _hook(folder, run)
    _git(folder, "config", "core.hooksPath", ".git/hooks")


EVIL = {
    "clean": _filter,
    "process": lambda folder, run: _filter(folder, run, "process"),
    "required": _required,
    "included": _included_filter,
    "overridden": _overridden_filter,
    "worktree": _worktree_filter,
    "lfs": _lfs_extension("lfs.extension.x.clean", "anything"),
    "lfs capitals": _lfs_extension("lfs.Extension.x.clean", "anything"),
    "lfs lines": _lfs_extension("a.b", "c\nlfs.extension.x.clean=anything"),
    "no name": _nameless_filter,
    "hook": _hook,
    "hooksPath": _hooks_path,
    "fsmonitor": _setting("core.fsmonitor"),
    "diff": _external_diff,
    "promisor": _promisor,
    "submodule": _submodule,
    "pager": _setting("core.pager"),
    "alias": _setting("alias.status", "!{run}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", EVIL)
def test_packing_a_checkout_runs_nothing_that_it_names(
    checkout: Path, tmp_path: Path, kind: str
) -> None:
    marker = tmp_path / "ran"
    EVIL[kind](checkout, f"touch {marker}")
    marker.unlink(missing_ok=True)  # its own making may have run it
    packed = _pack(checkout, tmp_path)
    assert not marker.exists()
    assert {"train.py", "new.py", "data.bin"} <= _names(packed)
    source_names(checkout)
    assert not marker.exists()


def test_a_folder_that_looks_like_a_repository_is_none(checkout: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    _bare_inside(checkout, f"touch {marker}")
    with contextlib.suppress(InputError):
        _pack(checkout / "sub", tmp_path)
    assert not marker.exists()


def test_a_filter_of_the_persons_own_still_works(checkout: Path, tmp_path: Path) -> None:
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text('[filter "upper"]\nclean = tr a-z A-Z\n')
    (checkout / ".gitattributes").write_text("train.py filter=upper\n")
    diff = _pack(checkout, tmp_path).source.git_diff
    assert diff is not None
    assert "+PRINT('CHANGED')" in diff


def test_a_filter_of_the_persons_own_imports_nothing_from_the_folder(
    checkout: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    (checkout / "json.py").write_text(f"open({str(marker)!r}, 'w')\n")
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text(
        '[filter "tool"]\nclean = python3.11 -m json.tool\n'
    )
    (checkout / ".gitattributes").write_text("train.py filter=tool\n")
    _pack(checkout, tmp_path)
    assert not marker.exists()


def test_a_filter_that_cannot_be_switched_off_is_refused(checkout: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with (checkout / ".git/config").open("a") as config:
        config.write(f'[filter "a=b"]\nclean = "touch {marker}; cat"\n')
    (checkout / ".gitattributes").write_text("* filter=a=b\n")
    with pytest.raises(InputError, match="cannot be switched off"):
        _pack(checkout, tmp_path)
    assert not marker.exists()


def test_hooks_that_a_config_names_are_switched_off(checkout: Path, tmp_path: Path) -> None:
    """git runs such from 2.54 on; before, nobody reads this."""
    with (checkout / ".git/config").open("a") as config:
        config.write('[hook "x.y"]\nevent = post-index-change\ncommand = false\n')
    options = git_in(checkout).options
    assert options == ("-c", "hook.x.y.enabled=false", "-c", "hook.x.y.event=")
    _pack(checkout, tmp_path)
    with (checkout / ".git/config").open("a") as config:
        config.write('[hook "a=b"]\ncommand = false\n')
    with pytest.raises(InputError, match="a hook 'a=b' that cannot be switched off"):
        _pack(checkout, tmp_path)


# What lies outside.


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Another folder of the same person, with something to steal."""
    folder = _repository(tmp_path / "private", f"{SECRET}\n")
    (folder / "config").write_text(SECRET)
    return folder


def _stolen(packed: PackedSource) -> bool:
    return SECRET.encode() in packed.path.read_bytes() or SECRET in (packed.source.git_diff or "")


def test_a_tracked_folder_that_became_a_link_is_left_out_and_told(
    checkout: Path, outside: Path, tmp_path: Path
) -> None:
    for name in ("config", "other"):
        (checkout / "stolen").mkdir(exist_ok=True)
        (checkout / "stolen" / name).write_text("")
    _git(checkout, "add", "stolen")
    _git(checkout, "commit", "-q", "-m", "a folder")
    for path in (checkout / "stolen").iterdir():
        path.unlink()
    (checkout / "stolen").rmdir()
    (checkout / "stolen").symlink_to("../private")
    packed = _pack(checkout, tmp_path)
    assert not _stolen(packed)
    assert "stolen/config" not in _names(packed)
    told = {item.path: item.reason for item in packed.skipped}
    assert "a link to ../private" in told["stolen/"]
    assert len(told) == 2  # the link, and what was below it: not each file
    with pytest.raises(InputError):
        _pack(checkout, tmp_path, include=["stolen/config"], limit=1)


@pytest.mark.parametrize("include", ["lib/sub", "li*/sub", "*/*"])
def test_what_is_included_is_not_looked_for_through_a_link(
    checkout: Path,
    outside: Path,
    tmp_path: Path,
    include: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A link to `/` would have all of the machine looked through."""
    (outside / "sub").mkdir()
    (outside / "sub" / "config").write_text(SECRET)
    (checkout / "lib").symlink_to(outside)
    walked: list[Path] = []
    real = tree._walk

    def note(folder: Path, ignore: Ignore) -> Iterator[str]:
        walked.append(folder)
        return real(folder, ignore)

    monkeypatch.setattr(tree, "_walk", note)
    packed = pack_source(checkout, include=[include], temporary=tmp_path)
    assert not _stolen(packed)
    assert checkout / "lib" / "sub" not in walked
    assert "lib/" in {item.path for item in packed.skipped}


def test_a_link_that_comes_during_packing_is_noticed(
    checkout: Path, outside: Path, tmp_path: Path
) -> None:
    (checkout / "lib").mkdir()
    (checkout / "lib" / "config").write_text("x" * len(SECRET))
    with Inside(checkout) as inside:
        with inside.open("lib/config") as file:
            assert file.read() == b"x" * len(SECRET)
        inside.lstat("train.py")
        (checkout / "lib" / "config").unlink()
        (checkout / "lib").rmdir()
        (checkout / "lib").symlink_to(outside)
        with pytest.raises(LinkOnTheWay):
            inside.open("lib/config")
        (checkout / "pipe").unlink(missing_ok=True)
        os.mkfifo(checkout / "pipe")
        with pytest.raises(OSError, match="is no file"):
            inside.open("pipe")


def _git_file(folder: Path, outside: Path) -> None:
    _forget(folder)
    (folder / ".git").write_text(f"gitdir: {outside}/.git\n")


def _git_link(folder: Path, outside: Path) -> None:
    _forget(folder)
    (folder / ".git").symlink_to(outside / ".git")


def _common_file(folder: Path, outside: Path) -> None:
    (folder / ".git" / "commondir").write_text(f"{outside}/.git\n")


def _object_links(folder: Path, outside: Path) -> None:
    for name in ("objects", "refs"):
        subprocess.run(["rm", "-r", str(folder / ".git" / name)], check=True)
        (folder / ".git" / name).symlink_to(outside / ".git" / name)


def _branch_link(folder: Path, outside: Path) -> None:
    (folder / ".git/objects/info").mkdir(exist_ok=True)
    (folder / ".git/objects/info/alternates").write_text(f"{outside}/.git/objects\n")
    branch = folder / ".git/refs/heads/main"
    branch.unlink()
    branch.symlink_to(outside / ".git/refs/heads/main")


def _made_up_work_tree(folder: Path, outside: Path) -> None:
    """A work tree's folder that names this one, and takes its data from elsewhere."""
    made = folder / "made"
    (folder / ".git").rename(made)
    (made / "commondir").write_text(f"{outside}/.git\n")
    (made / "gitdir").write_text(f"{folder}/.git\n")
    (folder / ".git").write_text(f"gitdir: {made}\n")


def _forget(folder: Path) -> None:
    subprocess.run(["rm", "-r", str(folder / ".git")], check=True)


@pytest.mark.parametrize(
    "lead",
    [_git_file, _git_link, _common_file, _object_links, _branch_link, _made_up_work_tree],
)
@pytest.mark.parametrize("below", [False, True])
def test_a_repository_that_belongs_elsewhere_is_refused(
    checkout: Path, outside: Path, tmp_path: Path, lead: Callable[[Path, Path], None], below: bool
) -> None:
    folder = checkout
    if below:  # a repository inside
        folder = _repository(checkout / "vendor")
    lead(folder, outside)
    with pytest.raises(InputError, match=r"does not name this folder|is a link"):
        _pack(checkout, tmp_path)
    assert list((tmp_path / "packed").iterdir()) == []


def test_work_trees_and_submodules_are_packed(checkout: Path, tmp_path: Path) -> None:
    _git(checkout, "worktree", "add", "-q", str(tmp_path / "beside"))
    assert "train.py" in _names(_pack(tmp_path / "beside", tmp_path))
    inner = _repository(tmp_path / "library")
    allow = ("-c", "protocol.file.allow=always")
    _git(checkout, *allow, "submodule", "add", str(inner), "lib/inner")
    assert "lib/inner/train.py" in _names(_pack(checkout, tmp_path))
    assert not _pack(checkout / "lib/inner", tmp_path).source.git_dirty


def test_a_changed_submodule_makes_the_tree_dirty(checkout: Path, tmp_path: Path) -> None:
    inner = _repository(tmp_path / "library")
    allow = ("-c", "protocol.file.allow=always")
    _git(checkout, *allow, "submodule", "add", str(inner), "inner")
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-q", "-m", "all")
    assert not _pack(checkout, tmp_path).source.git_dirty
    (checkout / "inner" / "train.py").write_text("changed too\n")
    assert _pack(checkout, tmp_path).source.git_dirty


def test_a_submodule_that_is_not_checked_out_is_told(checkout: Path, tmp_path: Path) -> None:
    inner = _repository(tmp_path / "library")
    allow = ("-c", "protocol.file.allow=always")
    _git(checkout, *allow, "submodule", "add", str(inner), "lib/inner")
    _git(checkout, "submodule", "deinit", "-f", "lib/inner")
    (item,) = _pack(checkout, tmp_path).skipped
    assert item.path == "lib/inner"
    assert "git submodule update --init" in item.reason


def test_nothing_that_stays_is_told_in_the_diff(checkout: Path, tmp_path: Path) -> None:
    for name in (".env", "local.txt"):
        (checkout / name).write_text(f"{SECRET}\n")
        _git(checkout, "add", "-f", name)
    _git(checkout, "commit", "-q", "-m", "oops")
    _git(checkout, "rm", "-q", ".env")
    (checkout / "local.txt").write_text("now without\n")
    (checkout / ".hostlerignore").write_text("local.txt\n")
    packed = _pack(checkout, tmp_path)
    assert not _stolen(packed)
    assert "+print('changed')" in (packed.source.git_diff or "")


def test_a_secret_that_is_included_is_not_told_in_the_diff(checkout: Path, tmp_path: Path) -> None:
    """Members of a shared daemon see each other's diffs, not each other's files."""
    (checkout / ".env").write_text("before\n")
    _git(checkout, "add", "-f", ".env")
    _git(checkout, "commit", "-q", "-m", "oops")
    for name in (".env", "new.pem"):
        (checkout / name).write_text(f"{SECRET}\n")
    packed = pack_source(checkout, include=[".env", "new.pem"], temporary=tmp_path)
    with tarfile.open(packed.path) as tar:
        assert {".env", "new.pem"} <= set(tar.getnames())
    assert packed.source.git_dirty
    assert SECRET not in (packed.source.git_diff or "")


@pytest.mark.parametrize("kind", ["link", "pipe", "huge"])
def test_an_ignore_file_is_a_plain_file(checkout: Path, outside: Path, tmp_path: Path, kind: str):  # type: ignore[no-untyped-def]
    path = checkout / ".hostlerignore"
    if kind == "link":
        path.symlink_to(outside / "config")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("x\n" * 1024 * 1024)
    begun = time.monotonic()
    with pytest.raises(InputError, match="hostlerignore"):
        _pack(checkout, tmp_path)
    assert time.monotonic() - begun < 60  # a pipe would be waited for without end


def _forge_index(folder: Path, old: bytes, new: bytes) -> None:
    """Change names in the index as git itself never writes them."""
    assert len(old) == len(new)
    path = folder / ".git/index"
    data = path.read_bytes()[:-20].replace(old, new)
    path.write_bytes(data + hashlib.sha1(data).digest())


@pytest.mark.parametrize(
    "forged", [b"../private/config", b"lib/../../x/steal", b"./private/config1"]
)
def test_names_that_climb_out_are_never_followed(
    checkout: Path, outside: Path, tmp_path: Path, forged: bytes
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "steal").write_text(SECRET)
    real = b"a" * (len(forged) - 7) + b"/config"
    file = checkout / os.fsdecode(real)
    file.parent.mkdir()
    file.write_text("")
    _git(checkout, "add", ".")
    _forge_index(checkout, real, forged)
    with pytest.raises(InputError, match="is not a file in it"):
        _pack(checkout, tmp_path)


def test_no_way_leads_up(checkout: Path, outside: Path) -> None:
    with Inside(checkout) as inside:
        for name in (
            "../private/config",
            "a/../../private/config",
            "..",
            "./train.py",
            "/etc/passwd",
        ):
            with pytest.raises(OSError, match="leads out"):
                inside.lstat(name)
            with pytest.raises(OSError, match="leads out"):
                inside.open(name)


@pytest.mark.parametrize("kind", ["empty", "garbage"])
def test_a_submodule_whose_git_is_broken_ends(checkout: Path, tmp_path: Path, kind: str) -> None:
    inner = _repository(tmp_path / "library")
    allow = ("-c", "protocol.file.allow=always")
    _git(checkout, *allow, "submodule", "add", str(inner), "inner")
    (checkout / "inner" / ".git").unlink()
    if kind == "empty":
        (checkout / "inner" / ".git").mkdir()
    else:
        (checkout / "inner" / ".git").write_text("nonsense\n")
    try:
        assert "inner/.git" not in _names(_pack(checkout, tmp_path))
    except InputError as error:
        told = str(error)
        assert "inner" in told


def test_repositories_nested_without_end_are_refused(tmp_path: Path) -> None:
    folder = top = tmp_path / "top"
    for _ in range(25):
        folder.mkdir()
        _git(folder, "init", "-q")
        (folder / "f").write_text("")
        folder = folder / "n"
    with pytest.raises(InputError, match="are nested more than"):
        _pack(top, tmp_path)
