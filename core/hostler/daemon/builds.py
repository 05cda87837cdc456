"""The work of a stage that builds an image: its job, the image's name on the host, what its end
means.
"""

from __future__ import annotations

from dataclasses import replace

from hostler.base.failpoints import failpoint
from hostler.daemon.inline_work import Done, Work
from hostler.daemon.placements import placements_of
from hostler.daemon.trust import check_builds_of
from hostler.model.builds import BuildJob, Built
from hostler.model.config import Config
from hostler.model.jobs import Placement
from hostler.model.pipelines import Cause, Stage
from hostler.model.runs import Attempt, Phase
from hostler.runtimes.docker.images.archive import names_of_built


async def build_image(work: Work) -> Done:
    """Have the image built on the host of the attempt. Raises HostError, InputError, StateError."""
    context, attempt = work.context, work.attempt
    check_builds_of(context.config, work.stage)
    run = context.run_cache.run(attempt.run_id)
    placements = placements_of(run, work.stage, context.content)
    job = build_job_of(
        work.stage, attempt, context.daemon_id, run.owner, context.config, placements
    )
    job = replace(job, secrets=work.secrets)
    failpoint("before_build")
    built = await context.builder.build(context.link(attempt.host), job, work.log, work.progress)
    failpoint("after_build")
    return done_by(built)


def build_job_of(
    stage: Stage,
    attempt: Attempt,
    daemon_id: str,
    owner: str,
    config: Config,
    placements: tuple[Placement, ...],
) -> BuildJob:
    """All data that the build needs, as one value."""
    return BuildJob(
        attempt_id=attempt.attempt_id,
        owner=owner,
        host=attempt.host,
        name=image_name(daemon_id, attempt.run_id, stage.name),
        placements=placements,
        context=stage.context,
        dockerfile=stage.dockerfile,
        target=stage.target,
        args=stage.args,
        cpus=stage.resources.cpus,
        ram=stage.resources.ram,
        network=config.docker.network,
    )


def image_name(daemon_id: str, run_id: str, stage: str) -> str:
    """The image's name on its host: reserved for Hostler, and never requested from a registry."""
    return f"{names_of_built(daemon_id)}{run_id}:{stage}"


def done_by(built: Built) -> Done:
    """The result of a build, from its end."""
    if built.image is not None:
        return Done((Phase.SUCCEEDED, None, ""), image_digest=built.image)
    return Done((Phase.FAILED, Cause.USER_ERROR, built.error), exit_code=built.exit_code)
