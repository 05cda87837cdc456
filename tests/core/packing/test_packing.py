from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.packing import PackedSource, git_run, pack_source
from hostler.packing.secrets import is_secret
from hostler.store.archives import inspect_archive


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    _write(folder, "train.py", "print('hi')\n")
    _write(folder, "run.sh", "#!/bin/sh\n").chmod(0o700)
    _write(folder, "lib/deep/x.py", "")
    return folder


@pytest.fixture
def repository(tree: Path) -> Path:
    _git(tree, "init", "-q", "-b", "main")
    _write(tree, ".gitignore", "*.ckpt\n")
    _git(tree, "add", ".")
    _git(tree, "commit", "-q", "-m", "first")
    return tree


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True)


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _pack(folder: Path, tmp_path: Path, **options: object) -> PackedSource:
    place = tmp_path / "packed"
    place.mkdir(exist_ok=True)
    return pack_source(folder, temporary=place, **options)  # type: ignore[arg-type]


def _names(packed: PackedSource) -> set[str]:
    with tarfile.open(packed.path) as tar:
        return {member.name for member in tar if not member.isdir()}


def test_a_folder_without_git_is_packed_whole_but_for_what_is_ignored(
    tree: Path, tmp_path: Path
) -> None:
    _write(tree, ".hostlerignore", "data/\n*.ckpt\n")
    _write(tree, "data/big.bin", "x" * 1000)
    _write(tree, "lib/model.ckpt", "x")
    packed = _pack(tree, tmp_path)
    assert _names(packed) == {".hostlerignore", "train.py", "run.sh", "lib/deep/x.py"}
    assert packed.files == 4
    assert (packed.source.digest, packed.source.path) == (packed.digest, str(tree))
    assert packed.source.git_commit is None
    assert packed.size == packed.path.stat().st_size


