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
"""For type checkers of SDK users."""


@dataclass(frozen=True, slots=True)
class Traits:
    """One runtime."""

    name: RuntimeName
    noun: str
    """The name of its workloads, for people."""
    nouns: str
    folder: str
    """The folder on a host with the files that its workloads leave."""
    has_engine: bool
    """An engine on the host starts and lists its workloads; else the agent does, which also keeps
    their logs and refuses an older generation of a daemon."""
    limits_memory: bool
    """`ram` is a limit; else it only plans."""
    loses_gpus: bool
    """A host can cut a running workload off from its GPUs."""
    in_submitters_environment: bool
    """Its commands may use the environment of the submitter's shell."""
    sees_all_gpus: bool
    """Its workloads could use GPUs of the host that they were not given."""
    shares_login: bool
    """Its workloads see all files that the login on the host may read."""
    never_root: bool
    """Its workloads have their own system folders, which they may not change: root owns them."""

    def unseen(self, look: Look) -> str | None:
        """Why a look does not show its workloads, so that absence proves nothing; None: it does."""
        return look.docker_problem if self.has_engine else None

    def gives_gpus(self, facts: HostFacts) -> bool:
        """Whether workloads on a host can get GPUs: containers need NVIDIA's toolkit or CDI."""
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
    """The traits of a runtime. An unknown name, in notes from a host, counts as a process: no
    engine is ever searched for it."""
    return RUNTIMES.get(runtime, _PROCESS)
