"""How the gateway reaches replicas on each host: loopback, the `ssh` command of its forwarder, or
an address on the LAN (`reach`). Pure.

Replicas listen on the loopback of their hosts. The gateway reaches those on its own host directly,
and others through OpenSSH of its own login (`hostler_agent.forwarder`). With `reach = "lan"`,
containers are published at an address of their host instead; the attempt has this address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hostler.model.config import Config, HostConfig
from hostler.model.gateway import Replica, ServerState, Through
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, Run
from hostler_agent.probed import LOOPBACK as LOOPBACK


@dataclass(frozen=True, slots=True)
class Reach:
    """The way to one host."""

    through: Through | None = None
    """None: it is the gateway's own host."""

    def server(self, attempt: Attempt, state: ServerState) -> Replica:
        """A replica on that host: at its own address if it is published, else at its host's
        loopback."""
        if attempt.address is not None:
            where = f"[{attempt.address}]" if ":" in attempt.address else attempt.address
            return Replica(attempt.attempt_id, f"{where}:{attempt.port}", state)
        address = f"{LOOPBACK}:{attempt.port}"
        return Replica(attempt.attempt_id, address, state, through=self.through)


Reaches = Mapping[str, Reach]
"""Host -> the way to it. The gateway does not reach hosts that are missing."""


def reaches(config: Config) -> dict[str, Reach]:
    """The ways to all hosts, by the configuration. Empty without a gateway."""
    gateway = config.host(config.gateway.host or "")
    if gateway is None:
        return {}
    is_here = gateway.transport == "local"
    found = {
        host.name: Reach(Through(host.name, ssh_words(host, is_here=is_here)))
        for host in config.hosts
        if host.reach != "none"
    }
    return found | {gateway.name: Reach()}


def ssh_words(host: HostConfig, *, is_here: bool) -> tuple[str, ...]:
    """The arguments of `ssh` from the gateway's host to another one, the destination last.
    `is_here`: it is the daemon's own machine. On other machines the daemon's key and jump host have
    no meaning."""
    words = ["-p", str(host.port)] if host.port is not None else []
    words += ["-l", host.user] if host.user else []
    if is_here and host.key:
        words += ["-i", str(Path(host.key).expanduser()), "-o", "IdentitiesOnly=yes"]
    if is_here and host.jump:
        words += ["-J", host.jump]
    return (*words, host.target)


def unreached(run: Run, hosts: Iterable[str], found: Reaches) -> str | None:
    """The first host on which replicas of a run may be placed, and which the gateway does not
    reach; None: there is none."""
    services = [stage for stage in run.stages if stage.service is not None]
    others = (name for name in hosts if name not in found)
    return next((name for name in others if any(_may_be_on(s, name) for s in services)), None)


def _may_be_on(stage: Stage, host: str) -> bool:
    globs = stage.resources.hosts
    return not globs or any(fnmatchcase(host, glob) for glob in globs)