@pytest.mark.programs
def test_the_config_of_a_repository_is_read_once(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question starts a git; the answer about its filters holds for all of them."""
    _write(repository, "train.py", "print('changed')\n")
    asked: list[str] = []
    start = git_run.start

    def note(
        git: git_run.Git, *words: str, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        asked.append(words[0])
        return start(git, *words, more=more)

    monkeypatch.setattr(git_run, "start", note)
    assert _pack(repository, tmp_path).source.git_diff
    assert asked.count("config") == 1
    assert len(asked) <= 13


@pytest.mark.programs
def test_git_says_what_is_packed_dirty_files_too(repository: Path, tmp_path: Path) -> None:
    _write(repository, "train.py", "print('changed')\n")
    _write(repository, "new.py", "new")
    _write(repository, "model.ckpt", "ignored")
    (repository / "run.sh").unlink()
    packed = _pack(repository, tmp_path)
    assert _names(packed) == {".gitignore", "train.py", "new.py", "lib/deep/x.py"}
    with tarfile.open(packed.path) as tar:
        content = tar.extractfile("train.py")
        assert content is not None
        assert content.read() == b"print('changed')\n"
    source = packed.source
    assert source.git_branch == "main"
    assert source.git_commit is not None
    assert len(source.git_commit) == 40
    assert source.git_dirty
    assert source.git_diff is not None
    assert "+print('changed')" in source.git_diff


@pytest.mark.programs
def test_a_clean_tree_is_not_dirty(repository: Path, tmp_path: Path) -> None:
    source = _pack(repository, tmp_path).source
    assert (source.git_dirty, source.git_diff) == (False, None)
    _git(repository, "checkout", "-q", "--detach")
    assert _pack(repository, tmp_path).source.git_branch is None


@pytest.mark.programs
def test_a_repository_without_a_commit_is_packed(tree: Path, tmp_path: Path) -> None:
    _git(tree, "init", "-q", "-b", "main")
    packed = _pack(tree, tmp_path)
    assert packed.files == 3
    assert (packed.source.git_commit, packed.source.git_dirty) == (None, True)


@pytest.mark.programs
def test_a_folder_of_a_repository_is_packed_alone(repository: Path, tmp_path: Path) -> None:
    _write(repository, "train.py", "outside the folder")
    packed = _pack(repository / "lib", tmp_path)
    assert _names(packed) == {"deep/x.py"}
    assert not packed.source.git_dirty


@pytest.mark.programs
def test_repositories_inside_are_packed_too(repository: Path, tmp_path: Path) -> None:
    inner = repository / "vendor"
    _write(inner, "v.py", "")
    _write(inner, "v.ckpt", "")
    _write(inner, ".gitignore", "*.ckpt\n")
    _git(inner, "init", "-q")
    assert {"vendor/v.py", "vendor/.gitignore"} <= _names(_pack(repository, tmp_path))
    assert "vendor/v.ckpt" not in _names(_pack(repository, tmp_path))


@pytest.mark.programs
def test_a_project_that_an_outer_repository_ignores_is_its_own(
    repository: Path, tmp_path: Path
) -> None:
    _write(repository, ".gitignore", "*\n")
    _write(repository, "work/a.py", "")
    packed = _pack(repository / "work", tmp_path)
    assert _names(packed) == {"a.py"}
    assert packed.source.git_commit is None


@pytest.mark.programs
def test_the_same_content_has_the_same_digest_wherever_it_lies(
    repository: Path, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere"
    for name in (".gitignore", "lib/deep/x.py", "run.sh", "train.py"):
        _write(other, name, (repository / name).read_text())
        os.utime(other / name, (5, 5))
    (other / "run.sh").chmod(0o755)
    (other / "train.py").chmod(0o600)
    assert _pack(other, tmp_path).digest == _pack(repository, tmp_path).digest
    (other / "train.py").chmod(0o700)
    assert _pack(other, tmp_path).digest != _pack(repository, tmp_path).digest


def test_modes_owners_and_folders_are_plain(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(_pack(tree, tmp_path).path) as tar:
        found = {m.name: (m.mode, m.uid, m.gid, m.uname, m.mtime) for m in tar}
    assert list(found) == ["lib", "lib/deep", "lib/deep/x.py", "run.sh", "train.py"]
    assert found["run.sh"][:4] == (0o755, 0, 0, "")
    assert found["train.py"][0] == 0o644
    assert len({entry[4] for entry in found.values()}) == 1


@pytest.mark.programs
@pytest.mark.parametrize(
    "name",
    [".env", "sub/.env", ".env.local", "id_rsa", "keys/id_ed25519", "server.pem", "tls/SERVER.KEY",
     ".ssh/config", ".aws/credentials", ".netrc", "prod.env", ".streamlit/secrets.toml",
     "vault.kdbx", ".docker/config.json", "conf/.kube/config", ".azure/accessTokens.json",
     "application_default_credentials.json", ".config/gcloud/properties", ".npmrc", ".pypirc",
     ".cache/huggingface/token", "my-service-account.json", "keys/id_ed25519_work",
     "id_rsa~", "#.env#", "keys/.id_ed25519.swp", "server.pem.bak", ".netrc.old~", ".env-prod",
     ".env_local", "prod.env.local"],
)  # fmt: skip
def test_secrets_stay_where_they_are(repository: Path, tmp_path: Path, name: str) -> None:
    _write(repository, name, "hunter2")
    _git(repository, "add", "-f", name)
    _git(repository, "commit", "-q", "-m", "oops")
    _write(repository, name, "hunter3")
    _write(repository, "train.py", "changed")
    packed = _pack(repository, tmp_path)
    assert name not in _names(packed)
    assert [(item.path, item.reason) for item in packed.skipped] == [(name, "looks like a secret")]
    assert packed.source.git_diff is not None
    assert "hunter" not in packed.source.git_diff
    assert b"hunter" not in packed.path.read_bytes()
    assert name in _names(_pack(repository, tmp_path, include=[name]))


@pytest.mark.parametrize(
    "name",
    [".env.example", "environment.yml", "monkey.py", "id_rsa.pub", "docker/config.json",
     "config.json", "tokenizer/token", "secrets.py", "service.json", "id_mapping.json",
     ".env-example", ".env_template", "train.py~", "notes.bak", "~", "#", ".bak"],
)  # fmt: skip
def test_what_is_no_secret_is_packed(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.programs
def test_include_brings_back_what_git_ignores(repository: Path, tmp_path: Path) -> None:
    _write(repository, "a.ckpt", "")
    _write(repository, "w/b.ckpt", "")
    assert {"a.ckpt", "w/b.ckpt"} <= _names(_pack(repository, tmp_path, include=["*.ckpt", "w"]))
    for wrong in ("", ".", "./", "missing", "/etc/passwd", "../x"):
        with pytest.raises(InputError, match="include"):
            _pack(repository, tmp_path, include=[wrong])


def test_links_that_stay_inside_stay_links(tree: Path, tmp_path: Path) -> None:
    (tree / "inside").symlink_to("lib/deep")
    (tree / "lib" / "up").symlink_to("../train.py")
    (tree / "passwd").symlink_to("/etc/passwd")
    (tree / "out").symlink_to("../elsewhere")
    os.mkfifo(tree / "fifo")
    packed = _pack(tree, tmp_path)
    with tarfile.open(packed.path) as tar:
        assert {m.name: m.linkname for m in tar if m.issym()} == {
            "inside": "lib/deep",
            "lib/up": "../train.py",
        }
    assert [item.path for item in packed.skipped] == ["fifo", "out", "passwd"]
    assert inspect_archive(packed.path).files == 5


def test_too_much_is_refused_and_the_largest_are_named(tree: Path, tmp_path: Path) -> None:
    for number in range(7):
        _write(tree, f"big{number}.bin", "x" * (9000 + number))
    with pytest.raises(InputError) as caught:
        _pack(tree, tmp_path, limit=50_000)
    for number in range(2, 7):
        assert f"big{number}.bin" in caught.value.message
    assert "big1.bin" not in caught.value.message
    assert ".hostlerignore" in caught.value.remedy
    assert list((tmp_path / "packed").iterdir()) == []
    _write(tree, ".hostlerignore", "big*\n")
    assert _pack(tree, tmp_path, limit=50_000).files == 4


def test_what_is_packed_is_never_over_the_limit(tree: Path, tmp_path: Path) -> None:
    size = _pack(tree, tmp_path).size
    assert _pack(tree, tmp_path, limit=size).size == size
    with pytest.raises(InputError, match="more than"):
        _pack(tree, tmp_path, limit=size - 1)


def test_one_file_that_is_too_large_is_refused_by_name(tree: Path, tmp_path: Path) -> None:
    _write(tree, "weights.bin", "x" * 5001)
    with pytest.raises(InputError) as caught:
        _pack(tree, tmp_path, file_limit=5000)
    assert "weights.bin" in caught.value.message
    assert "source_file" in caught.value.remedy
    assert _pack(tree, tmp_path, file_limit=5001).files


@pytest.mark.programs
def test_hostlerignore_also_holds_in_a_repository(repository: Path, tmp_path: Path) -> None:
    _write(repository, ".hostlerignore", "/lib\n")
    assert "lib/deep/x.py" not in _names(_pack(repository, tmp_path))


@pytest.mark.programs
def test_new_files_are_in_the_diff_and_the_repository_is_only_read(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "new [1].py").write_text("print('new')\n")
    (repository / "sub").mkdir(exist_ok=True)
    (repository / "sub" / "ä").write_text("one\n")
    (repository / ".env").write_text("TOKEN=hunter2\n")
    (repository / ".hostlerignore").write_text("unsent\n")
    (repository / "unsent").write_text("stays\n")
    before = _contents(repository / ".git")
    diff = _pack(repository, tmp_path).source.git_diff
    assert diff is not None
    assert "+print('new')" in diff
    assert "+one" in diff
    assert "hunter2" not in diff
    assert "stays" not in diff
    assert _contents(repository / ".git") == before


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.programs
def test_a_long_diff_is_cut(repository: Path, tmp_path: Path) -> None:
    _write(repository, "train.py", "x = 1\n" * 400_000)
    diff = _pack(repository, tmp_path).source.git_diff
    assert diff is not None
    assert diff.endswith("[cut at 1048576 bytes]\n")
    assert len(diff) < 1_100_000


@pytest.mark.programs
def test_a_repository_that_git_cannot_read_is_not_packed_whole(tree: Path, tmp_path: Path) -> None:
    (tree / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(InputError, match="git cannot read"):
        _pack(tree, tmp_path)


@pytest.mark.programs
def test_without_git_a_repository_is_not_packed_whole(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git is not installed"):
        _pack(repository, tmp_path)


def test_a_file_that_is_no_folder_is_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        _pack(tree / "train.py", tmp_path)


def test_names_that_are_no_text_are_packed(tree: Path, tmp_path: Path) -> None:
    (tree / os.fsdecode(b"caf\xe9")).write_text("latin")
    (tree / "a\nb $(touch x) '\"").write_text("odd")
    assert {os.fsdecode(b"caf\xe9"), "a\nb $(touch x) '\""} <= _names(_pack(tree, tmp_path))
