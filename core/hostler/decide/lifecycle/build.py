"""A stage of kind `build`: the keys that it may have; the daemon builds an image on the host and no
other workload runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from hostler.decide.lifecycle.task import Task

_COMMON = (
    "kind", "needs", "matrix", "when", "inputs", "retries", "timeout", "priority", "on_lost",
    "lost_after", "max_parallel", "fail_fast", "resources", "secrets",
)  # fmt: skip
_RESOURCES = ("cpus", "ram", "disk", "labels", "host")


class Build(Task):
    """See `Lifecycle` for what each answer means."""

    optional: Mapping[str, str] = {
        "context": 'context = "docker"',
        "dockerfile": 'dockerfile = "gpu.Dockerfile"',
        "target": 'target = "runtime"',
        "args": 'args = { VERSION = "1" }',
        "tag": 'tag = "train"',
    }
    takes = frozenset((*_COMMON, *optional, *(f"resources.{key}" for key in _RESOURCES)))
    inherits_not = frozenset({"secrets"})
    """Keys that not every builder can provide, or that users set for commands and may not mean for
    builds."""
    has_workload = False
    makes_image = True
    runtime = "docker"
