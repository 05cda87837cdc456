"""What a person reads before an unsigned run is believed: all that decides what would run."""

from __future__ import annotations

from hostler.cli.recover_view import unsigned_lines
from hostler.decide.recovery import Rebuilt
from hostler.model.pipelines import Stage, StageKind
from hostler.model.runs import Run


def test_the_folder_and_the_inputs_of_a_command_are_shown() -> None:
    stage = Stage(
        name="a",
        base="a",
        kind=StageKind.TASK,
        command=("./run.sh",),
        workdir="inputs/x",
        inputs={"x": ("prepare.data",)},
    )
    run = Run("r1", "nightly", (stage,), "ana", 1000, 0.0)
    _, line = unsigned_lines(Rebuilt(run, "", ("gpu1",), doubts=("gpu1: not signed",)))
    assert line == "  a, as a process, in inputs/x, takes prepare.data: ./run.sh"


def test_mounts_are_shown_with_the_path_inside() -> None:
    stage = Stage(
        name="a",
        base="a",
        kind=StageKind.TASK,
        command=("x",),
        runtime="docker",
        image="i:1",
        mounts=("lab",),
        mount_targets={"/out put": "data"},
    )
    run = Run("r1", "nightly", (stage,), "ana", 1000, 0.0)
    _, line = unsigned_lines(Rebuilt(run, "", ("gpu1",), doubts=("gpu1: not signed",)))
    assert line == "  a, in image i:1, mounts lab, data at '/out put': x"
