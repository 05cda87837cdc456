"""What a right pipeline file becomes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from hostler.base.errors import PipelineError
from hostler.base.units import GIB
from hostler.model.codec import from_json, to_json
from hostler.model.environments import Environment
from hostler.model.pipelines import Cause, OnLost, Pipeline, Retries, Stage, StageKind
from hostler.spec.pipeline import command_pipeline, read_pipeline

DIGITS = """
name = "digits"
title = "The small one"
[params]
lr = 0.1
gpus = 4
tag = "a b"
[defaults]
image = "python:3.12-slim"
env = { PYTHONUNBUFFERED = "1", THREADS = 4 }
resources = { cpus = 2, gpu_memory = "24GiB" }
[stages.test]
command = "pytest -q 'a test'"
[stages.prepare]
matrix = { shard = [0, 1], kind = ["x", "y"] }
command = ["python", "prepare.py", "--shard", "{matrix.shard}", "{params.tag}-{matrix.kind}"]
outputs = { shard = "./out/" }
max_parallel = 2
fail_fast = false
[stages.train]
needs = ["test"]
resources = { gpus = "{params.gpus}", gpu_model = ["A100*", "H100*"], shm = "8GiB", ram = "64GiB" }
command = "train.py --lr {params.lr}"
inputs = { data = "prepare.shard" }
outputs = { model = "model/" }
checkpoint = "ckpt/"
timeout = "12h"
retries = { max = 2, on = ["gpu lost", "host lost"], backoff = "1m" }
on_lost = "restart"
lost_after = "30m"
env = { THREADS = "8" }
grace = "2m"
priority = -3
[stages.validate]
kind = "gate"
needs = ["train"]
when = "train.loss < 1 and params.lr > 0"
command = "python eval.py"
pass = "accuracy >= 0.95"
runtime = "process"
"""


def read(text: str, **params: str) -> Pipeline:
    return read_pipeline(text, file="pipeline.toml", params=params)


def stages(text: str, **params: str) -> dict[str, Stage]:
    return {stage.name: stage for stage in read('name = "t"\n' + text, **params).stages}


def test_the_whole_of_a_pipeline() -> None:
    pipeline = read(DIGITS, lr="0.5")
    assert (pipeline.name, pipeline.title) == ("digits", "The small one")
    assert pipeline.params == {"lr": 0.5, "gpus": 4, "tag": "a b"}
    assert [stage.name for stage in pipeline.stages] == [
        "test", "prepare.0", "prepare.1", "prepare.2", "prepare.3", "train", "validate",
    ]  # fmt: skip
    test, first, *_, train, validate = pipeline.stages
    assert test.command == ("pytest", "-q", "a test")
    assert test.resources.cpus == 2
    assert test.resources.gpu_memory is None, "a default size of GPUs asks for none"
    assert first.command == ("python", "prepare.py", "--shard", "0", "a b-x")
    assert first.label == "prepare.0 (shard=0, kind=x)"
    assert replace(first, cell={"deep": True}).label == "prepare.0 (deep=true)"
    assert (first.outputs, first.max_parallel, first.fail_fast) == ({"shard": "out/"}, 2, False)
    assert pipeline.stages[2].cell == {"shard": 0, "kind": "y"}, "the last key changes fastest"
    assert train.needs == ("test", "prepare.0", "prepare.1", "prepare.2", "prepare.3")
    assert train.inputs == {"data": tuple(f"prepare.{n}.shard" for n in range(4))}
    assert train.command == ("train.py", "--lr", "0.5")
    assert train.resources.gpus == 4
    assert train.resources.gpu_memory == 24 * GIB
    assert train.resources.gpu_models == ("A100*", "H100*")
    assert (train.resources.shm, train.resources.ram) == (8 * GIB, 64 * GIB)
    assert train.retries == Retries(2, (Cause.GPU_LOST, Cause.HOST_LOST), 60.0)
    assert (train.on_lost, train.lost_after, train.timeout) == (OnLost.RESTART, 1800.0, 43200.0)
    assert train.env == {"PYTHONUNBUFFERED": "1", "THREADS": "8"}
    assert (train.grace, train.priority, train.checkpoint) == (120.0, -3, "ckpt")
    assert (train.runtime, train.image) == ("docker", "python:3.12-slim")
    assert (validate.runtime, validate.image) == ("process", None)
    assert (validate.kind, validate.conditions) == (StageKind.GATE, ("accuracy >= 0.95",))
    assert validate.when == "train.loss < 1 and params.lr > 0"


def test_it_survives_being_stored() -> None:
    pipeline = read(DIGITS)
    assert from_json(Pipeline, to_json(pipeline)) == pipeline


def test_the_shortest_pipeline_has_the_defaults_of_the_model() -> None:
    (stage,) = stages('[stages.a]\ncommand = "x"').values()
    assert stage == Stage(name="a", base="a", kind=StageKind.TASK, command=("x",))


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        ('["a"]', ["a.0", "a.1", "a.2"]),
        ('["a.*"]', ["a.0", "a.1", "a.2"]),
        ('["a.1"]', ["a.1"]),
        ('["a.2", "a.0", "a.2"]', ["a.2", "a.0"]),
        ('"a.1"', ["a.1"]),
    ],
)
def test_needs_choose_cells(needs: str, found: list[str]) -> None:
    text = f'[stages.b]\ncommand="x"\nneeds={needs}\n'
    text += '[stages.a]\ncommand="x"\nmatrix={i=[1,2,3]}\n'
    assert list(stages(text)["b"].needs) == found


def test_pairs_by_the_matrix_keys_that_both_have() -> None:
    text = """
    [stages.train]
    command = "x"
    matrix = { seed = [1, 2], size = ["s", "l"] }
    outputs = { model = "m" }
    [stages.test]
    command = "x"
    matrix = { lang = ["en"], seed = [2, 1] }
    inputs = { model = "train.@.model" }
    when = "max(train.loss) < 1"
    """
    found = stages(text)
    assert found["test.0"].inputs == {"model": ("train.2.model", "train.3.model")}
    assert found["test.1"].needs == ("train.0", "train.1")
    assert found["train.0"].needs == ()


@pytest.mark.parametrize(
    ("needs", "inputs", "found", "ended"),
    [
        ('["a?"]', "", ["a.0", "a.1"], {"a.0", "a.1"}),
        ('["a.*?", "c"]', "", ["a.0", "a.1", "c"], {"a.0", "a.1"}),
        ('["a.1?", "a.0"]', "", ["a.1", "a.0"], {"a.1"}),
        ('["a?", "a.0"]', "", ["a.0", "a.1"], {"a.1"}),  # it has to succeed, too
        ('["a.0", "a?"]', "", ["a.0", "a.1"], {"a.1"}),
        ('["c?", "a?"]', 'inputs = { i = "c.o" }', ["c", "a.0", "a.1"], {"a.0", "a.1"}),
    ],
)
def test_a_question_mark_asks_for_the_end_only(
    needs: str, inputs: str, found: list[str], ended: set[str]
) -> None:
    text = f'[stages.b]\ncommand="x"\nneeds={needs}\n{inputs}\n'
    text += '[stages.a]\ncommand="x"\nmatrix={i=[1,2]}\n'
    text += '[stages.c]\ncommand="x"\noutputs={o="o"}\n'
    stage = stages(text)["b"]
    assert (list(stage.needs), set(stage.needs_ended)) == (found, ended)


def test_a_question_mark_pairs_cells_as_well() -> None:
    text = '[stages.a]\ncommand="x"\nmatrix={i=[1,2]}\n'
    text += '[stages.b]\ncommand="x"\nmatrix={i=[2,1]}\nneeds=["a.@?"]\n'
    assert stages(text)["b.0"].needs_ended == {"a.1"}


def test_matrix_without_pairing_is_all_to_all() -> None:
    text = '[stages.a]\ncommand="x"\nmatrix={i=[1,2]}\n'
    text += '[stages.b]\ncommand="x"\nmatrix={i=[1,2]}\nneeds=["a"]\n'
    assert stages(text)["b.1"].needs == ("a.0", "a.1")


def test_matrix_as_list_and_from_files() -> None:
    text = """name = "t"
    [params]
    folder = "data"
    [stages.a]
    command = "x {matrix.m} {matrix.n}"
    matrix = [{ m = "s", n = 1.5 }, { m = "l", n = true }]
    [stages.b]
    command = ["x", "{matrix.file}"]
    matrix = { file = { glob = "{params.folder}/*.csv" } }
    """
    asked: list[str] = []

    def glob(pattern: str) -> list[str]:
        asked.append(pattern)
        return ["data/b c.csv", "data/$(a).csv"]

    found = read_pipeline(text, file="t", glob=glob).stages
    assert [stage.command for stage in found] == [
        ("x", "s", "1.5"), ("x", "l", "true"), ("x", "data/$(a).csv"), ("x", "data/b c.csv"),
    ]  # fmt: skip
    assert asked == ["data/*.csv"]


@pytest.mark.parametrize(
    ("written", "argument"),
    [
        ("{params.x}", "1 2"),
        ("a{params.x}b{params.x}", "a1 2b1 2"),
        ("{{params.x}}", "{params.x}"),
        ("{{foo}}", "{foo}"),
        ("${params.x}", "${params.x}"),
        ("${HOME}", "${HOME}"),
        ("{print $1}", "{print $1}"),
        ("{}", "{}"),
        ('{"a":{"b":{params.n}}}', '{"a":{"b":3}}'),
        ("{{ jinja }}", "{{ jinja }}"),
        ("{params.t}", "true"),
        ("{params.evil}", "$(touch /tmp/pwn); `x` '\""),
    ],
)
def test_placeholders(written: str, argument: str) -> None:
    text = f"""name = "t"
    [params]
    x = "1 2"
    n = 3
    t = true
    evil = '''$(touch /tmp/pwn); `x` '"'''
    [stages.a]
    command = ["x", '''{written}''']
    env = {{ V = '''{written}''' }}
    """
    (stage,) = read(text).stages
    assert stage.command == ("x", argument)
    assert stage.env == {"V": argument}


def test_a_value_is_never_split_or_run() -> None:
    text = """
    [params]
    x = "a b; c"
    [stages.split]
    command = "run --x={params.x} 'q {params.x}'"
    [stages.line]
    shell = true
    command = "echo {params.x} | cat && echo ${HOME}"
    """
    found = stages(text)
    assert found["split"].command == ("run", "--x=a b; c", "q a b; c")
    assert found["line"].command == ("echo 'a b; c' | cat && echo ${HOME}",)
    assert found["line"].shell


def test_placeholders_become_numbers_where_numbers_are_wanted() -> None:
    text = """
    [params]
    n = 2
    c = 1.5
    f = false
    d = "90s"
    [stages.a]
    command = "x"
    matrix = { g = [1, 2] }
    retries = "{params.n}"
    fail_fast = "{params.f}"
    max_parallel = "{params.n}"
    timeout = "{params.d}"
    resources = { gpus = "{matrix.g}", cpus = "{params.c}" }
    """
    found = stages(text)
    assert [found[name].resources.gpus for name in ("a.0", "a.1")] == [1, 2]
    stage = found["a.1"]
    assert (stage.retries.max, stage.fail_fast, stage.max_parallel) == (2, False, 2)
    assert (stage.timeout, stage.resources.cpus) == (90.0, 1.5)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("0.1", "3e-5", 3e-5), ("0.1", "2", 2.0), ("1", "-7", -7), ('"s"', "1", "1"),
        ('"s"', "", ""), ("true", "no", False), ("false", "TRUE", True),
    ],
)  # fmt: skip
def test_given_parameters_take_the_kind_of_their_default(
    kind: str, given: str, value: object
) -> None:
    params = read(f'name="t"\n[params]\np={kind}\n[stages.a]\ncommand="x"', p=given).params
    assert params == {"p": value}
    assert type(params["p"]) is type(value)


def test_defaults_of_the_other_runtime_are_left_out() -> None:
    text = """
    [defaults]
    image = "base"
    [stages.proc]
    runtime = "process"
    command = "x"
    venv = "requirements.txt"
    [stages.cont]
    command = "x"
    """
    found = stages(text)
    assert (found["proc"].image, found["proc"].runtime) == (None, "process")
    assert (found["cont"].image, found["cont"].runtime) == ("base", "docker")
    text = '[defaults]\nruntime="process"\nvenv="r.txt"\n[stages.a]\ncommand="x"\nimage="i"\n'
    assert (stages(text)["a"].runtime, stages(text)["a"].venv) == ("docker", None)


def test_environments_of_the_host_are_named_by_a_stage_or_the_defaults() -> None:
    text = """
    [defaults]
    conda = "subt-2026"
    modules = ["gcc", "cuda/12.4", "gcc"]
    [stages.proc]
    command = "x"
    [stages.own]
    command = "x"
    venv = "r.txt"
    modules = []
    [stages.cont]
    command = "x"
    image = "i"
    [stages.path]
    command = "x"
    conda = "~/envs/a/"
    env = { MODULEPATH = "/apps/modules" }
    """
    found = stages(text)
    asked = {name: (one.conda, one.modules, one.venv) for name, one in found.items()}
    modules = ("gcc", "cuda/12.4")
    assert asked == {
        "proc": ("subt-2026", modules, None),
        "own": (None, (), "r.txt"),
        "cont": (None, (), None),
        "path": ("~/envs/a", modules, None),
    }
    assert found["proc"].environment == Environment("subt-2026", modules)
    assert (found["own"].environment, found["cont"].environment) == (None, None)
    assert found["path"].environment is None, "only the stage knows where to search"


READ_ALONE = """
import gc, json, sys
from hostler.spec.pipeline import read_pipeline
gc.disable()  # there is none: looking for it takes a third of the time
found = []
for text in json.load(sys.stdin):
    stages = read_pipeline(text, file="pipeline.toml").stages
    found.append([len(stages), list(stages[-1].needs)])
    del stages
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps([found, int(peak.split()[1])]))
"""


@pytest.mark.programs
def test_ten_thousand_stages_in_a_chain_and_in_a_matrix() -> None:
    """In a process of their own, which needs less than 300 MiB. How long that takes is measured by
    the bench."""
    chain = "".join(
        f'[stages.s{n}]\ncommand="x"\n' + (f'needs=["s{n - 1}"]\n' if n else "")
        for n in range(10_000)
    )
    numbers = ",".join(map(str, range(100)))
    matrix = f'[stages.a]\ncommand="x {{matrix.i}}"\nmatrix={{i=[{numbers}],j=[{numbers}]}}\n'
    texts = json.dumps(['name="t"\n' + stages for stages in (chain, matrix)])
    words = [sys.executable, "-c", READ_ALONE]
    said = subprocess.run(words, input=texts, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    found, kib = json.loads(said.stdout)
    assert found == [[10_000, ["s9998"]], [10_000, []]]
    assert kib < 300 * 1024, kib


def test_a_command_without_a_file() -> None:
    pipeline = command_pipeline(
        ["python", "x.py", "{params.x}", "a\nb", "$(x)"],
        gpus=2, gpu_memory="24GiB", gpu_model=["A100"], cpus=3, ram="1GiB", shm="1GiB",
        host=["gpu1"], env={"A": "{b}"}, timeout="1h", code="here", workdir="w", mounts=["data"],
        image="img", name="mine",
    )  # fmt: skip
    (stage,) = pipeline.stages
    assert (pipeline.name, stage.name) == ("mine", "run")
    assert stage.command == ("python", "x.py", "{params.x}", "a\nb", "$(x)")
    assert stage.env == {"A": "{b}"}
    assert (stage.resources.gpus, stage.resources.hosts) == (2, ("gpu1",))
    assert (stage.runtime, stage.code, stage.timeout) == ("docker", "here", 3600.0)
    line = command_pipeline(["a | b", "{c}"], shell=True).stages[0]
    assert (line.command, line.shell) == (("a | b {c}",), True)


def test_a_wrong_command_names_its_options() -> None:
    with pytest.raises(PipelineError) as caught:
        command_pipeline(["x", "\0"], gpu_memory="24", gpus=-1, env={"HOSTLER_RUN": "x"})
    assert {problem.path for problem in caught.value.problems} == {
        "command", "gpus", "gpu_memory", "env",
    }  # fmt: skip
    for command in ([], [""], ["\ud800"]):
        with pytest.raises(PipelineError):
            command_pipeline(command)


def test_a_shell_line_has_pipefail_unless_it_is_plain() -> None:
    text = """
