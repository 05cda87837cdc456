"""What a rollback needs of a release: its run, its code and its exact images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from hostler.base.errors import NotFoundError
from hostler.daemon.context import Context
from hostler.daemon.jobs import build_of, image_digest, images_got
from hostler.decide.releases.notes import targets
from hostler.model.images import StoredImage, is_id
from hostler.model.pipelines import Stage
from hostler.model.releases import Release, ReleaseState
from hostler.model.runs import Attempt, Run
from hostler.store.releases import Releases

_NEWEST = 100
"""Newest releases of a service that are considered."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """Images that stay for releases."""

    runs: frozenset[str] = frozenset()
    images: Mapping[str, str] = field(default_factory=dict)
    """An image's digest (64 hexadecimal digits) or name -> the releases that need it, like "web
    2"."""
    built: Mapping[str, str] = field(default_factory=dict)
    """Ids of images in no registry -> the stage that has built each."""

    def reason(self, image: StoredImage) -> str:
        """For which releases a stored image stays; "": for none."""
        names = (image.name, *sorted(image.ids))
        return ", ".join(dict.fromkeys(self.images[n] for n in names if n in self.images))


async def pinned(context: Context) -> Pinned:
    """The images of each service that must stay: those of its live release, of a release that is
    being deployed, and of the last releases, for a rollback. Raises StateError."""
    runs: set[str] = set()
    images: dict[str, str] = {}
    built: dict[str, str] = {}
    stored = Releases(*context.store.connections)
    for name in list(context.services):
        for release in needed(await stored.releases(name, _NEWEST)):
            runs.add(release.run_id)
            run = await _run(context, release.run_id)
            if run is not None:
                for image in images_of(run):
                    images.setdefault(image, f"{name} {release.number}")
                built |= built_by(run)
    return Pinned(frozenset(runs), images, built)


def needed(releases: Collection[Release]) -> list[Release]:
    """The releases that serve, may serve soon, or are available for a rollback."""
    serving = [r for r in releases if r.state is ReleaseState.LIVE or r.state.is_open]
    return [*serving, *targets(releases)]


async def _run(context: Context, run_id: str) -> Run | None:
    try:
        return context.run_cache.find(run_id) or await context.store.get_run(run_id)
    except NotFoundError:
        return None


def images_of(run: Run) -> Iterator[str]:
    """The digests (without "sha256:") and names of its stages' images."""
    for stage in run.stages:
        if stage.image is None:
            continue
        known = [image_digest(run, stage) or "", *images_got(run, stage.image)]
        known += [stage.image] if stage.built_by is None else []
        for each in known:
            _, colon, digest = each.rpartition("sha256:")
            yield from (part for part in (digest if colon else each,) if part)


def built_by(run: Run) -> Mapping[str, str]:
    """The ids of its images that are in no registry, because it or another user built them, each
    with its name for users."""
    found = {}
    for stage in run.stages:
        image = image_digest(run, stage) if stage.built_by is not None else same_image(run, stage)
        if image is not None and is_id(image):
            found[image] = stage.built_by or stage.image or image
    return found


def with_images_of(run: Run, old: Run, hosts: Collection[str], kept: Collection[str]) -> Run:
    """A new run of an old run's stages with exactly the images of the old run, even if their names
    mean others now: a built image is not built again while it is on one of the hosts, or kept
    here."""
    builds = {
        name: build
        for name in _builders(old.stages)
        if (build := build_of(old, name)) is not None and _is_there(build, hosts, kept)
    }
    stages = tuple(replace(stage, image=same_image(old, stage)) for stage in run.stages)
    return replace(run, stages=stages, kept={**run.kept, **builds})


def _builders(stages: Iterable[Stage]) -> list[str]:
    return list(dict.fromkeys(s.built_by for s in stages if s.built_by is not None))


def _is_there(build: Attempt, hosts: Collection[str], kept: Collection[str]) -> bool:
    return build.image_digest is not None and (build.host in hosts or build.image_digest in kept)


def same_image(run: Run, stage: Stage) -> str | None:
    """The image of a stage by its digest, if an attempt of the run has got it, or else by its
    name."""
    if stage.image is None or stage.built_by is not None:
        return stage.image
    got = images_got(run, stage.image)
    return image_digest(run, stage) or next((one for one in got[:1] if is_id(one)), stage.image)
