"""Which configured hosts a command's arguments name: by name, range (gpu[01-12]), or
`user@name:port`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from hostler.base.errors import InputError
from hostler.base.units import expand_hosts
from hostler.daemon.config_file import load_config
from hostler.model.config import Config, HostConfig, local_host
from hostler.spec.config import is_host_name

_AS_SSH_TAKES_IT = re.compile(r"(?:([^@:/\s]+)@)?([^@:\s]+)(?::([0-9]{1,5}))?")


def expand(patterns: Iterable[str]) -> list[str]:
    """Host names from patterns like gpu[01-12], each once. Raises InputError."""
    names: dict[str, None] = {}
    for pattern in patterns:
        try:
            names |= dict.fromkeys(expand_hosts(pattern))
        except ValueError as error:
            raise InputError(
                str(error), remedy="Write a name, or a range like gpu[01-12]"
            ) from None
    return list(names)


def named_host(text: str) -> HostConfig:
    """A host as people name it: `local` is this machine, all others are `[user@]name[:port]`.

    Raises InputError for what cannot be one.
    """
    if text == "local":
        return local_host()
    match = _AS_SSH_TAKES_IT.fullmatch(text)
    if match is None or not is_host_name(match[2]) or not 0 < int(match[3] or 22) < 65536:
        raise InputError(
            f"{text!r} cannot name a host",
            remedy="Write a name that SSH knows, [user@]name[:port], or a range like gpu[01-12]",
        )
    return HostConfig(name=match[2], user=match[1], port=int(match[3]) if match[3] else None)


def configured_or_named(patterns: Iterable[str]) -> list[HostConfig]:
    """The named hosts, with their configuration; without names all configured hosts.

    Raises ConfigError or InputError.
    """
    config = load_config()
    names = expand(patterns)
    if not names:
        return list(config.hosts)
    return [config.host(name) or _as_configured(named_host(name), config) for name in names]


def _as_configured(named: HostConfig, config: Config) -> HostConfig:
    """`bo@gpu1` is the configured gpu1 with another login."""
    found = config.host(named.name)
    if found is None:
        return named
    return replace(found, user=named.user or found.user, port=named.port or found.port)
