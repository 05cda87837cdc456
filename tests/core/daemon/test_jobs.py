from __future__ import annotations

from dataclasses import replace

import pytest

from hostler.base.errors import InputError
from hostler.daemon.jobs import build_job, container_name, image_digest, submitter_env
from hostler.daemon.mounted import check_mounts
from hostler.model.config import Config, HostConfig, MountConfig
from hostler.model.hosts import Gpu, Host, HostCondition, HostFacts, Look
from hostler.model.jobs import Job, Mount
from hostler.model.pipelines import Resources, Stage, StageKind
from hostler.model.runs import Attempt, Phase, Run, Source

DAEMON = "abcdef0123456789abcdef0123456789"
STAGE = Stage(
    name="train.0",
    base="train",
    kind=StageKind.TASK,
    command=("python", "train.py"),
    cell={"lr": 0.1, "big": True},
    env={"A": "stage", "B": "stage"},
    resources=Resources(gpus=1),
)
RUN = Run(
    run_id="r1",
    pipeline="digits",
    stages=(STAGE,),
    owner="ana",
    uid=1000,
    submitted_at=0.0,
    params={"batch-size": 32},
    env={"PATH": "/conda/bin:/usr/bin", "CONDA_PREFIX": "/conda", "SECRET_TOKEN": "x"},
)
ATTEMPT = Attempt(
    attempt_id="r1-train.0-1",
    run_id="r1",
    stage="train.0",
    number=1,
    phase=Phase.STARTING,
    host="gpu1",
    gpus=("GPU-b",),
    placed_at=0.0,
    runtime="process",
)
HOST = Host(
    name="gpu1",
    transport="ssh",
    condition=HostCondition.UP,
    since=0.0,
    look=Look(
        asked_at=0.0,
        boot_id="b",
        gpus=(Gpu(uuid="GPU-a", index=0), Gpu(uuid="GPU-b", index=1)),
    ),
    facts=HostFacts(uid=2000, gid=2001, groups=(2001, 998), user="ana", home="/home/ana"),
)


def job_of(stage: Stage = STAGE, run: Run = RUN, config: Config | None = None) -> Job:
    return build_job(run, stage, ATTEMPT, HOST, config or Config(), DAEMON, ())


def test_a_job_carries_the_attempts_gpus_by_uuid_and_by_todays_index() -> None:
    job = job_of()
    assert job.gpus == ("GPU-b",)
    assert job.gpu_indices == (1,)


def test_a_job_runs_as_the_login_of_that_host() -> None:
    job = job_of()
    assert (job.uid, job.gid, job.groups) == (2000, 2001, (2001, 998))
    assert (job.user, job.home) == ("ana", "/home/ana")


def test_the_name_is_the_same_so_that_a_repeat_is_a_conflict() -> None:
    assert (
        job_of().name == container_name(DAEMON, "r1-train.0-1") == "hostler-abcdef01-r1-train.0-1"
    )


def test_stage_wins_over_host_wins_over_lab() -> None:
    config = Config(
        hosts=(HostConfig(name="gpu1", env={"B": "host", "C": "host"}),),
        env={"A": "lab", "B": "lab", "C": "lab", "D": "lab"},
    )
    env = job_of(config=config).env
    assert {k: env[k] for k in "ABCD"} == {"A": "stage", "B": "stage", "C": "host", "D": "lab"}


def test_parameters_and_cell_are_variables_too() -> None:
    env = job_of().env
    assert env["HOSTLER_PARAM_BATCH_SIZE"] == "32"
    assert env["HOSTLER_MATRIX_LR"] == "0.1"
    assert env["HOSTLER_MATRIX_BIG"] == "true"
    assert env["HOSTLER_ATTEMPT_NUMBER"] == "1"


def test_run_stage_and_cell_are_named() -> None:
    env = job_of().env
    assert (env["HOSTLER_RUN_NAME"], env["HOSTLER_STAGE"]) == ("digits", "train.0")
    assert env["HOSTLER_CELL"] == "0"
    alone = job_of(replace(STAGE, name="train", cell={})).env
    assert alone["HOSTLER_STAGE"] == "train"
    assert "HOSTLER_CELL" not in alone


def test_only_what_makes_python_the_same_python_comes_from_the_submitters_shell() -> None:
    assert submitter_env(RUN.env) == {"PATH": "/conda/bin:/usr/bin", "CONDA_PREFIX": "/conda"}
    assert "PATH" in job_of().env
    docker = replace(STAGE, runtime="docker", image="x:1")
    assert "PATH" not in job_of(docker).env


def test_a_conda_environment_of_the_host_replaces_that_of_the_submitters_shell() -> None:
    run = replace(RUN, env={**RUN.env, "VIRTUAL_ENV": "/v", "LANG": "C.UTF-8"})
    env = job_of(replace(STAGE, conda="subt"), run=run).env
    assert env["LANG"] == "C.UTF-8"
    assert env.keys().isdisjoint({"PATH", "VIRTUAL_ENV", "CONDA_PREFIX"})
    made = job_of(replace(STAGE, conda="env.yml"), run=run)
    assert (made.conda, made.conda_file, "PATH" in made.env) == (None, "env.yml", False)
    job = job_of(replace(STAGE, modules=("cuda",)), run=run)
    assert (job.modules, job.env["PATH"]) == (("cuda",), "/conda/bin:/usr/bin")


