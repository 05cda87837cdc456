"""Reads config.toml into a Config: the system's file first, then the user's over it; its keys are
in `model.config`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from hostler.base.errors import ConfigError, InputError
from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import as_table, read_table
from hostler.base.text import shown
from hostler.base.units import expand_hosts
from hostler.model.config import Config, HostConfig, local_host
from hostler.spec.problems import Problems, validate
from hostler.spec.toml import load

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def is_host_name(text: str) -> bool:
    """Whether a host may have this name in the file."""
    return _HOST.fullmatch(text) is not None


def read_config(text: str, *, file: str) -> Config:
    """The config of one file. Raises ConfigError with every problem found."""
    return read_configs([(file, text)])


def read_configs(sources: Sequence[tuple[str, str]]) -> Config:
    """The combined config of several files, as (name, text); a key in a later file wins.

    Each file is checked separately first, so that a problem is reported at its place. No file at
    all means only this machine. Raises ConfigError.
    """
    merged: JsonTable = {}
    for file, text in sources:
        values = _checked(file, text)
        for key, value in values.items():
            merged[key] = {**as_table(merged.get(key, {})), **as_table(value)}
    return _build(merged, Problems(" and ".join(file for file, _ in sources), ""))


def _checked(file: str, text: str) -> JsonTable:
    values, problems = load(text, file, ConfigError)
    validate(Config, values, (), problems)
    _host_tables(values.get("hosts", {}), problems)
    problems.raise_any(ConfigError)
    return values


def _build(values: JsonTable, problems: Problems) -> Config:
    hosts = _host_tables(values.get("hosts", {}), problems)
    problems.raise_any(ConfigError)
    made = tuple(_host(name, keys) for name, keys in hosts.items())
    config = validate(Config, {**values, "hosts": {}}, (), problems)
    problems.raise_any(ConfigError)
    assert config is not None  # else there was a problem
    config = replace(config, hosts=made or (local_host(),))
    _check_reach(config, problems)
    if config.gateway.host is not None:
        _check_gateway(config, problems)
        problems.raise_any(ConfigError)
    return config


def _check_reach(config: Config, problems: Problems) -> None:
    """Check that each host that publishes services has an address for it, and that no other host
    has the same."""
    seen: dict[str, str] = {}
    for host in config.hosts:
        where = host.published_at
        if where is not None and where in seen:
            said = f"{host.name} has the lan_address of {seen[where]}"
            problems.add(("hosts",), said, "give each host its own")
        seen[where or ""] = host.name
        if host.reach == "lan" and host.lan_address is None:
            said = 'reach = "lan" needs the IP address at which services are published'
            hint = 'write lan_address = "10.0.0.12" there, or remove that line'
            problems.add(("hosts", host.name, "reach"), said, hint)
    problems.raise_any(ConfigError)


def _check_gateway(config: Config, problems: Problems) -> None:
    from hostler.decide.routes import entry_of  # few have a gateway

    host = config.gateway.host or ""
    if config.host(host) is None:
        known = ", ".join(each.name for each in config.hosts[:10])
        problems.add(("gateway", "host"), f"{shown(host)} is no host of the config", known)
    try:
        entry_of(config.gateway)
    except InputError as error:
        problems.add(("gateway",), error.message, error.remedy)


def _host_tables(value: Json, problems: Problems) -> dict[str, JsonTable]:
    """Each host's own keys, in the order of the file; a plain name wins over a range with it."""
    if not isinstance(value, dict):
        return {}  # told by the reader of the table
    ranged: dict[str, JsonTable] = {}
    plain: dict[str, JsonTable] = {}
    origin: dict[str, str] = {}
    order: dict[str, None] = {}
    for pattern, keys in value.items():
        if not isinstance(keys, dict):
            continue  # told by the reader of the table
        for name in _names(pattern, problems):
            order[name] = None
            if name == pattern:
                plain[name] = keys
            elif name in ranged:
                problems.add(
                    ("hosts", pattern), f"has {name}, which {shown(origin[name])} has as well"
                )
            else:
                ranged[name], origin[name] = keys, pattern
    return {name: {**ranged.get(name, {}), **plain.get(name, {})} for name in order}


def _names(pattern: str, problems: Problems) -> tuple[str, ...]:
    path = ("hosts", pattern)
    try:
        names = expand_hosts(pattern)
    except ValueError as error:
        problems.add(path, str(error))
        return ()
    for name in names:
        if not is_host_name(name):
            problems.add(
                path,
                f"{shown(name)} cannot name a host: start with a letter or digit, followed by at "
                "most 62 of A-Z a-z 0-9 . _ -",
                "the name to connect to is `address`",
            )
            return ()
    return names


def _host(name: str, keys: JsonTable) -> HostConfig:
    host = read_table(HostConfig, keys, name=name)  # checked before, by pattern
    return replace(host, address=host.address and host.address.replace("{name}", name))
