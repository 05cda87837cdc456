"""What `include` brings back, and what was left out of the files that a command names."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.packing import PackedSource, pack_source
from hostler.packing import source as left_out_module
from hostler.packing.inside import Inside
from hostler.packing.source import LeftOut

pytestmark = pytest.mark.programs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository that ignores its data."""
    made = tmp_path / "project"
    for name, text in (
        (".gitignore", "data/\n*.ckpt\n.env\n/mixed/*\n!/mixed/readme\nlink-*\n"),
        ("train.py", "x"),
        ("data/input.txt", "x" * 2048),
        ("data/.env", "TOKEN=1"),
        ("data/keys/id_rsa", "secret"),
        ("mixed/readme", "x"),
        ("mixed/big.bin", "x" * 1024),
        ("mixed/__pycache__/x.pyc", "x" * 4096),
        ("src/a.py", "x"),
        ("src/__pycache__/a.pyc", "x"),
        ("model.ckpt", "x" * 10),
        (".env", "TOKEN=2"),
    ):
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "-q", str(made)], check=True)
    return made


def pack(folder: Path, *include: str, words: tuple[str, ...] = ()) -> PackedSource:
    return pack_source(folder, include=include, words=words, temporary=folder.parent)


def names(packed: PackedSource) -> set[str]:
    with tarfile.open(packed.path) as tar:
        return {member.name for member in tar if not member.isdir()}


@pytest.mark.parametrize("pattern", ["data", "data/", "data/*", "**/*", "**", "data/**/*", "*"])
def test_a_folder_or_pattern_never_includes_a_secret(folder: Path, pattern: str) -> None:
    packed = pack(folder, pattern)
    found = names(packed)
    assert found.isdisjoint({"data/.env", "data/keys/id_rsa", ".env"})
    assert not any(name.startswith(".git/") for name in found)
    assert "data/input.txt" in found
    assert ("model.ckpt" in found) == (not pattern.startswith("data"))
    told = {skipped.path for skipped in packed.skipped}
    assert told <= {"data/.env", "data/keys/id_rsa", ".env"}
    assert told


def test_the_exact_path_of_a_secret_includes_it(folder: Path) -> None:
    packed = pack(folder, "data", "data/.env", "./data/keys/id_rsa")
    assert {"data/.env", "data/keys/id_rsa"} <= names(packed)
    assert ".env" not in names(packed)
    assert packed.skipped == ()
    assert packed.source.include == ("data", "data/.env", "./data/keys/id_rsa")


def test_a_name_with_signs_of_a_pattern_is_a_name_where_it_is_there(folder: Path) -> None:
    (folder / "a[1].ckpt").write_text("x")
    assert "a[1].ckpt" in names(pack(folder, "a[1].ckpt"))
    (folder / "b[1].pem").write_text("x")
    (folder / ".gitignore").write_text("*.pem\n")
    assert "b[1].pem" in names(pack(folder, "b[1].pem"))


def test_git_itself_is_never_included(folder: Path) -> None:
    for pattern in (".git", ".git/*", ".git/config"):
        with pytest.raises(InputError, match="include"):
            pack(folder, pattern)


def told(folder: Path, *words: str) -> list[LeftOut]:
    return list(pack(folder, words=words).left_out)


def test_an_ignored_file_that_is_named_is_told_with_what_sends_it(folder: Path) -> None:
    expected = LeftOut("data/input.txt", 2048, "ignored by git", "data/")
    assert told(folder, "python", "train.py", "data/input.txt") == [expected]
    assert told(folder, "--data=data/input.txt") == [expected]
    assert told(folder, "./data/../data/input.txt") == [expected]
    assert told(folder, str(folder / "data/input.txt")) == [expected]
    assert told(folder, "python train.py 'data/input.txt' > x") == [expected]
    assert told(folder, "model.ckpt") == [LeftOut("model.ckpt", 10, "ignored by git", "model.ckpt")]


def test_an_ignored_folder_is_told_with_what_is_in_it_but_secrets_and_caches(folder: Path) -> None:
    assert told(folder, "data") == [LeftOut("data/", 2048, "ignored by git", "data/")]
    assert told(folder, "mixed/") == [LeftOut("mixed/", 1024, "ignored by git", "mixed/")]
    assert told(folder, "src") == []


def test_a_secret_is_told_by_its_own_path(folder: Path) -> None:
    assert told(folder, ".env") == [LeftOut(".env", 7, "looks like a secret", ".env")]
    assert told(folder, "data/.env") == [
        LeftOut("data/.env", 7, "looks like a secret", "data/.env")
    ]


def test_what_hostlerignore_names_is_told_as_well(folder: Path) -> None:
    (folder / ".hostlerignore").write_text("src/\n")
    expected = LeftOut("src/a.py", 1, "named by .hostlerignore", "src/")
    assert told(folder, "src/a.py") == [expected]


def test_what_goes_along_or_is_no_file_of_the_folder_is_not_told(folder: Path) -> None:
    (folder / "link-data").symlink_to("data")
    (folder / "link-out").symlink_to("/etc")
    (folder.parent / "beside").write_text("x")
    words = (
        "train.py", "src/a.py", ".", "..", "/", "", "-", "--", "missing", "../beside",
        "/etc/passwd", "link-data/input.txt", "link-out/passwd", "x" * 5000,
        "\0", "a\0b", "~", "data/missing",
        "\udcff", "{}",
    )  # fmt: skip
    assert told(folder, *words) == []
    packed = pack(folder, "data", words=("data/input.txt", "data"))
    assert packed.left_out == ()


def test_each_is_told_once_and_few_of_many(folder: Path) -> None:
    assert len(told(folder, "model.ckpt", "./model.ckpt", "--x=model.ckpt")) == 1
    for number in range(100):
        (folder / f"{number}.ckpt").write_text("x")
    assert len(told(folder, *(f"{number}.ckpt" for number in range(100)))) == 100


def test_a_large_folder_is_not_proposed_for_one_small_file(folder: Path) -> None:
    with (folder / "data/huge.bin").open("wb") as file:
        file.truncate(1 << 30)
    found = told(folder, "data/input.txt")
    assert found == [LeftOut("data/input.txt", 2048, "ignored by git", "data/input.txt")]
    assert told(folder, "data")[0].size == (1 << 30) + 2048


def test_without_git_only_the_ignore_file_leaves_out(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    (folder / "data").mkdir(parents=True)
    (folder / "data/a").write_text("abc")
    (folder / "x").write_text("x")
    (folder / ".hostlerignore").write_text("data\n")
    assert told(folder, "data/a", "x") == [LeftOut("data/a", 3, "named by .hostlerignore", "data/")]


def test_a_folder_is_added_up_once_however_many_of_its_files_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep over ignored files names each of them."""
    walked: list[str] = []
    real = left_out_module._files_below

    def note(inside: Inside, place: str, leaves: Callable[[str], bool]) -> Iterator[str]:
        walked.append(place)
        return real(inside, place, leaves)

    monkeypatch.setattr(left_out_module, "_files_below", note)
    words = tuple(f"data/f{n}" for n in range(50))
    for name in words:
        (folder / name).write_text("x")
    assert len(pack(folder, words=words).left_out) == 50
    assert walked == ["data"]
