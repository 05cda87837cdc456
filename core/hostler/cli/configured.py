"""The hosts of the configuration, and hosts that people name on the command line."""

from __future__ import annotations

from collections.abc import Iterable

from hostler.daemon.config_file import load_config
from hostler.errors import InputError
from hostler.model.config import HostConfig, local_host
from hostler.units import expand_hosts


def expand(patterns: Iterable[str]) -> list[str]:
    """Host names from patterns like gpu[01-12], each once. Raises InputError."""
    names: dict[str, None] = {}
    for pattern in patterns:
        try:
            names |= dict.fromkeys(expand_hosts(pattern))
        except ValueError as error:
            raise InputError(str(error)) from None
    return list(names)


def named_host(name: str) -> HostConfig:
    """A host that only has a name: `local` is this machine, all others are reached by SSH."""
    return local_host() if name == "local" else HostConfig(name=name)


def configured_or_named(patterns: Iterable[str]) -> list[HostConfig]:
    """The hosts named, with what the configuration says of them; without names all of it.

    Raises ConfigError or InputError.
    """
    config = load_config()
    names = expand(patterns)
    if not names:
        return list(config.hosts)
    return [config.host(name) or named_host(name) for name in names]
