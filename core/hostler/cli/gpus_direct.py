"""Asks every host at once for `hostler gpus` without a daemon: how long it waits, and which
hosts are unreachable or refused. Starts and keeps nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hostler.base.errors import HostlerError, Refused
from hostler.base.paths import config_files
from hostler.base.text_file import read_text
from hostler.insight.gpu_states import fleet
from hostler.link.agent_start import program_for
from hostler.link.once import Seen, look_all
from hostler.local.door import LocalDoor
from hostler.model.config import Config, DaemonConfig, HostConfig, local_host
from hostler.model.hosts import Host, HostCondition
from hostler.model.views.gpus import FleetView
from hostler.ports import Door
from hostler.quick.hosts import read_hosts
from hostler.show.fleet import host_matches

SLOW_AFTER = 4
"""Hosts. With more of them, a note says what the command waits for."""

_CONNECTING = ("address", "port", "user", "key", "jump", "python", "transport", "docker_socket",
               "labels")  # fmt: skip


def look_direct(
    hosts: Sequence[str] = (),
    *,
    deadline: float = 3.0,
    say: Callable[[str], None] | None = None,
    config: Config | None = None,
) -> FleetView:
    """The `hostler.gpus/1` object with `source` "direct". Hosts that do not answer within
    `deadline` seconds (or a `connect_timeout` above its default), or refuse, are in it with the
    reason.

    Raises ConfigError where the configuration cannot be used.
    """
    settings = config or quick_config()
    chosen = [host for host in settings.hosts if host_matches(host.name, hosts)]
    if say is not None and len(chosen) >= SLOW_AFTER:
        say(f"asking {len(chosen)} hosts directly")
    patience = _patience(settings.daemon, deadline)
    seen = asyncio.run(_look(chosen, settings.daemon, patience))
    now = time.time()
    shown = [host_of(entry, seen[entry.name], now) for entry in chosen]
    return fleet(shown, now, settings.policy, source="direct")


def quick_config() -> Config:
    """The part of the configuration that connecting needs; uses the full reader only if necessary.

    Raises ConfigError.
    """
    existing = [name for name in config_files() if Path(name).exists()]
    if not existing:
        return Config()
    try:
        found = read_hosts([read_text(name) for name in existing])
    except (OSError, ValueError):
        found = None  # the full reader tells what is wrong
    if found is None:
        from hostler.daemon.config_file import load_config

        return load_config()
    entries = tuple(
        HostConfig(name=name, **{key: keys[key] for key in _CONNECTING if key in keys})
        for name, keys in found
    )
    return Config(hosts=entries or (local_host(),))


def _patience(config: DaemonConfig, deadline: float) -> float:
    """Seconds to wait for answers: longer if the configuration allows more time to connect."""
    longer = config.connect_timeout > DaemonConfig().connect_timeout
    return max(deadline, config.connect_timeout) if longer else deadline


async def _look(
    hosts: Sequence[HostConfig], config: DaemonConfig, deadline: float
) -> dict[str, Seen | HostlerError]:
    seen: dict[str, Seen | HostlerError] = {}
    alike: dict[tuple[str, str | None], list[HostConfig]] = {}
    for host in hosts:
        alike.setdefault((host.python, host.docker_socket), []).append(host)
    groups = [
        look_all(_doors(group, config), program_for(group[0]), deadline) for group in alike.values()
    ]
    for found in await asyncio.gather(*groups):
        seen |= found
    return seen


def _doors(hosts: Sequence[HostConfig], config: DaemonConfig) -> list[Door]:
    if all(host.transport == "local" for host in hosts):
        return [LocalDoor(host.name, host.docker_socket) for host in hosts]
    # Loads asyncssh: 200 ms, only where hosts are remote.
    from hostler.link.factory import Doors, ssh_settings

    doors = Doors(ssh_settings(config))
    return [doors.door(host) for host in hosts]


def host_of(config: HostConfig, seen: Seen | HostlerError, now: float) -> Host:
    """A host as the planner sees it, from one look or from the reason why there was none."""
    if isinstance(seen, HostlerError):
        condition = (
            HostCondition.REFUSED if isinstance(seen, Refused) else HostCondition.UNREACHABLE
        )
        return Host(
            name=config.name,
            transport=config.transport,
            condition=condition,
            since=now,
            problem=seen.told,
            labels=config.labels,
        )
    return Host(
        name=config.name,
        transport=config.transport,
        condition=HostCondition.UP,
        since=seen.look.asked_at,
        look=seen.look,
        facts=seen.hello.facts,
        labels=config.labels,
    )
