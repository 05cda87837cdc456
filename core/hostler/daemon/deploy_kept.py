"""Finds stages, such as image builds, that a release reuses from an earlier release with the same
code."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hostler.daemon.context import Context
from hostler.daemon.near_images import holds
from hostler.decide.again import origins_of, plan_retry, succeeded
from hostler.decide.lifecycle import lifecycle_of
from hostler.model.calls import Call, Caller
from hostler.model.runs import Attempt, Run


async def with_kept(context: Context, run: Run, of: Run | None, who: Caller) -> Run:
    """The run, with stages kept from an earlier release that succeeded there and would run again in
    the same way, mostly builds of images. So a release that changes only variables builds nothing.
    No stage is kept if the code differs, or if the image is gone everywhere."""
    if of is None or not _is_alike(run, of) or not context.rights.allows(who, Call.RERUN, of):
        return run
    known = {stage.name for stage in run.stages}
    gone = [name for name in await _images_gone(context, of) if name in known]
    made = await asyncio.to_thread(
        plan_retry, of, run.stages, run.params, gone, context.content.has
    )
    others = {stage.name for stage in run.stages if stage.service is None}
    kept = {name: attempt for name, attempt in made.kept.items() if name in others}
    run = replace(run, kept=kept)
    return replace(run, origins=origins_of(of, run))


def _is_alike(run: Run, of: Run) -> bool:
    """Whether a stage sees the same data of both runs. A folder that is not copied may have
    changed."""
    if run.source.digest is None or run.params != of.params:
        return False
    return run.source.digest == of.source.digest


async def _images_gone(context: Context, run: Run) -> list[str]:
    """Stages whose image is known to be missing on the daemon and on the host that built it."""
    builds = {s.name for s in run.stages if lifecycle_of(s).makes_image}
    made = [(name, attempt) for name, attempt in succeeded(run).items() if name in builds]
    there = await asyncio.gather(*(_is_there(context, attempt) for _, attempt in made))
    return [name for (name, _), is_there in zip(made, there, strict=True) if not is_there]


async def _is_there(context: Context, attempt: Attempt) -> bool:
    image, host = attempt.image_digest, attempt.host
    if image is None or image in context.images:
        return image is not None
    monitor = context.monitors.get(host)
    return monitor is not None and monitor.is_connected and await holds(context, host, image)
