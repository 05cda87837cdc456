"""The pipeline that a batch script means is read as one, and does what the header asked for."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.base.units import GIB, MIB
from hostler.model.pipelines import Cause, Pipeline
from hostler.sbatch.job import read_job
from hostler.sbatch.pipeline import Script, pipeline_of, text_of
from hostler.spec.pipeline import read_pipeline
from tests.support.worlds.hypothesis_profiles import examples


def script(name: str = "train.sbatch", code: str = "here", **env: str) -> Script:
    return Script(
        name=name,
        interpreter=("/bin/bash", "-l"),
        path=f"jobs/{name}",
        submit_dir="/home/ana/a {b}",
        code=code,
        env=env,
    )


def pipeline(*lines: str, made: Script | None = None, args: tuple[str, ...] = ()) -> Pipeline:
    job = read_job("\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines)]))
    return read_pipeline(text_of(pipeline_of(job, made or script(), {})), file="p.toml", args=args)


def test_a_header_becomes_a_stage() -> None:
    found = pipeline(
        "-J 'My Train' --gres=gpu:a100:2 --mem=16G -t 2:00:00 --requeue",
        "--ntasks=2 --cpus-per-task=4",
        args=("--name", "a b", "{params.x}", "{args}"),
    )
    (stage,) = found.stages
    assert (found.name, found.title) == ("my-train", "My Train")
    assert stage.command[4:] == (
        "/bin/bash", "-l", "jobs/train.sbatch", "--name", "a b", "{params.x}", "{args}",
    )  # fmt: skip
    assert (stage.resources.gpus, stage.resources.gpu_models) == (2, ("a100",))
    assert (stage.resources.cpus, stage.resources.ram) == (8, 16 * GIB)
    assert (stage.timeout, stage.code) == (7200.0, "here")
    assert Cause.HOST_LOST in stage.retries.on
    assert Cause.USER_ERROR not in stage.retries.on
    wanted = {
        "SLURM_JOB_NAME": "My Train",
        "SLURM_SUBMIT_DIR": "/home/ana/a {b}",
        "SLURM_NTASKS": "2",
        "SLURM_CPUS_PER_TASK": "4",
        "SLURM_CPUS_ON_NODE": "8",
        "SLURM_MEM_PER_NODE": "16384",
        "SLURM_GPUS_PER_NODE": "2",
    }
    assert {name: stage.env[name] for name in wanted} == wanted


def test_a_copy_of_the_code_is_the_folder_that_it_was_submitted_from() -> None:
    (stage,) = pipeline(made=script(code="snapshot")).stages
    assert "SLURM_SUBMIT_DIR" not in stage.env
    assert 'SLURM_SUBMIT_DIR="$HOSTLER_WORK"' in stage.command[2]


def test_tasks_of_an_array_are_cells() -> None:
    found = pipeline("--array=3,9,27%2")
    assert [stage.env["SLURM_ARRAY_TASK_ID"] for stage in found.stages] == ["3", "9", "27"]
    assert {stage.max_parallel for stage in found.stages} == {2}
    assert not any(stage.fail_fast for stage in found.stages)
    assert found.stages[0].env["SLURM_ARRAY_TASK_MAX"] == "27"


def test_a_wide_array_of_few_tasks_is_small() -> None:
    tracemalloc.start()
    try:
        pipeline_of(read_job("#!/bin/sh\n#SBATCH --array=0,2000000\n"), script(), {})
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    found = pipeline("--array=0,999999999")
    assert [stage.env["SLURM_ARRAY_TASK_ID"] for stage in found.stages] == ["0", "999999999"]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("-c 4", {}),
        ("-n 2", {"NTASKS": "2", "NPROCS": "2"}),
        ("--ntasks-per-node=4", {"NTASKS": "4", "NPROCS": "4", "NTASKS_PER_NODE": "4"}),
    ],
)
def test_variables_of_tasks_are_set_where_tasks_were_asked_for(
    line: str, wanted: dict[str, str]
) -> None:
    env = pipeline(line).stages[0].env
    names = ("NTASKS", "NPROCS", "NTASKS_PER_NODE")
    assert {name: env[f"SLURM_{name}"] for name in names if f"SLURM_{name}" in env} == wanted
    assert env["SLURM_TASKS_PER_NODE"] == wanted.get("NTASKS", "1")


@examples(50)
@given(st.text(max_size=40), st.text(st.characters(exclude_characters="\0"), max_size=40))
@example(" ", "")
def test_any_name_and_value_stays_what_it_is(name: str, value: str) -> None:
    value = "".join(char for char in value if char.isprintable())
    name = "".join(char for char in name if char.isprintable()) or "x"
    found = pipeline(made=script(name, VALUE=value))
    assert found.stages[0].env["VALUE"] == value
    assert found.stages[0].command[6] == f"jobs/{name}"


@examples(50)
@given(st.integers(0, 400), st.integers(0, 80), st.integers(1, 7))
def test_a_range_is_unfolded_as_it_was_written(first: int, more: int, step: int) -> None:
    found = pipeline(f"--array={first}-{first + more}:{step}")
    ids = [int(stage.env["SLURM_ARRAY_TASK_ID"]) for stage in found.stages]
    assert ids == [*range(first, first + more + 1, step)]


EXTREMES = [
    "-J " + "x" * 300, "-J '{matrix.task}'", "-J 'a\tb'", "--gpus=1024", "--gpus=0",
    "--gpus='a b':1", "--gres=gpu:" + "a" * 200, "-c 4096", "-n 4096", "--mem=1T", "--mem=1K",
    "--mem=1048576T", "-t 0:01", "-t 3660-0", "--array=0-99", "--array=999999999",
    "--array=1-3%999999999", "--array=0-999999999:500000000", "--requeue",
    "--signal=USR1", "--signal=B:10@65535", "--signal=R:TERM@0",
    "--mem-per-cpu=1T", "--ntasks-per-gpu=9", "--export=ALL,A={b},B=",
]  # fmt: skip


@examples(60)
@given(st.lists(st.sampled_from(EXTREMES), max_size=4))
def test_what_a_header_may_ask_for_is_a_pipeline_that_can_be_read(lines: list[str]) -> None:
    """So no error is about a file that nobody wrote."""
    text = "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines)])
    try:
        job = read_job(text)
    except InputError:
        return
    read_pipeline(text_of(pipeline_of(job, script(), {})), file="p.toml")


@examples(50)
@given(st.lists(st.sampled_from(["{a}", "{{", "}}", "{", "$", "x", "}"]), max_size=9).map("".join))
def test_braces_stay_what_they_are(value: str) -> None:
    assert pipeline(made=script(VALUE=value)).stages[0].env["VALUE"] == value


def test_modules_of_the_host_are_functions_of_a_script_that_calls_them() -> None:
    (calling,) = pipeline(made=replace(script(), calls_modules=True)).stages
    assert 'export BASH_ENV="$file"' in calling.command[2]
    assert "BASH_ENV" not in pipeline().stages[0].command[2]


def test_a_login_shell_keeps_the_commands_as_functions() -> None:
    assert "BASH_FUNC_" in pipeline().stages[0].command[2]
    plain = replace(script(), interpreter=("/bin/bash",))
    assert "BASH_FUNC_" not in pipeline(made=plain).stages[0].command[2]
    assert pipeline().stages[0].slurm_commands


def test_a_script_without_a_file_travels_as_text() -> None:
    made = replace(script(), path="", text="#!/bin/sh\necho {params.x} {args}\n")
    (stage,) = pipeline(made=made, args=("a b",)).stages
    assert stage.command[4:] == ("#!/bin/sh\necho {params.x} {args}\n", "a b")
    assert 'set -- /bin/bash -l "$script" "$@"' in stage.command[2]
