"""A Config to config.toml: what reads back to the same Config, every default included."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hostler.base.units import GIB, KIB, MIB, TIB
from hostler.model.config import Config, DaemonConfig, HostConfig, LimitsConfig, MountConfig
from hostler.model.plans import Policy

_SIZES = (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB))
_TIMES = (("d", 86400), ("h", 3600), ("m", 60))

Table = dict[str, Any]


def to_tables(config: Config) -> Table:
    """The tables of the file. What TOML cannot say (None) is left out, which means the same."""
    return {
        "hosts": {host.name: _host(host) for host in config.hosts},
        "daemon": _daemon(config.daemon),
        "policy": _policy(config.policy),
        "limits": _limits(config.limits),
        "mounts": {mount.name: _mount(mount) for mount in config.mounts},
        "shared": {"paths": list(config.shared_paths)},
        "docker": _docker(config),
        "env": dict(config.env),
    }


def _docker(config: Config) -> Table:
    shm = None if config.docker_shm is None else size_text(config.docker_shm)
    return _given({"network": config.docker_network, "shm": shm})


def _host(host: HostConfig) -> Table:
    return _given(
        {
            "transport": host.transport,
            "address": host.address,
            "port": host.port,
            "user": host.user,
            "key": host.key,
            "jump": host.jump,
            "python": host.python,
            "labels": dict(host.labels),
            "cpus": host.cpus,
            "ram": None if host.ram is None else size_text(host.ram),
            "runtimes": list(host.runtimes),
            "docker_socket": host.docker_socket,
            "env": dict(host.env),
        }
    )


def _daemon(daemon: DaemonConfig) -> Table:
    return _given(
        {
            "state": daemon.state,
            "socket": daemon.socket,
            "group": daemon.group,
            "allow": list(daemon.allow),
            "operators": list(daemon.operators),
            "look_interval": time_text(daemon.look_interval),
            "look_timeout": time_text(daemon.look_timeout),
            "connect_timeout": time_text(daemon.connect_timeout),
        }
    )


def _policy(policy: Policy) -> Table:
    return {
        "fresh_for": time_text(policy.fresh_for),
        "memory_floor": size_text(policy.memory_floor),
        "ignore": list(policy.ignore),
        "release_patience": time_text(policy.release_patience),
    }


def _limits(limits: LimitsConfig) -> Table:
    kept, store = limits.keep_history, limits.kept_in_store
    return {
        "source_size": size_text(limits.source_size),
        "source_file": size_text(limits.source_file),
        "output_size": size_text(limits.output_size),
        "log_size": size_text(limits.log_size),
        "keep_logs": time_text(limits.keep_logs),
        "keep_outputs": time_text(limits.keep_outputs),
        "keep_sources": time_text(limits.keep_sources),
        "keep_history": "forever" if kept is None else time_text(kept),
        "host_cache": size_text(limits.host_cache),
        "kept_files": size_text(limits.kept_files),
        "keep_jobs": time_text(limits.keep_jobs),
        "kept_on_host": size_text(limits.kept_on_host),
        "kept_in_store": "none" if store is None else size_text(store),
    }


def _mount(mount: MountConfig) -> Table:
    mode = "ro" if mount.read_only else "rw"
    return {"path": mount.path, "mode": mode, "default": mount.default}


def _given(values: Mapping[str, Any]) -> Table:
    return {key: value for key, value in values.items() if value is not None}


def size_text(size: int) -> str:
    """A size, exactly, in the largest unit that it is a whole number of: "20GiB"."""
    for unit, factor in _SIZES:
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def time_text(seconds: float) -> str:
    """A duration, exactly, in the largest unit that it is a whole number of: "90d", "0.25s"."""
    for unit, factor in _TIMES:
        if seconds and seconds % factor == 0:
            return f"{int(seconds // factor)}{unit}"
    text = format(Decimal(repr(float(seconds))), "f")
    return f"{text.removesuffix('.0')}s"
