"""Replaces image names given by `tag` of a build with image ids."""

from __future__ import annotations

from dataclasses import replace

from hostler.model.build_keys import is_tag
from hostler.model.pipelines import Stage
from hostler.store.database import Store


async def with_tagged(store: Store, uid: int, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages with the newest images that this user built under these names. Other names are
    names in a registry."""
    asked = {stage.image for stage in stages if stage.built_by is None and stage.image is not None}
    ids = {name: await store.tagged(uid, name) for name in asked if is_tag(name)}
    return tuple(_with_id(stage, ids.get(stage.image or "")) for stage in stages)


def _with_id(stage: Stage, image_id: str | None) -> Stage:
    if image_id is None or stage.built_by is not None:
        return stage
    return replace(stage, image=image_id)
