"""Builds the Job of an attempt: command, environment variables (which of the submitter's shell are
taken), image, mounts, container name; no I/O.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from hostler.daemon.mounted import mounts_of
from hostler.decide.again import variable_part
from hostler.decide.requeue import requeues
from hostler.model.config import Config
from hostler.model.environments import conda_file
from hostler.model.hosts import Host
from hostler.model.images import by_digest
from hostler.model.jobs import Job, Placement
from hostler.model.pipelines import Scalar, Stage
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.runtimes import traits_of
from hostler.model.time_limits import OnTimeout
from hostler.runtimes.command import relative
from hostler.sbatch.pipeline import NUMBERS
from hostler_agent.jobnumbers import job_number

_PROGRAM_PREFIXES = ("CONDA_",)
_PROGRAMS = ("PATH", "VIRTUAL_ENV")
_LANGUAGE = ("LANG", "LC_ALL", "TZ")


def build_job(
    run: Run,
    stage: Stage,
    attempt: Attempt,
    host: Host,
    config: Config,
    daemon_id: str,
    placements: tuple[Placement, ...],
) -> Job:
    """All data that `attempt` needs on `host`, as one value."""
    facts, file = host.facts, conda_file(stage.conda) if stage.conda is not None else None
    return Job(
        attempt_id=attempt.attempt_id,
        daemon_id=daemon_id,
        run_id=run.run_id,
        stage=stage.name,
        owner=run.owner,
        host=host.name,
        name=container_name(daemon_id, attempt.attempt_id),
        command=stage.command,
        shell=stage.shell,
        plain_shell=stage.plain_shell,
        slurm_commands=stage.slurm_commands or stage.nested,
        nested=stage.nested,
        slurm_output=stage.slurm_output,
        slurm_error=stage.slurm_error,
        env=stage_env(run, stage, attempt, config),
        gpus=attempt.gpus,
        gpu_indices=_indices(host, attempt),
        image=stage.image,
        image_digest=image_digest(run, stage),
        workdir=stage.workdir,
        placements=placements,
        mounts=mounts_of(stage, config) if config.mounts else (),
        cpus=stage.resources.cpus,
        ram=stage.resources.ram,
        shm=stage.resources.shm if stage.resources.shm is not None else config.docker.shm,
        uid=facts.uid,
        gid=facts.gid,
        groups=facts.groups,
        user=facts.user,
        home=facts.home,
        checkpoint=stage.checkpoint,
        make=folders_to_make(stage),
        checkpoint_key=checkpoint_key(daemon_id, run, stage) if stage.checkpoint else None,
        code_path=run.source.path if stage.code == "here" else None,
        venv=stage.venv,
        conda=None if file is not None else stage.conda,
        conda_file=file,
        modules=stage.modules,
        setup=stage.setup,
        setup_files=stage.setup_files,
        setup_timeout=stage.setup_timeout,
        grace=stage.grace,
        log_cap=config.limits.log_size,
        gpu_access=facts.docker_gpu,
        raise_limits=facts.docker_limits,
        host_memory=facts.memory_total,
        network=config.docker.network,
    )


def _indices(host: Host, attempt: Attempt) -> tuple[int, ...]:
    known = {gpu.uuid: gpu.index for gpu in host.look.gpus} if host.look else {}
    return tuple(known[uuid] for uuid in attempt.gpus if uuid in known)


def is_image_known(run: Run, stage: Stage) -> bool:
    """Whether the image of `stage` is known: there is none, the run has built it, it is named by
    its digest, or an attempt of the run has got it."""
    if stage.image is None or stage.built_by is not None or "@" in stage.image:
        return True
    return bool(images_got(run, stage.image))


def image_digest(run: Run, stage: Stage) -> str | None:
    """The image digest that `stage` must use: that of the first attempt of the run with this image,
    so that a tag that moves meanwhile does not affect the rest of the run.

    None if there is none yet, or if that image is in no registry. For an image that the run built:
    its id, which means the same on every host.
    """
    if stage.built_by is not None:
        build = build_of(run, stage.built_by)
        return None if build is None else build.image_digest
    if stage.image is None or "@" in stage.image:
        return None
    got = images_got(run, stage.image)
    return by_digest(stage.image, got[0]) if got else None


def with_built_image(run: Run, stage: Stage) -> Stage:
    """The stage for another run, which does not have the stage that builds its image: with the
    image itself."""
    if stage.built_by is None:
        return stage
    return replace(stage, image=image_digest(run, stage), built_by=None)


def build_of(run: Run, builder: str) -> Attempt | None:
    """The attempt that built the image of a stage of the run; None: not built yet."""
    done = [a for a in run.attempts if a.stage == builder and a.phase is Phase.SUCCEEDED]
    return done[-1] if done else run.kept.get(builder)


def images_got(run: Run, image: str) -> list[str]:
    """The digests that attempts of the run got for an image, the first one first."""
    images = {each.name: each.image for each in run.stages}
    return [
        attempt.image_digest
        for attempt in (*run.kept.values(), *run.attempts)
        if attempt.image_digest is not None and images.get(attempt.stage) == image
    ]


def folders_to_make(stage: Stage) -> tuple[str, ...]:
    """Folders that its outputs need before it starts: an output that ends in "/" itself, else the
    output's parent folder."""
    paths = (p if p.endswith("/") else posixpath.dirname(p) for p in stage.outputs.values())
    return tuple(sorted({found for path in paths if (found := relative(path))}))


