"""The pipeline file for which a folder with a Dockerfile stands."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.spec.pipeline import read_pipeline
from hostler.submit.folder_service import Flags, folder_pipeline, is_dockerfile, name_of

WHOLE = 'FROM x\nWORKDIR /app\nEXPOSE 8000\nCMD ["serve", "{params.x}"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "My Digits."
    made.mkdir()
    (made / "Dockerfile").write_text(WHOLE)
    return made


def made(folder: Path, file: str = "Dockerfile", **flags: object) -> dict[str, object]:
    text = folder_pipeline(folder, file, Flags(**flags))  # type: ignore[arg-type]
    found: dict[str, object] = tomllib.loads(text)
    return found


def test_what_the_dockerfile_says(folder: Path) -> None:
    assert made(folder) == {
        "name": "my-digits",
        "stages": {
            "image": {"kind": "build"},
            "serve": {
                "kind": "service", "image": "image", "code": "none", "workdir": "/app",
                "command": ["serve", "{{params.x}}"], "port": 8000, "health": "/",
            },
        },
    }  # fmt: skip


def test_what_a_person_says_goes_before(folder: Path) -> None:
    (folder / "gpu.Dockerfile").write_text("FROM x\n")
    found = made(
        folder, "gpu.Dockerfile", name="other", port=1, health="tcp", gpus=2, replicas=3,
        command="a 'b c'",
    )  # fmt: skip
    assert found == {
        "name": "other",
        "stages": {
            "image": {"kind": "build", "dockerfile": "gpu.Dockerfile"},
            "serve": {
                "kind": "service", "image": "image", "code": "none", "workdir": "/",
                "command": "a 'b c'", "port": 1, "health": "tcp", "replicas": 3,
                "resources": {"gpus": 2},
            },
        },
    }  # fmt: skip
    assert made(folder, gpus=0)["stages"] == made(folder)["stages"]


def test_the_daemon_takes_it_as_a_person_means_it(folder: Path) -> None:
    pipeline = read_pipeline(folder_pipeline(folder, "Dockerfile", Flags()), file="pipeline.toml")
    image, serve = pipeline.stages
    assert (image.kind, serve.name, serve.built_by) == ("build", "serve.0", "image")
    assert (serve.command, serve.workdir) == (("serve", "{params.x}"), "/app")


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ('FROM x\nCMD ["a"]\n', "names no port (EXPOSE)", "--port 8000"),
        ('FROM x\nEXPOSE 1 2\nCMD ["a"]\n', "names several ports (1, 2)", "--port 1"),
        ("FROM x\nEXPOSE 1\n", "has no CMD", "--command"),
        ('FROM x\nEXPOSE 1\nENTRYPOINT ["a"]\n', "an ENTRYPOINT and no CMD", "--command"),
    ],
)
def test_what_nobody_says_is_asked_for(folder: Path, text: str, what: str, remedy: str) -> None:
    (folder / "Dockerfile").write_text(text)
    with pytest.raises(InputError) as raised:
        made(folder)
    assert what in raised.value.message
    assert remedy in raised.value.remedy


def test_a_file_that_is_no_dockerfile_is_refused_in_words(folder: Path) -> None:
    (folder / "Dockerfile").write_bytes(b"FROM \xff\xfe\n")
    with pytest.raises(InputError, match="Dockerfile cannot be read"):
        made(folder)


def test_names(tmp_path: Path) -> None:
    assert name_of(tmp_path / ("a" * 39 + "-" + "b" * 9)) == "a" * 39
    for text in ("...", "ÄÖ"):
        with pytest.raises(InputError, match="a name that is not valid for a service"):
            name_of(tmp_path / text)
    names = ("Dockerfile", "Dockerfile.gpu", "gpu.Dockerfile", "gpu.dockerfile")
    assert all(is_dockerfile(Path("x") / name) for name in names)
    assert not is_dockerfile(Path("Dockerfile/pipeline.toml"))


def test_options_that_were_used() -> None:
    every = {field.name: 1 for field in dataclasses.fields(Flags)}
    assert Flags(**every).given == [f"--{name}" for name in every]  # type: ignore[arg-type]
