"""What of a stage's files a build gets."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.runtimes.docker.context import context_of, dockerfile_of, tar_of


def _archive(path: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.mtime = len(text), 0o640, 1234, 99
            tar.addfile(entry, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return path


def _sent(
    archives: list[tuple[str, Path]], folder: str = ".", dockerfile: str | None = None
) -> dict[str, str]:
    """Name -> contents, of a link where it leads, of a folder "/"."""
    context = context_of(archives, folder, dockerfile)
    found: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_of(context.pieces)))) as tar:
        for member in tar:
            assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
            content = tar.extractfile(member) if member.isreg() else None
            found[member.name] = content.read().decode() if content else member.linkname or "/"
    return found


def test_a_folder_of_the_source_without_what_is_ignored(tmp_path: Path) -> None:
    source = _archive(
        tmp_path / "s.tar",
        {
            "docker/Dockerfile": "FROM x", "docker/.dockerignore": "*\n!app\napp/*.log",
            "docker/app/main.py": "x" * 700, "docker/app/a.log": "", "docker/data/big": "y",
            "train.py": "",
        },
        {"docker/app/link": "main.py"},
    )  # fmt: skip
    assert _sent([("", source)], "docker") == {
        ".dockerignore": "*\n!app\napp/*.log", "Dockerfile": "FROM x", "app": "/",
        "app/main.py": "x" * 700, "app/link": "main.py",
    }  # fmt: skip


def test_outputs_of_other_stages_lie_beside_the_source(tmp_path: Path) -> None:
    source = _archive(tmp_path / "s.tar", {"Dockerfile": "FROM x"})
    model = _archive(tmp_path / "m.tar", {"model.pt": "weights"})
    sent = _sent([("", source), ("inputs/model", model)])
    assert sent["inputs/model/model.pt"] == "weights"


def test_what_is_kept_of_an_ignored_folder_has_its_folders(tmp_path: Path) -> None:
    files = {"Dockerfile": "", ".dockerignore": "a\n!a/b/c", "a/b/c": "1", "a/b/d": "2"}
    sent = _sent([("", _archive(tmp_path / "s.tar", files))])
    assert [name for name in sent if name.startswith("a")] == ["a", "a/b", "a/b/c"]


def test_a_dockerfile_with_an_ignore_file_of_its_own(tmp_path: Path) -> None:
    files = {
        ".dockerignore": "a", "Dockerfile": "", "docker/gpu": "", "docker/gpu.dockerignore": "b",
        "a": "1", "b": "2",
    }  # fmt: skip
    source = [("", _archive(tmp_path / "s.tar", files))]
    assert {"b"} == {"a", "b"} & _sent(source).keys()
    own = _sent(source, ".", "docker/gpu")
    assert {"a"} == {"a", "b", ".dockerignore"} & own.keys()
    assert "docker/gpu.dockerignore" in own


def test_an_ignored_dockerfile_is_sent(tmp_path: Path) -> None:
    source = _archive(tmp_path / "s.tar", {"deploy/gpu.Dockerfile": "F", ".dockerignore": "deploy"})
    assert "deploy/gpu.Dockerfile" in _sent([("", source)], ".", "deploy/gpu.Dockerfile")


def test_a_dockerfile_that_is_not_read_to_its_end_is_refused(tmp_path: Path) -> None:
    source = _archive(tmp_path / "s.tar", {"Dockerfile": "# a=1\n" * 200_000 + "# syntax=evil/x"})
    with pytest.raises(InputError, match="is over 1 MiB"):
        context_of([("", source)], ".", None)


def test_the_text_alone_costs_no_comparison_with_the_ignore_file(tmp_path: Path) -> None:
    patterns = "".join(f"a{number}\n" for number in range(2000))
    source = _archive(tmp_path / "s.tar", {"Dockerfile": "FROM x", ".dockerignore": patterns})
    assert dockerfile_of([("", source)], ".", None) == "FROM x"
    with pytest.raises(InputError, match="dockerignore"):
        context_of([("", source)], ".", None)


def test_a_missing_dockerfile_is_named_with_what_is_there(tmp_path: Path) -> None:
    source = _archive(tmp_path / "s.tar", {"docker/Dockerfile.gpu": "F", "x": ""})
    with pytest.raises(InputError, match=r"dockerfile = 'docker/Dockerfile\.gpu'"):
        _sent([("", source)])
    with pytest.raises(InputError, match="the folder 'docs' of the source has no Dockerfile"):
        _sent([("", source)], "docs")
    for outside in ("../other", "/etc"):
        with pytest.raises(InputError, match="not inside"):
            _sent([("", source)], outside)
