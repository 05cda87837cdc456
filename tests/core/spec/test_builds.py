"""Stages that build images, as pipeline.toml writes them."""

from __future__ import annotations

import pytest

from hostler.base.errors import PipelineError
from hostler.model.pipelines import Pipeline
from hostler.spec.pipeline import read_pipeline


def _read(text: str) -> Pipeline:
    return read_pipeline(f'name = "p"\n{text}', file="pipeline.toml")


def _problems(text: str) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        _read(text)
    return [f"{p.path}: {p.message} ({p.hint})" for p in caught.value.problems]


BUILD = '[stages.image]\nkind = "build"\n'
TRAIN = '[stages.train]\ncommand = "x"\nimage = "image"\n'


def test_a_build_and_the_stages_in_its_image() -> None:
    made = _read(
        f'{BUILD}context = "docker/gpu/"\ndockerfile = "gpu.Dockerfile"\ntarget = "run"\n'
        f'args = {{ VERSION = 1.5, NAME = "{{params.n}}" }}\nresources = {{ ram = "4GiB" }}\n'
        f'{TRAIN}[stages.test]\ncommand = "x"\nimage = "python:3.12"\n'
        '[params]\nn = "a"\n'
    )
    image, train, test = made.stages
    assert (image.runtime, image.command, image.resources.gpus) == ("docker", (), 0)
    assert (image.context, image.dockerfile, image.target) == (
        "docker/gpu",
        "gpu.Dockerfile",
        "run",
    )
    assert image.args == {"VERSION": "1.5", "NAME": "a"}
    assert (train.runtime, train.image, train.built_by, train.needs) == (
        "docker", "image", "image", ("image",),
    )  # fmt: skip
    assert (test.built_by, test.needs) == (None, ())


def test_what_is_inherited_and_means_nothing_for_a_build_is_left_out() -> None:
    made = _read(
        '[defaults]\nimage = "python:3"\nenv = { A = "1" }\nsecrets = ["TOKEN"]\n'
        'resources = { gpus = 2, gpu_memory = "24GiB", ram = "8GiB", labels = { rack = "a" } }\n'
        f"retries = 2\n{BUILD}{TRAIN}"
    )
    image, train = made.stages
    assert (image.image, image.env, image.secrets, image.resources.gpus) == (None, {}, (), 0)
    assert image.resources.ram == 8 * 2**30
    assert image.resources.labels == {"rack": "a"}
    assert image.retries.max == 2
    assert (train.resources.gpus, train.built_by) == (2, "image")


def test_a_stage_that_is_named_like_an_image_is_no_build() -> None:
    made = _read(
        '[stages.python]\ncommand = "x"\n[stages.train]\ncommand = "x"\nimage = "python"\n'
    )
    assert [stage.built_by for stage in made.stages] == [None, None]


def test_a_matrix_of_builds_and_its_cells() -> None:
    matrix = 'matrix = { cuda = ["11", "12"] }\n'
    build = f'{BUILD}{matrix}args = {{ CUDA = "{{matrix.cuda}}" }}\n'
    paired = _read(f'{build}[stages.train]\ncommand = "x"\nimage = "image.@"\n{matrix}')
    assert [s.built_by for s in paired.stages if s.base == "train"] == ["image.0", "image.1"]
    one = _read(f'{build}[stages.train]\ncommand = "x"\nimage = "image.1"\n')
    assert one.stages[-1].built_by == "image.1"
    assert one.stages[-1].needs == ("image.1",)
    (said,) = _problems(f"{build}{TRAIN}")
    assert said.startswith("stages.train.image: stage image builds 2 images (choose one: image.0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{BUILD}command = "x"', "stages.image.command: means nothing for a build"),
        (f"{BUILD}resources = {{ gpus = 1 }}", "stages.image.resources.gpus: means nothing"),
        (f'{BUILD}env = {{ A = "1" }}', "stages.image.env: means nothing for a build"),
        (f'{BUILD}secret_files = ["A"]', "stages.image.secret_files: means nothing for a build"),
        (f'{BUILD}code = "here"', "stages.image.code: means nothing for a build"),
        (f'{BUILD}context = "../other"', "should not contain .."),
        (f'{BUILD}context = "/etc"', "should be a folder of the source"),
        (f'{BUILD}dockerfile = "/etc/passwd"', "relative"),
        (f'{BUILD}target = "a b"', "is not the name of a stage in a Dockerfile"),
        (f'{BUILD}tag = "lab/train"', "is not a name for a built image"),
        (f'{BUILD}args = {{ BUILDKIT_CACHE_MOUNT_NS = "x" }}', "change the builder itself"),
        (f'{BUILD}args = {{ buildkit_syntax = "x" }}', "change the builder itself"),
        (f'{BUILD}args = {{ "a-b" = "x" }}', "is not the name of an ARG"),
        (f"{BUILD}args = {{ A = true }}", "A should be text"),
        ('[stages.a]\ncommand = "x"\ntarget = "y"', "stages.a.target: is for builds"),
        ('[stages.a]\ncommand = "x"\nbuild = "."', "`build` is a kind of stage"),
        ("[stages.a]\nneeds = []", "stages.a.command: is missing"),
        (f"{BUILD}{TRAIN}nested = true", "stages.train.image: cannot be an image that this run"),
        (f'{BUILD}needs = ["train"]\n{TRAIN}', "form a cycle"),
        (f'{BUILD}[stages.b]\ncommand = "x"\nimage = "image.3"', "image has no matrix"),
    ],
)
def test_what_is_wrong(text: str, said: str) -> None:
    found = _problems(text)
    assert any(said in each for each in found), found
