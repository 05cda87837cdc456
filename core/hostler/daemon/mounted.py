"""Mounts of stages from [mounts]: refused at submission, or added to an attempt's job. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from hostler.base.errors import InputError
from hostler.base.mount_targets import clash
from hostler.model.config import Config
from hostler.model.jobs import Mount
from hostler.model.pipelines import Stage

_OTHER_PATH = "choose another path in `mounts`"


def check_mounts(config: Config, stages: Iterable[Stage], folder: str | None) -> None:
    """Raises InputError for a mount that is not in the config, and for one that overlaps the mounts
    of every stage, or the submitted `folder` if code runs in it."""
    known = {mount.name for mount in config.mounts}
    usual = [mount.path for mount in config.mounts if mount.default]
    for stage in stages:
        missing = next((name for name in stage.named_mounts if name not in known), None)
        if missing is not None:
            names = ", ".join(sorted(known)) or "none"
            raise InputError(
                f"stage {stage.name} names mount {missing!r}, which is not in the config",
                remedy=f"known mounts: {names}; add it under [mounts] in config.toml",
            )
        if (pair := clash(stage.mount_targets, usual)) is not None:
            raise InputError(
                f"stage {stage.name} mounts a folder at {pair[0]}, but every stage gets {pair[1]} "
                "by the config",
                remedy=_OTHER_PATH,
            )
        here = [posixpath.normpath(folder)] if folder and stage.code == "here" else []
        if (pair := clash(stage.mount_targets, here)) is not None:
            raise InputError(
                f"stage {stage.name} mounts a folder at {pair[0]}, and its code is in {pair[1]}",
                remedy=f'{_OTHER_PATH}, or set code = "snapshot"',
            )


def mounts_of(stage: Stage, config: Config) -> tuple[Mount, ...]:
    """The mounts that it names, and those of every stage. A mount that left the config is missing
    here, and no host has it: the stage is not placed."""
    named = {mount.name: mount for mount in config.mounts}
    wanted = [m for m in config.mounts if m.name in stage.mounts or m.default]
    placed = [(at, named[name]) for at, name in stage.mount_targets.items() if name in named]
    return (
        *(Mount(path=m.path, read_only=m.read_only) for m in wanted),
        *(Mount(path=m.path, read_only=m.read_only, target=at) for at, m in placed),
    )
