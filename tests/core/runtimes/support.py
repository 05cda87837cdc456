"""Jobs and sinks that the tests of the runtimes share."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from hostler.model.jobs import Job
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler_agent.engine import raises_limits
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import IMAGE

shares_a_loop = pytest.mark.asyncio(loop_scope="module")
"""For files whose tests share an agent: all of them run in one event loop."""


class MemorySink:
    """A log sink that keeps all."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.position: Mapping[str, Any] = {}

    def append(self, data: bytes, position: Mapping[str, Any]) -> None:
        self.data += data
        self.position = dict(position)


def silent(what: str, done: int, total: int | None) -> None:
    """No progress wanted."""


async def see_that_the_id_counts(runtime: DockerRuntime, link: DirectLink, job: Job) -> None:
    """A container of an image that no registry knows goes by the image's id; it is removed."""
    ref = await runtime.create(link, job, silent)
    digest = await runtime.image_digest(link, ref)
    assert digest is not None
    assert digest.startswith("sha256:")
    found = await runtime.inspect(link, ref)
    assert found is not None
    await runtime.remove(link, found)


def may_raise_limits() -> bool:
    """Whether a Docker that these tests start may: it has their rights."""
    return raises_limits(struct.pack("3i", os.getpid(), 0, 0)) is not False


def make_job(line: str, **changes: Any) -> Job:
    attempt = f"run-{uuid.uuid4().hex[:8]}-1"
    values: dict[str, Any] = {
        "attempt_id": attempt,
        "daemon_id": "d" * 32,
        "run_id": "run",
        "stage": "stage",
        "owner": "anna",
        "host": "here",
        "name": f"hostler-dddddddd-{attempt}",
        "command": (line,),
        "shell": True,
        "env": {},
        "gpus": (),
        "image": IMAGE,
        "uid": 1234,
        "gid": 1235,
        "groups": (1300,),
        "user": "anna",
        "home": "/home/anna",
        "network": "none",
        "host_memory": 8 * 1024**3,
        "grace": 1.0,
        "raise_limits": may_raise_limits(),
    }
    return Job(**{**values, **changes})
