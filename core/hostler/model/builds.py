"""Builds of container images: the requirements of a stage of kind `build`, ready for a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.jobs import GivenSecret, Placement


@dataclass(frozen=True, slots=True)
class BuildJob:
    """One build on one host. Built by a pure function."""

    attempt_id: str
    owner: str
    host: str
    name: str
    """The name of the image there. It only protects the image from a clean-up: the image is used by
    its digest."""
    placements: tuple[Placement, ...]
    context: str = "."
    """Folder of the files, relative to the working folder."""
    dockerfile: str | None = None
    """Relative to the context; None: `Dockerfile`."""
    target: str | None = None
    """Stage of the Dockerfile; None: the last."""
    args: Mapping[str, str] = field(default_factory=dict)
    """Values of its `ARG`s."""
    cpus: float = 1.0
    """Its share when other work needs CPUs, too; alone it may use all."""
    ram: int | None = None
    secrets: tuple[GivenSecret, ...] = ()
    """Only its commands see them, and no layer holds them."""
    network: str | None = None
    """Docker network of its commands; None: the engine's default."""


@dataclass(frozen=True, slots=True)
class Built:
    """How a build ended."""

    image: str | None = None
    """`sha256:...` of its configuration, by which the host knows it; None: it failed."""
    exit_code: int | None = None
    """Of the command that failed."""
    error: str = ""
    """Why it failed, if the Dockerfile is the cause."""
