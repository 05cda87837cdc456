"""Asks hosts at submission whether they already have a stage's image (20 images, 64 hosts at most),
so that the stage is placed there.

Asked once, when a run is submitted: it is a preference, and nothing depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hostler.base.errors import HostlerError
from hostler.daemon.context import Context
from hostler.decide.image_source import check_name
from hostler.decide.lifecycle import lifecycle_of
from hostler.model.pipelines import Stage
from hostler.model.runs import Run
from hostler.model.runtimes import traits_of

_MOST_IMAGES = 20
_MOST_HOSTS = 64


def _begins_with_image(stage: Stage) -> bool:
    """Whether the location of its base image matters: for a Dockerfile, for an image that is in no
    registry, and for a service."""
    image = stage.image or ""
    is_awaited = stage.service is not None and image != ""
    return lifecycle_of(stage).makes_image or image.startswith("sha256:") or is_awaited


async def note_near(context: Context, run: Run) -> None:
    """Ask which hosts have the base images of a run's stages, if nothing was planned for them
    yet."""
    open_runs = {each.run_id for each in context.run_cache.runs()}
    context.near = {key: at for key, at in context.near.items() if key[0] in open_runs}
    wanted = {s.name: s for s in run.stages if s.name not in run.kept and _begins_with_image(s)}
    if not wanted:
        return
    images = await asyncio.to_thread(_images, context, run, wanted.values())
    asked = sorted(set(images.values()))[:_MOST_IMAGES]
    found = dict(
        zip(asked, await asyncio.gather(*(_holders(context, i) for i in asked)), strict=True)
    )
    for name, image in images.items():
        if at := found.get(image):
            context.near[run.run_id, name] = at


def _images(context: Context, run: Run, stages: Iterable[Stage]) -> dict[str, str]:
    """Stage -> image. A file that cannot be read gives none: the build reports the cause."""
    # Only who builds reads Dockerfiles.
    from hostler.base.dockerfile import images_of
    from hostler.runtimes.docker.context import dockerfile_of

    texts: dict[tuple[str, str | None], str] = {}
    found: dict[str, str] = {}
    for stage in stages:
        try:
            if not lifecycle_of(stage).makes_image:
                check_name(stage.image or "")
                found[stage.name] = stage.image or ""
                continue
            place = stage.context, stage.dockerfile
            if place not in texts:
                if len(texts) >= _MOST_IMAGES:
                    continue
                texts[place] = ""
                archive = context.content.path(run.source.digest or "")
                texts[place] = dockerfile_of([("", archive)], *place)
            names = images_of(texts[place], stage.args)[:1]
            for name in names:
                check_name(name)
                found[stage.name] = name
        except HostlerError:
            continue
    return found


async def _holders(context: Context, image: str) -> frozenset[str]:
    monitors = context.monitors.items()
    names = [
        name
        for name, monitor in monitors
        if monitor.is_connected and any(traits_of(r).has_engine for r in monitor.host.runtimes)
    ]
    answers = await asyncio.gather(*(holds(context, n, image) for n in names[:_MOST_HOSTS]))
    return frozenset(name for name, has in zip(names, answers, strict=False) if has)


async def holds(context: Context, host: str, image: str) -> bool:
    """Whether a host reports that its Docker has an image."""
    try:
        async with asyncio.timeout(context.timings.image_near):
            return await context.builder.holds(context.link(host), image)
    except (HostlerError, TimeoutError):
        return False
