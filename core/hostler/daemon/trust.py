"""What members of a shared daemon may not run: processes on the daemon's or gateway's machine,
secrets in processes, builds; each refusal with its remedy.

A process sees whatever its login may read: secrets of the others, the daemon's files on the
daemon's own machine, and the socket of the gateway on the gateway's. Containers do not, but in a
folder that their submission names (`code = "here"`).
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from hostler.base.errors import InputError
from hostler.decide.lifecycle import lifecycle_of
from hostler.decide.requests import sees_login
from hostler.model.calls import Caller
from hostler.model.config import Config
from hostler.model.hosts import Host, Look
from hostler.model.pipelines import Stage
from hostler.model.runtimes import traits_of
from hostler.model.services import Service

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TRUST = (
    'or, where all members trust each other, the daemon\'s owner writes processes = "trusted" '
    "under [policy]"
)


def is_guarded(config: Config) -> bool:
    """Whether users who may not trust each other run processes with one login."""
    return config.daemon.is_shared and config.policy.processes != "trusted"


def guarded(host: Host, config: Config, owner: Caller, gateway: Look | None = None) -> Host:
    """The host, with the users whose processes may run there. `gateway`: the look at the gateway's
    host."""
    if not is_guarded(config) or not (_is_here(host) or _is_gateway(host, config, gateway)):
        return host
    return replace(host, processes_of=frozenset({0, owner.uid}))


def check_shared(
    config: Config, hosts: Sequence[Host], caller: Caller, stages: Sequence[Stage]
) -> None:
    """Raises InputError for stages that a member of a shared daemon may not submit."""
    for stage in stages:
        check_secrets_of(config, stage)
        check_nested_of(config, stage)
        check_builds_of(config, stage)
    check_places(hosts, caller, stages)


def check_secrets_of(config: Config, stage: Stage) -> None:
    """Raises InputError for a process that takes secrets where others could read them."""
    if stage.named_secrets and traits_of(stage.runtime).shares_login and is_guarded(config):
        raise InputError(
            f"stage {stage.name} is a process and takes secrets: members of a shared daemon have "
            "one login on the hosts, so each could read those of the others",
            remedy=f"Run it in a container (image = ...); {TRUST}",
        )


def check_nested_of(config: Config, stage: Stage) -> None:
    """Raises InputError for a stage that may submit others if another member's process could submit
    in its name: requests are files that their common login can write."""
    if stage.nested and is_guarded(config):
        raise InputError(
            f"stage {stage.name} may submit other runs: members of a shared daemon have one login "
            "on the hosts, so the process of another one could submit them in your name",
            remedy=f"Submit them from outside, or use a daemon of your own; {TRUST}",
        )


def check_builds_of(config: Config, stage: Stage) -> None:
    """Raises InputError for a build if members of a shared daemon may not build: its commands run
    as root in containers that Hostler does not confine like those of stages."""
    sets_up = stage.setup is not None and stage.image is not None
    makes_image = sets_up or lifecycle_of(stage).makes_image
    if makes_image and config.daemon.is_shared and not config.docker.builds:
        how = " (setup beside image)" if sets_up else ""
        raise InputError(
            f"stage {stage.name} builds an image{how}, and this shared daemon builds no images",
            remedy="Name an image that exists, or ask the daemon's owner to write builds = true "
            "under [docker]",
        )


def check_services_of(config: Config, stage: Stage) -> None:
    """Raises InputError for a service that cannot be reached in its container, or whose address the
    gateway's operator does not allow."""
    if stage.service is None:
        return
    if stage.service.address:
        _check_address_of(config, stage.base, stage.service)
    network = config.docker.network
    if not traits_of(stage.runtime).has_engine or network is None:
        return
    if network in ("host", "none") or network.startswith("container:"):
        raise InputError(
            f"stage {stage.name} is a service in a container, whose port cannot be published in "
            f"the Docker network {network!r} of the daemon's config",
            remedy="Run it as a process (without `image`), or remove `network` under [docker]",
        )


def _check_address_of(config: Config, base: str, service: Service) -> None:
    from hostler.decide.addresses import address_in, rules_of  # few name one

    refused = rules_of(config, platform.node()).refusal(address_in(service, base))
    if refused is not None:
        raise InputError(f"stage {base}, address: {refused[0]}", remedy=refused[1])


def check_places(hosts: Sequence[Host], caller: Caller, stages: Iterable[Stage]) -> None:
    """Raises InputError for a member's stage that sees files of the login and can run only on the
    daemon's own machine. `hosts` are `guarded`."""
    for stage in stages:
        names = stage.resources.hosts
        asked = [h for h in hosts if not names or any(fnmatchcase(h.name, glob) for glob in names)]
        if sees_login(stage) and asked and not any(is_open_to(h, caller.uid) for h in asked):
            raise _on_own_machine(stage, ", ".join(host.name for host in asked))


def _on_own_machine(stage: Stage, listed: str) -> InputError:
    if traits_of(stage.runtime).shares_login:
        return InputError(
            f"stage {stage.name} is a process, and the processes of members never run on the "
            f"daemon's or the gateway's machine ({listed}), whose files they could read",
            remedy=f"Choose another host, or run it in a container (image = ...); {TRUST}",
        )
    return InputError(
        f'stage {stage.name} has code = "here", and containers of members never run in a folder of '
        f"the daemon's or the gateway's machine ({listed}), whose files they could read",
        remedy=f'Choose another host, or code = "snapshot"; {TRUST}',
    )


def is_open_to(host: Host, uid: int) -> bool:
    """Whether a stage that sees the login's files may run there for that user."""
    return host.processes_of is None or uid in host.processes_of


def _is_here(host: Host) -> bool:
    """Whether it is the daemon's own machine, with any transport."""
    if host.transport == "local":
        return True
    here = _boot_id()
    return bool(here) and host.look is not None and host.look.boot_id == here


def _is_gateway(host: Host, config: Config, gateway: Look | None) -> bool:
    """Whether it is the gateway's machine, under any name."""
    if host.name == config.gateway.host:
        return True
    return gateway is not None and host.look is not None and host.look.boot_id == gateway.boot_id


@functools.cache
def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