name = "t"
[defaults]
shell = "plain"
[stages.a]
command = "x {params.y} | tee log"
[stages.b]
command = "x | tee log"
shell = true
[params]
y = "a b"
"""
    plain, strict = read_pipeline(text, file="p.toml").stages
    assert (plain.shell, plain.plain_shell, plain.command) == (True, True, ("x 'a b' | tee log",))
    assert (strict.shell, strict.plain_shell) == (True, False)
    assert command_pipeline(["a | b"], shell="plain").stages[0].plain_shell


def test_the_name_of_a_stage_is_a_placeholder() -> None:
    text = """
name = "t"
[stages.a]
command = ["x", "{stage.name}", "{{stage.name}}"]
[stages.m]
command = "x --out {stage.name}"
env = { NAME = "run-{stage.name}" }
matrix = { lr = [1, 2, 3] }
"""
    a, *cells = read_pipeline(text, file="p.toml").stages
    assert a.command == ("x", "a", "{stage.name}")
    assert [cell.command[-1] for cell in cells] == ["m.0", "m.1", "m.2"]
    assert [cell.env["NAME"] for cell in cells] == ["run-m.0", "run-m.1", "run-m.2"]


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("", None),
        ("keep = []", ()),
        ('keep = ["*.pt", "./runs/"]', ("*.pt", "runs")),
        ('keep = "*.pt"', ("*.pt",)),
    ],
)
def test_what_a_stage_keeps(text: str, keep: tuple[str, ...] | None) -> None:
    head = 'name = "p"\n[stages.a]\ncommand = "x"\n'
    (stage,) = read_pipeline(f"{head}{text}\n", file="p.toml").stages
    assert stage.keep == keep


def test_files_of_a_command_that_are_kept() -> None:
    assert command_pipeline(["x"]).stages[0].keep is None
    assert command_pipeline(["x"], keep=["*.pt"]).stages[0].keep == ("*.pt",)
    with pytest.raises(PipelineError, match="1 problem"):
        command_pipeline(["x"], keep=["/etc/passwd"])


def test_an_output_that_ends_in_a_slash_is_a_folder_to_be_made() -> None:
    head = 'name = "p"\n[stages.a]\ncommand = "x"\n'
    text = 'outputs = { a = "./out//", b = "x/y.txt", c = "z" }'
    (stage,) = read_pipeline(f"{head}{text}\n", file="p.toml").stages
    assert stage.outputs == {"a": "out/", "b": "x/y.txt", "c": "z"}


@pytest.mark.parametrize(
    ("resources", "gpus", "alternatives"),
    [
        ('gpu_model = ["L4:8", "A100:4"]', 8, ((8, ("L4",)), (4, ("A100",)))),
        ('gpu_model = "A100 80GB:2", gpu_memory = "40GiB"', 2, ((2, ("A100 80GB",)),)),
        ('gpus = 2, gpu_model = ["A100", "L4:4"]', 2, ((2, ("A100",)), (4, ("L4",)))),
        ('gpu_model = "L4:{params.n}"', 3, ((3, ("L4",)),)),
        ('gpus = 2, gpu_model = ["A100*", "H100"]', 2, ((2, ("A100*", "H100")),)),
    ],
)
def test_a_number_of_gpus_may_stand_with_the_model(
    resources: str, gpus: int, alternatives: tuple[object, ...]
) -> None:
    text = f'[stages.a]\ncommand="x"\nresources = {{ {resources} }}\n[params]\nn = 3\n'
    asked = stages(text)["a"].resources
    assert (asked.gpus, asked.alternatives) == (gpus, alternatives)


def test_a_command_may_have_it_too() -> None:
    asked = command_pipeline(["x"], gpu_model=["L4:8", "A100:4"]).stages[0].resources
    assert (asked.gpus, len(asked.alternatives)) == (8, 2)


def test_mounts_are_names_or_paths_in_a_container_with_names() -> None:
    found = stages(
        """
        [defaults]
        image = "i"
        mounts = { "/data" = "data" }
        [stages.a]
        command = "x"
        [stages.b]
        command = "x"
        mounts = ["data", "data"]
        [stages.c]
        command = "x"
        matrix = { of = ["hf", "lab"] }
        mounts = { "/root/.cache/huggingface" = "hf", "/usr/local/share/x" = "{matrix.of}" }
        """
    )
    assert (found["a"].mounts, found["a"].mount_targets) == ((), {"/data": "data"})
    assert (found["b"].mounts, found["b"].mount_targets) == (("data",), {})
    cells = [found["c.0"], found["c.1"]]
    assert [cell.mount_targets["/usr/local/share/x"] for cell in cells] == ["hf", "lab"]
    assert [cell.named_mounts for cell in cells] == [("hf",), ("hf", "lab")]
