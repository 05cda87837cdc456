"""What the referee saw: every grant of GPUs to a container on any host, and every overlap.

The lines are written by hook.c, in the hosts, before a container with GPUs starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Overlap:
    """A GPU that was granted while another live container held it."""

    at: float
    host: str
    gpu: str
    container: str
    holder: str
    """The container that had it already."""


@dataclass(frozen=True, slots=True)
class Grant:
    """GPUs given, or refused, to a container at its start. `at` is this machine's clock."""

    at: float
    host: str
    container: str
    name: str
    pid: int
    """The container's first process, as its host numbers it."""
    gpus: tuple[str, ...]
    labels: Mapping[str, str]
    refused: str | None
    """Why the container did not start; None: it was given them."""
    overlaps: tuple[Overlap, ...]


def read(log: Path) -> list[Grant]:
    """All grants so far, oldest first."""
    if not log.exists():
        return []
    return [_grant(json.loads(line)) for line in log.read_text().splitlines() if line]


def _grant(line: dict[str, object]) -> Grant:
    at, host, container = float(str(line["at"])), str(line["host"]), str(line["container"])
    overlaps = line["overlaps"]
    gpus, labels = line["gpus"], line["labels"]
    assert isinstance(overlaps, list)
    assert isinstance(gpus, list)
    assert isinstance(labels, dict)
    refused = line["refused"]
    return Grant(
        at=at,
        host=host,
        container=container,
        name=str(line["name"]).removeprefix("/"),
        pid=int(str(line["pid"])),
        gpus=tuple(gpus),
        labels=labels,
        refused=None if refused is None else str(refused),
        overlaps=tuple(Overlap(at, host, o["gpu"], container, o["container"]) for o in overlaps),
    )


def overlaps(grants: Iterable[Grant]) -> list[Overlap]:
    """Every overlap among the grants: must be empty, whatever happened."""
    return [overlap for grant in grants for overlap in grant.overlaps]