def test_mounts_are_those_named_and_those_for_everybody() -> None:
    config = Config(
        mounts=(
            MountConfig(name="data", path="/data", default=True),
            MountConfig(name="scratch", path="/scratch", read_only=False),
            MountConfig(name="other", path="/other"),
        )
    )
    job = job_of(replace(STAGE, mounts=("scratch",)), config=config)
    assert [(m.path, m.read_only) for m in job.mounts] == [("/data", True), ("/scratch", False)]


def test_mounts_with_a_path_of_their_own_come_beside_those_for_everybody() -> None:
    config = Config(
        mounts=(
            MountConfig(name="data", path="/data", default=True),
            MountConfig(name="hf", path="/lab/hf", read_only=False),
        )
    )
    stage = replace(STAGE, mount_targets={"/cache": "hf", "/again": "hf", "/gone": "left"})
    assert job_of(stage, config=config).mounts == (
        Mount("/data"),
        Mount("/lab/hf", read_only=False, target="/cache"),
        Mount("/lab/hf", read_only=False, target="/again"),
    )


@pytest.mark.parametrize("target", ["/data", "/data/x", "/"])
def test_no_path_of_a_mount_is_in_the_way_of_one_for_everybody(target: str) -> None:
    config = Config(mounts=(MountConfig("data", "/data", default=True), MountConfig("hf", "/hf")))
    asked = replace(STAGE, mount_targets={target: "hf"})
    with pytest.raises(InputError, match="every stage gets /data"):
        check_mounts(config, [asked], None)
    check_mounts(config, [replace(asked, mount_targets={"/database": "hf", "/hf": "data"})], None)
    with pytest.raises(InputError, match="names mount 'left'"):
        check_mounts(config, [replace(asked, mount_targets={"/x": "left"})], None)


@pytest.mark.parametrize("target", ["/home/ana/x", "/home/ana/x/out", "/home"])
def test_no_path_of_a_mount_is_in_the_way_of_code_in_its_folder(target: str) -> None:
    config = Config(mounts=(MountConfig("hf", "/hf"),))
    asked = replace(STAGE, code="here", mount_targets={target: "hf"})
    with pytest.raises(InputError, match="its code is in /home/ana/x"):
        check_mounts(config, [asked], "/home/ana/x/")
    check_mounts(config, [replace(asked, code="snapshot")], "/home/ana/x")
    check_mounts(config, [replace(asked, mount_targets={"/home/ana/xy": "hf"})], "/home/ana/x")


def test_a_checkpoint_is_the_same_folder_for_every_retry_of_a_run() -> None:
    stage = replace(STAGE, checkpoint="ckpt")
    assert job_of(stage).checkpoint_key == "abcdef01-r1-train.0"
    retry = replace(RUN, run_id="r2", retry_of="r1")
    assert job_of(stage, retry).checkpoint_key == "abcdef01-r1-train.0"
    assert job_of().checkpoint_key is None


def test_code_here_is_the_submitters_folder() -> None:
    run = replace(RUN, source=Source(path="/home/ana/work"))
    assert job_of(replace(STAGE, code="here"), run).code_path == "/home/ana/work"
    assert job_of(STAGE, run).code_path is None


DIGEST = "sha256:" + "1" * 64


def _image_run(*known: str | None, kept: str | None = None, image: str = "lab/tool:1") -> Run:
    """Three stages in one image, with an attempt for each of `known`, and one in another."""
    names = ("a", "b", "c")
    stages = [replace(STAGE, name=name, image=image) for name in names]
    tries = tuple(
        replace(ATTEMPT, stage=name, image_digest=digest)
        for name, digest in zip(names, known, strict=False)
    )
    other = replace(STAGE, name="other", image="lab/other:1")
    before = {"other": replace(ATTEMPT, stage="other", image_digest=f"lab/other@{DIGEST}")}
    if kept is not None:
        before["c"] = replace(ATTEMPT, stage="c", image_digest=kept)
    return replace(RUN, stages=(*stages, other), attempts=tries, kept=before)


def test_a_runs_tag_means_what_it_meant_to_the_first_attempt() -> None:
    first, later = f"lab/tool@{DIGEST}", f"lab/tool@sha256:{'2' * 64}"
    run = _image_run(None, first, later)
    assert image_digest(run, run.stages[0]) == first
    job = build_job(run, run.stages[0], ATTEMPT, HOST, Config(), DAEMON, ())
    assert (job.image, job.image_digest) == ("lab/tool:1", first)
    assert image_digest(_image_run(None), run.stages[0]) is None  # nothing has started yet
    again = _image_run(later, kept=first)
    assert image_digest(again, again.stages[0]) == first  # what a retry keeps counts as well


def test_a_digest_is_taken_of_the_same_repository_only() -> None:
    for image, known, wanted in (
        ("lab/tool:1", DIGEST, None),  # an id: no registry knows it
        ("lab/tool:1", f"mirror.local/lab/tool@{DIGEST}", None),
        ("lab/tool:1", "lab/tool@sha256:12", None),
        ("r:5000/lab/tool", f"r:5000/lab/tool@{DIGEST}", f"r:5000/lab/tool@{DIGEST}"),
        ("busybox:1", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"lab/tool@{DIGEST}", f"lab/tool@sha256:{'2' * 64}", None),  # the person chose already
    ):
        run = _image_run(known, image=image)
        assert image_digest(run, run.stages[1]) == wanted
    process = replace(STAGE, name="p")
    assert image_digest(replace(RUN, stages=(process,), attempts=(ATTEMPT,)), process) is None


def test_folders_that_outputs_need_are_made() -> None:
    outputs = {"a": "out/", "b": "deep/er/file", "c": "top.txt", "d": "deep/er/"}
    job = job_of(replace(STAGE, outputs=outputs))
    assert job.make == ("deep/er", "out")
