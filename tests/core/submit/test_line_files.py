"""Files of lines are read beside the pipeline file, and from nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.submit.body import pipeline_body
from hostler.submit.line_files import lines_of_files, read_lines

TEXT = 'name = "x"\n[stages.a]\ncommand = "x"\nmatrix = { i = { lines = "args.txt" } }\n'


def test_empty_lines_and_blanks_around_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff--lr 0.1 \r\n\r\n\t \n  é\tx\n# no comment".encode())
    assert read_lines(tmp_path, "a.txt") == ["--lr 0.1", "é\tx", "# no comment"]


def test_they_go_with_the_pipeline_and_only_those_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "args.txt").write_text("a\nb\n")
    (tmp_path / "other.txt").write_text("c\n")
    (tmp_path / "pipeline.toml").write_text(TEXT)
    body = pipeline_body(tmp_path / "pipeline.toml", {}, {})
    assert body["lines"] == {"args.txt": ["a", "b"]}
    assert lines_of_files(TEXT.replace("args.txt", "./args.txt"), tmp_path) == {
        "lines": {"args.txt": ["a", "b"]}
    }
    assert lines_of_files('name = "lines"\n', tmp_path) == {}
    assert lines_of_files("lines = [", tmp_path) == {}  # the daemon says what is wrong


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret\n")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "link.txt").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    for name in ("link.txt", "up/secret.txt", "../secret.txt", str(secret)):
        with pytest.raises(InputError, match="whose lines a matrix takes"):
            read_lines(folder, name)


def test_what_is_no_list_of_values_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "control").write_bytes(b"ok\na\x1bb\n")
    (tmp_path / "large").write_bytes(b"x" * (1024 * 1024 + 1))
    (tmp_path / "long").write_bytes(b"x\n" * 10_001)
    for name, said in {
        "missing": "No such file",
        "pipe": "is no file",
        "binary": "not UTF-8",
        "control": "control character in line 2",
        "large": "larger than 1 MiB",
        "long": "10,001 lines",
    }.items():
        with pytest.raises(InputError, match=said):
            read_lines(tmp_path, name)


@pytest.mark.parametrize("name", [".env", "./.netrc", ".git/config", "a/../.ssh/key", ".Git/x"])
def test_no_lines_are_read_from_where_secrets_are_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / os.path.normpath(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("TOKEN=sesame\n")
    with pytest.raises(InputError, match="looks like a secret") as caught:
        lines_of_files(TEXT.replace("args.txt", name), tmp_path)
    assert "sesame" not in str(caught.value)


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NUL character in its name"):
        lines_of_files(TEXT.replace("args.txt", r"a\u0000b"), tmp_path)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
def test_a_file_that_cannot_be_read_at_all_is_left_to_the_daemon(
    tmp_path: Path, value: str
) -> None:
    assert lines_of_files(f"lines = {value}", tmp_path) == {}
