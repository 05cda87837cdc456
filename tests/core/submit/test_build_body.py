"""What `hostler build` submits."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.spec.pipeline import read_pipeline
from hostler.submit.build_body import build_body


@pytest.mark.parametrize("name", ["My Project!", "a", "...", "Größe", "x" * 99, "-"])
def test_any_folder_gives_a_pipeline(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    args = {"A": 'quo"ted\n{params.x} {{b}} ${c} \\', "B": "2"}
    body = build_body(folder, target="run", args=args, hosts=["gpu*"])
    (stage,) = read_pipeline(str(body["pipeline"]), file="build").stages
    assert stage.args == args
    assert (stage.kind, stage.target, stage.resources.hosts) == ("build", "run", ("gpu*",))


def test_what_is_not_there_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        build_body(tmp_path / "none")
    with pytest.raises(InputError, match=r"has no Dockerfile\. Name it: hostler build -f FILE"):
        build_body(tmp_path)
