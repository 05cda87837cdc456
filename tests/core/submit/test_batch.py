"""`hostler run SCRIPT` before anything is sent: what is refused, told and printed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import VERSION, Answer, ScriptedDaemon
from tests.support.values.run_objects import run

SCRIPT = "#!/bin/bash\n#SBATCH --gres=gpu:2\n"


@pytest.fixture(autouse=True)
def _here(daemon: ScriptedDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work/sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PWD", str(tmp_path / "work"))
    daemon.on("GET", "/v1/version", VERSION | {"local": True, "gpus": 2})
    daemon.on("POST", "/v1/runs", Answer(run(), 201))


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("#!/bin/sh\n#SBATCH -N 2\n", "", "a.sbatch: line 2: --nodes asks for 2 nodes"),
        ("#!/bin/sh\n#SBATCH --gpu=x --frob\n", "", "'--gpu=x' is no option of sbatch"),
        ("#!/bin/sh\n#SBATCH --array=0-999999\n", "", "more than 10,000 tasks"),
        ("#!/bin/sh\r\n#SBATCH -c 2\r\n", "", "line ends of Windows"),
        ("echo\n", "", "the first line of a batch script is #!"),
        ("#!/bin/sh\n#SBATCH -D nowhere\n", "", "--chdir=nowhere: there is no such folder"),
        ("#!/bin/sh\n#SBATCH -D /x/%j\n", "", "names with % are not supported"),
        (SCRIPT, "--each a.sbatch --color never", "--each does not work with a batch script"),
        (SCRIPT, "-p lr=1", "-p does not work with a batch script"),
        (SCRIPT, "--code none", "the script would not be there"),
    ],
)
def test_a_wrong_script_is_refused(
    daemon: ScriptedDaemon, hostler: CommandLine, text: str, words: str, told: str
) -> None:
    Path("a.sbatch").write_bytes(text.encode())
    ran = hostler("run", "-d", *words.split(), "a.sbatch")
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert daemon.requests("POST", "/v1/runs") == []


def test_a_wrong_option_is_named_by_itself_and_not_by_a_line_of_what_the_script_means(
    daemon: ScriptedDaemon, hostler: CommandLine
) -> None:
    problems = [
        {"path": "stages.run.env", "message": "'1' is not a variable name", "line": 27},
        {"path": "stages.run.resources.host", "message": "there is no host 'x'", "line": 41},
    ]
    refused = {"kind": "PipelineError", "message": "a.sbatch cannot be used: 2 problems"}
    error = {"error": {**refused, "remedy": "", "problems": problems}}
    daemon.on("POST", "/v1/plan", Answer(error, 400))
    Path("a.sbatch").write_text(SCRIPT)
    ran = hostler("run", "--plan", "--env", "1=2", "--host", "x", "a.sbatch")
    assert ran.code == 2
    assert "  env: '1' is not a variable name\n  host: there is no host 'x'\n" in ran.err
    assert "line" not in ran.err


def test_a_script_outside_of_the_copied_folder_is_refused(hostler: CommandLine) -> None:
    Path("../a.sbatch").write_text(SCRIPT)
    ran = hostler("run", "-d", "--code", "snapshot", "../a.sbatch")
    assert "../a.sbatch is outside of" in ran.err
    assert "cd " in ran.err
    assert hostler("run", "-d", "../a.sbatch").code == 0


def test_words_behind_what_is_no_script_are_refused_as_before(hostler: CommandLine) -> None:
    ran = hostler("run", "python3", "train.py")
    assert "'train.py' is an unexpected argument" in ran.err
    assert "hostler run -- python3 train.py" in ran.err
    ran = hostler("run", "train.sbatch", "--zzz", "1")
    assert "there is no option --zzz. Options of your own command or script follow --" in ran.err
    assert "--print needs a Slurm batch script" in hostler("run", "--print").err
    Path("x.py").write_text("print(1)\n")
    assert "`hostler run -- CMD a`" in hostler("run", "x.py", "a").err


def printed(hostler: CommandLine, *words: str) -> dict[str, object]:
    ran = hostler("run", "--print", *words)
    assert ran.code == 0
    stage: dict[str, object] = tomllib.loads(ran.out)["stages"]["run"]
    return stage


def test_options_replace_what_the_header_says(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    Path("a.sbatch").write_text(SCRIPT + "#SBATCH -t 10\n")
    words = (
        "--gpus",
        "1",
        "--model",
        "A100",
        "--time-limit",
        "2h",
        "--env",
        "A=b",
        "--name",
        "X y",
    )
    stage = printed(hostler, *words, "a.sbatch")
    assert stage["resources"] == {"cpus": 1, "gpus": 1, "gpu_model": ["A100"]}
    assert stage["timeout"] == "2h"
    env = stage["env"]
    assert isinstance(env, dict)
    assert (env["A"], env["SLURM_JOB_NAME"]) == ("b", "X y")
    assert daemon.requests("POST", "/v1/runs") == []


def test_it_starts_in_the_folder_that_chdir_names(hostler: CommandLine, tmp_path: Path) -> None:
    Path("a.sbatch").write_text("#!/bin/sh\n#SBATCH -D sub\n")
    stage = printed(hostler, "a.sbatch")
    assert stage["workdir"] == "sub"
    assert "../a.sbatch" in str(stage["command"])
    Path("a.sbatch").write_text(f"#!/bin/sh\n#SBATCH -D {tmp_path}\n")
    assert "work/a.sbatch" in str(printed(hostler, "a.sbatch")["command"])


def test_what_is_exported_and_waited_for_is_sent(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED", "7")
    Path("a.sbatch").write_text(
        "#!/bin/sh\n#SBATCH --export=SEED,UNSET,B=2 -d afterok:rab,afterany:rcd\n"
    )
    assert hostler("run", "-d", "--after", "ref", "a.sbatch", "x").code == 0
    body = daemon.requests("POST", "/v1/runs")[-1].json
    stage = tomllib.loads(body["pipeline"])["stages"]["run"]
    assert {name: stage["env"].get(name) for name in ("SEED", "B", "UNSET")} == {
        "SEED": "7", "B": "2", "UNSET": None,
    }  # fmt: skip
    assert (body["after"], body["after_any"]) == (["rab", "ref"], ["rcd"])
    assert (body["args"], body["file"]) == (["x"], "a.sbatch")
    assert "env" not in body


def test_what_is_not_provided_is_named(hostler: CommandLine) -> None:
    Path("a.sbatch").write_text(
        SCRIPT
        + "#SBATCH -p gpu -o /x.out --export=ALL,HF_TOKEN=abcdefgh\n# srun is not called here\n"
        "module load cuda\nMASTER=$(squeue --me)\necho scancel\nsbatch next.sh\n"
        "#SBATCH --gpus=9\nCUDA_VISIBLE_DEVICES=0 python3 train.py\n"
    )
    err = hostler("run", "-d", "a.sbatch").err
    assert "not used: partition, output\n" in err
    assert "the script calls squeue, sbatch, which work only with --nested" in err
    assert "line 9: #SBATCH behind the first command is ignored" in err
    assert "CUDA_VISIBLE_DEVICES=0 in a.sbatch counts all GPUs of the host" in err
    assert "HF_TOKEN" in err
    assert "abcdefgh" not in err
    assert hostler("run", "-d", "-q", "a.sbatch").err == ""
    assert "CUDA_VISIBLE_DEVICES" not in hostler("run", "-d", "a.sbatch").err, "told once"


def test_a_script_in_a_container_may_count_its_gpus(hostler: CommandLine) -> None:
    Path("a.sbatch").write_text(SCRIPT + "CUDA_VISIBLE_DEVICES=0 python3 train.py\n")
    assert "CUDA_VISIBLE_DEVICES" not in hostler("run", "-d", "--image", "x", "a.sbatch").err


def test_a_secret_goes_to_the_script(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_value")
    Path("a.sbatch").write_text(SCRIPT)
    assert hostler("run", "-d", "--secret", "HF_TOKEN", "a.sbatch").code == 0
    body = daemon.requests("POST", "/v1/runs")[-1].json
    assert tomllib.loads(body["pipeline"])["stages"]["run"]["secrets"] == ["HF_TOKEN"]
    assert body["secrets"] == {"HF_TOKEN": "hf_secret_value"}
    assert "hf_secret_value" not in body["pipeline"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "a.sbatch -- --key {value}"),
        ("", "--env KEY={value} a.sbatch"),
        ("--export=ALL,KEY={value}", "a.sbatch"),
        ("--export=ALL,HF_TOKEN", "a.sbatch"),
    ],
)
@pytest.mark.parametrize("value", ["hf_secret_value", 'hf_"{a.b}_value'])
def test_the_value_of_a_secret_in_what_is_kept_is_refused(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch,
    line: str, words: str, value: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", value)
    header = f"#SBATCH '{line.replace('{value}', value)}'\n" if line else ""
    Path("a.sbatch").write_text(SCRIPT + header)
    given = [word.replace("{value}", value) for word in words.split()]
    ran = hostler("run", "-d", "--secret", "HF_TOKEN", *given)
    assert ran.code == 2
    assert "the value of the secret HF_TOKEN is in the command" in ran.err
    assert daemon.requests("POST", "/v1/runs") == []


def test_variables_that_do_not_reach_the_script_are_named(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.on(
        "GET", "/v1/secrets", {"secrets": [{"name": n, "since": 1.0} for n in ("HF_TOKEN", "OLD")]}
    )
    for name in ("WANDB_API_KEY", "DATA", "OUT", "SEED", "EPOCHS"):
        monkeypatch.setenv(name, f"value-of-{name}")
    Path("a.sbatch").write_text(
        "#!/bin/sh\n#SBATCH --export=ALL,SEED\nOUT=x\n# $EPOCHS\n"
        "HF_HUB=1 python3 t.py $DATA ${OUT} $HOME $SLURM_JOB_ID $SEED\n"
        'wandb login "$WANDB_API_KEY"\nhf auth login --token $HF_TOKEN\n'
    )
    err = hostler("run", "-d", "a.sbatch").err
    assert "HF_TOKEN, WANDB_API_KEY, which it does not get: --secret HF_TOKEN --secret W" in err
    assert "the script uses DATA of your shell, which it does not get: --env DATA\n" in err
    assert "value-of" not in err
    words = ("--secret", "HF_TOKEN", "--secret", "WANDB_API_KEY", "--env", "DATA")
    assert hostler("run", "-d", *words, "a.sbatch").err == ""


def test_braces_in_env_stay_what_they_are(hostler: CommandLine) -> None:
    Path("a.sbatch").write_text(SCRIPT)
    env = printed(hostler, "--env", "FMT={a.b}", "a.sbatch")["env"]
    assert isinstance(env, dict)
    assert env["FMT"] == "{{a.b}}"


def test_small_letters_of_export_keep_the_environment(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    Path("a.sbatch").write_text(SCRIPT + "#SBATCH --export=all\n")
    assert hostler("run", "-d", "a.sbatch").code == 0
    assert "env" in daemon.requests("POST", "/v1/runs")[-1].json


PLACES = {
    "partitions": {"gpu": {"room": "b12"}, "long": {"room": "b12"}, "old": {"room": "c3"}},
    "features": {"ib": {"net": "ib"}, "c3": {"room": "c3"}},
}


@pytest.mark.parametrize(
    ("line", "labels", "told"),
    [
        ("-p gpu -C ib -A lab", {"room": "b12", "net": "ib"}, "not used: account"),
        ("-p gpu,long", {"room": "b12"}, ""),
        ("-p gpu,old", None, "not used: partition"),
        ("-p new -C 'ib&new'", None, "--constraint=ib&new is not used"),
        ("-C '[ib|new]'", None, "--constraint=[ib|new] is not used"),
    ],
)
def test_partitions_and_features_are_labels_of_the_daemons_config(
    hostler: CommandLine, daemon: ScriptedDaemon, line: str, labels: object, told: str
) -> None:
    daemon.on("GET", "/v1/version", VERSION | {"local": True, "slurm": PLACES})
    Path("a.sbatch").write_text(f"#!/bin/sh\n#SBATCH {line}\n")
    ran = hostler("run", "--print", "a.sbatch")
    assert tomllib.loads(ran.out)["stages"]["run"]["resources"].get("labels") == labels
    assert told in ran.err
    assert bool(told) == bool(ran.err)


@pytest.mark.parametrize(
    ("lines", "words", "file", "told"),
    [
        ("-o logs/%x_%j.out -e logs/%x_%j.out", "", "logs/%x_%j.out", ""),
        ("-o ./%j.out", "", "%j.out", ""),
        ("-o {here}/logs/%j.out", "", "logs/%j.out", ""),
        ("-D sub -o {here}/sub/%j.out", "", "%j.out", ""),
        ("-o a.out -e ../a.err", "", "a.out", "not used: error"),
        ("-o a.out -e ./a.out", "", "a.out", ""),
        ("-o ../a.out", "", None, "not used: output"),
        ("-o logs/", "", None, "not used: output"),
        ("-o /dev/null", "", None, "not used: output"),
        ("-o ../a.out -e ../a.out", "", None, "not used: output, error"),
        ("-o a.out -e a.err", "--image lab/x:1", None, "not used: output, error"),
        ("-o a.out", "--secret HF_TOKEN", None, "not used: output"),
        ("-o a.out", "--image lab/x:1", None, "not used: output"),
    ],
)
def test_the_file_of_the_log_lies_below_the_folder(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    lines: str, words: str, file: object, told: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", "hf_secret_value")
    here = str(tmp_path / "work")
    Path("a.sbatch").write_text(f"#!/bin/sh\n#SBATCH {lines.replace('{here}', here)}\n")
    ran = hostler("run", "--print", *words.split(), "a.sbatch")
    stage = tomllib.loads(ran.out)["stages"]["run"]
    assert (stage.get("slurm_output"), stage.get("slurm_error")) == (file, None)
    assert ran.err == (f"{told}\n" if told else "")


@pytest.mark.parametrize(("lines", "file"), [("-o a.out -e logs/%j.err", "a.out"),
                                             ("-e logs/%j.err", None)])  # fmt: skip
def test_errors_have_a_file_of_their_own_where_it_is_another(
    hostler: CommandLine, lines: str, file: object
) -> None:
    Path("a.sbatch").write_text(f"#!/bin/sh\n#SBATCH {lines}\n")
    ran = hostler("run", "--print", "a.sbatch")
    stage = tomllib.loads(ran.out)["stages"]["run"]
    assert (stage.get("slurm_output"), stage.get("slurm_error")) == (file, "logs/%j.err")
    assert ran.err == ""


def test_array_may_be_given_as_for_sbatch(hostler: CommandLine) -> None:
    Path("a.sbatch").write_text("#!/bin/sh\n#SBATCH --array=1-99\necho $SLURM_ARRAY_TASK_ID\n")
    ran = hostler("run", "--print", "--array", "3,7,11%2", "a.sbatch")
    assert ran.err == ""
    stage = tomllib.loads(ran.out)["stages"]["run"]
    assert stage["matrix"] == {"task": {"from": 3, "to": 11, "step": 4}} or stage["matrix"] == {
        "task": [3, 7, 11]
    }
    assert stage["max_parallel"] == 2


def test_what_slurm_of_a_site_would_give_is_named(hostler: CommandLine) -> None:
    Path("a.sbatch").write_text(
        "#!/bin/sh\n#SBATCH -A lab -p gpu --tmp=200G\ncp data $SLURM_TMPDIR/\n"
        "echo $SLURM_JOB_ACCOUNT ${SLURM_JOB_PARTITION} $SLURM_JOB_ID $SLURM_PROCID\n"
        "echo ${SLURM_LAUNCH_NODE_IPADDR:-none} $SLURM_ARRAY_TASK_ID\n"
        'srun -l \\\n  --container-image "$IMAGE" true\n'
    )
    ran = hostler("run", "--print", "a.sbatch")
    assert "uses SLURM_TMPDIR, which Hostler does not set: --env SLURM_TMPDIR=VALUE\n" in ran.err
    assert "srun starts no container here" in ran.err
    assert "uses SLURM_ARRAY_TASK_ID, and has no --array" in ran.err
    stage = tomllib.loads(ran.out)["stages"]["run"]
    assert stage["resources"]["disk"] == "204800MiB"
    assert (stage["env"]["SLURM_JOB_ACCOUNT"], stage["env"]["SLURM_JOB_PARTITION"]) == (
        "lab", "gpu",
    )  # fmt: skip
    ran = hostler("run", "--print", "--env", "SLURM_TMPDIR=/tmp", "a.sbatch")
    assert "SLURM_TMPDIR, which" not in ran.err


@pytest.mark.parametrize(
    ("line", "models"),
    [
        ("-G 1 -C a100", "a100"),
        (
            "-G 1 -C '[a6000|A100|rtx3090|a100-80gb|v100-32g]'",
            ["a6000", "A100", "3090", "a100 80gb", "v100 32gb"],
        ),
        ("-G 1 -C 'rtx5090|b300|gb200|l40s'", ["5090", "b300", "gb200", "l40s"]),
        ("-G v100:1 -C a100", "v100"),
        ("-G 1 -C gpu80", None),
        ("-C a100", None),
    ],
)
def test_features_that_are_called_like_gpus_are_models(
    hostler: CommandLine, line: str, models: object
) -> None:
    Path("a.sbatch").write_text(f"#!/bin/sh\n#SBATCH {line}\n")
    ran = hostler("run", "--print", "a.sbatch")
    assert tomllib.loads(ran.out)["stages"]["run"]["resources"].get("gpu_model") == models
    assert ("--constraint" in ran.err) == (models in ("v100", None))


def test_places_that_contradict_each_other_are_refused(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    daemon.on("GET", "/v1/version", VERSION | {"local": True, "slurm": PLACES})
    Path("a.sbatch").write_text("#!/bin/sh\n#SBATCH -p gpu -C c3\n")
    ran = hostler("run", "-d", "a.sbatch")
    assert ran.code == 2
    assert "--partition=gpu and --constraint=c3 ask for hosts with room=b12 and room=c3" in ran.err


def test_a_script_whose_name_begins_with_a_dash_is_no_option(hostler: CommandLine) -> None:
    Path("-x.sbatch").write_text(SCRIPT)
    command = printed(hostler, "./-x.sbatch")["command"]
    assert isinstance(command, list)
    assert command[-2:] == ["./-x.sbatch", "{args}"]