def checkpoint_key(daemon_id: str, run: Run, stage: Stage) -> str:
    """The name of the checkpoint, which survives retries: the same for every retry of a run that
    does not restart the stage from the beginning, and unique to this daemon."""
    first = run.checkpoints.get(stage.name) or run.retry_of or run.run_id
    return f"{daemon_id[:8]}-{first}-{stage.name}"


def container_name(daemon_id: str, attempt_id: str) -> str:
    """The container's name: with it, a repeated create is a conflict instead of a second
    container."""
    return f"hostler-{daemon_id[:8]}-{attempt_id}"


def stage_env(run: Run, stage: Stage, attempt: Attempt, config: Config) -> dict[str, str]:
    """The environment of a stage: lab, then submitter, then stage, then Hostler's variables."""
    env = config.env_of(attempt.host)
    if traits_of(stage.runtime).in_submitters_environment:
        env |= submitter_env(run.env, own=stage.conda is None)
    env |= stage.env
    if stage.slurm_commands or stage.nested:
        env |= _numbers(run, stage)
    env |= {
        "HOSTLER_RUN": run.run_id,
        "HOSTLER_STAGE": stage.name,
        "HOSTLER_ATTEMPT": attempt.attempt_id,
        "HOSTLER_ATTEMPT_NUMBER": str(attempt.number),
        "HOSTLER_PIPELINE": run.pipeline,
        "HOSTLER_RUN_NAME": run.pipeline,
    }
    if stage.on_timeout is OnTimeout.REQUEUE:
        tries = [each for each in run.attempts if each.stage == stage.name]
        env["HOSTLER_REQUEUE_COUNT"] = str(requeues(tries))
    if stage.name != stage.base:
        env["HOSTLER_CELL"] = stage.name.removeprefix(f"{stage.base}.")
    env |= {f"HOSTLER_PARAM_{variable_part(k)}": _text(v) for k, v in run.params.items()}
    env |= {f"HOSTLER_MATRIX_{variable_part(k)}": _text(v) for k, v in stage.cell.items()}
    return env


def _numbers(run: Run, stage: Stage) -> dict[str, str]:
    """The Slurm job numbers: for a cell, its own and that of the whole array."""
    whole, (one, of_all) = job_number(run.run_id), NUMBERS
    if stage.name == stage.base:
        return {one: str(whole)}
    cell = stage.name.removeprefix(f"{stage.base}.")
    return {one: str(job_number(f"{run.run_id}/{cell}")), of_all: str(whole)}


def submitter_env(env: Mapping[str, str], *, own: bool = True) -> dict[str, str]:
    """The part of the submitting shell's environment that makes `python` the same `python`. Without
    `own`, the stage names an environment of the host, and only the shell's language variables
    stay."""
    return {
        key: value
        for key, value in env.items()
        if key in _LANGUAGE or (own and (key in _PROGRAMS or key.startswith(_PROGRAM_PREFIXES)))
    }


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
