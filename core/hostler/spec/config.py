"""config.toml to a Config: the system's file first, then the person's over it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hostler.base.errors import ConfigError
from hostler.base.units import expand_hosts
from hostler.model.config import (
    Config,
    DaemonConfig,
    HostConfig,
    LimitsConfig,
    MountConfig,
    local_host,
)
from hostler.model.plans import Policy
from hostler.spec.config_tables import ConfigTable, HostTable
from hostler.spec.problems import Problems, shown
from hostler.spec.toml import load
from hostler.spec.validation import validate

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BY_KEY = ("daemon", "policy", "limits", "shared", "docker", "env", "mounts", "hosts")


def is_host_name(text: str) -> bool:
    """Whether a host may be called that in the file."""
    return _HOST.fullmatch(text) is not None


def read_config(text: str, *, file: str) -> Config:
    """What one file says. Raises ConfigError with every problem found."""
    return read_configs([(file, text)])


def read_configs(sources: Sequence[tuple[str, str]]) -> Config:
    """What several files, as (name, text), say together; a key in a later one wins.

    Each file is checked by itself first, so that a problem is told where it stands. No file at all
    is this machine alone. Raises ConfigError.
    """
    merged: dict[str, Any] = {}
    for file, text in sources:
        values = _checked(file, text)
        for key, value in values.items():
            both = key in _BY_KEY and isinstance(merged.get(key), dict)
            merged[key] = {**merged[key], **value} if both else value
    return _build(merged, Problems(" and ".join(file for file, _ in sources), ""))


def _checked(file: str, text: str) -> dict[str, Any]:
    values, problems = load(text, file, ConfigError)
    validate(ConfigTable, values, (), problems)
    _host_tables(values.get("hosts", {}), problems)
    problems.raise_any(ConfigError)
    return values


def _build(values: dict[str, Any], problems: Problems) -> Config:
    table = validate(ConfigTable, values, (), problems)
    hosts = _host_tables(values.get("hosts", {}), problems)
    problems.raise_any(ConfigError)
    assert table is not None  # else there was a problem
    return Config(
        hosts=tuple(_host(name, item) for name, item in hosts.items()) or (local_host(),),
        daemon=_daemon(table),
        policy=_policy(table),
        limits=LimitsConfig(**table.limits.model_dump()),
        mounts=tuple(
            MountConfig(name, item.path, item.mode == "ro", item.default)
            for name, item in table.mounts.items()
        ),
        shared_paths=tuple(dict.fromkeys(table.shared.paths)),
        env=table.env,
        docker_network=table.docker.network,
        docker_shm=table.docker.shm,
    )


def _daemon(table: ConfigTable) -> DaemonConfig:
    values = table.daemon.model_dump()
    people = {key: tuple(values[key]) for key in ("allow", "operators")}
    return DaemonConfig(**{**values, **people})


def _policy(table: ConfigTable) -> Policy:
    asked = table.policy
    return Policy(
        fresh_for=asked.fresh_for,
        memory_floor=asked.memory_floor,
        ignore=tuple(asked.ignore),
        release_patience=asked.release_patience,
    )


def _host_tables(value: Any, problems: Problems) -> dict[str, Mapping[str, Any]]:
    """Each host's own keys, in the order of the file; a plain name wins over a range with it."""
    if not isinstance(value, dict):
        return {}  # told by the model
    ranged: dict[str, Mapping[str, Any]] = {}
    plain: dict[str, Mapping[str, Any]] = {}
    origin: dict[str, str] = {}
    order: dict[str, None] = {}
    for pattern, keys in value.items():
        if not isinstance(keys, dict):
            continue  # told by the model
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
                f"{shown(name)} cannot name a host: begin with a letter or digit and go on with at "
                "most 62 of A-Z a-z 0-9 . _ -",
                "the name to connect to is `address`",
            )
            return ()
    return names


def _host(name: str, keys: Mapping[str, Any]) -> HostConfig:
    asked = HostTable.model_validate(keys)  # checked before, by pattern
    return HostConfig(
        name=name,
        transport=asked.transport,
        address=asked.address.replace("{name}", name) if asked.address else None,
        port=asked.port,
        user=asked.user,
        key=asked.key,
        jump=asked.jump,
        python=asked.python,
        labels=asked.labels,
        cpus=asked.cpus,
        ram=asked.ram,
        runtimes=tuple(asked.runtimes),
        docker_socket=asked.docker_socket,
        env=asked.env,
    )
