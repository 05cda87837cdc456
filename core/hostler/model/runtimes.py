"""Differences between runtimes (Docker, process) that planner and daemon must know. Pure.

Code that needs a difference looks it up here, and never tests the name of a runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hostler.model.hosts import HostFacts, Look

RuntimeName = Literal["docker", "process"]
"""For type checkers of those who use the SDK."""


@dataclass(frozen=True, slots=True)
class Traits:
    """One runtime."""

    name: RuntimeName
    noun: str
    """What it starts, for people."""
    nouns: str
    folder: str
    """Where on a host lies what its workloads leave."""
    has_engine: bool
    """An engine on the host starts and lists its workloads; else the agent does, which also keeps
    their logs and refuses an older generation of a daemon."""
    limits_memory: bool
    """`ram` is a limit; else it only plans."""
    loses_gpus: bool
    """A host can cut the GPUs off from one that runs."""
    in_submitters_environment: bool
    """Its commands may use the environment of the submitter's shell."""
    sees_all_gpus: bool
    """What it starts could use GPUs of the host that it was not given."""
    shares_login: bool
    """What it starts sees whatever the login on the host may read."""
    never_root: bool
    """What it starts has system folders of its own, which it may not change: they are root's."""

    def unseen(self, look: Look) -> str | None:
        """Why a look does not show its workloads, so that absence proves nothing; None: it does."""
        return look.docker_problem if self.has_engine else None

    def gives_gpus(self, facts: HostFacts) -> bool:
        """Whether GPUs get into what is started on a host: containers need NVIDIA's toolkit or
        CDI."""
        return not self.has_engine or facts.docker_gpu is not None


_PROCESS = Traits(
    "process", "process", "processes", "/var/tmp/hostler", has_engine=False, limits_memory=False,
    loses_gpus=False, in_submitters_environment=True, sees_all_gpus=True, shares_login=True,
    never_root=False,
)  # fmt: skip
_DOCKER = Traits(
    "docker", "container", "containers", "/var/lib/docker", has_engine=True, limits_memory=True,
    loses_gpus=True, in_submitters_environment=False, sees_all_gpus=False, shares_login=False,
    never_root=True,
)  # fmt: skip
RUNTIMES: Mapping[str, Traits] = {traits.name: traits for traits in (_PROCESS, _DOCKER)}
"""Every runtime, by name."""
NAMES = tuple(sorted(RUNTIMES))
"""What pipeline.toml, config.toml and the reports of hosts may say."""


def traits_of(runtime: str) -> Traits:
    """What a runtime is like. An unknown name, in notes from a host, counts as a process: nothing
    of it is ever searched in an engine."""
    return RUNTIMES.get(runtime, _PROCESS)
