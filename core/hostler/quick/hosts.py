"""Reads host entries of config.toml quickly for `hostler gpus`, by tomllib alone, and decides
when the full reader is needed. Anything out of the ordinary is left to the full reader."""

from __future__ import annotations

from hostler.base.units import expand_hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from hostler.base.json_types import JsonTable

# Keys that say how a host is reached, with the type they must have to be taken as they are.
_TEXT = ("address", "user", "key", "jump", "python", "transport", "docker_socket")
_OTHER = {"port": int, "labels": dict, "cpus": int, "runtimes": list, "env": dict}
_PLAIN_TABLES = ("hosts", "daemon", "limits", "mounts", "shared", "docker", "env")


def read_hosts(texts: Iterable[str]) -> list[tuple[str, dict[str, Any]]] | None:
    """Name and keys of each host in all files together; as for the daemon, the later file wins;
    None: only the full reader can read them."""
    tables: dict[str, JsonTable] = {}
    for text in texts:
        own = _host_tables(text)
        if own is None:
            return None
        tables |= own
    found = []
    for pattern, keys in tables.items():
        try:
            names = expand_hosts(pattern)
        except ValueError:
            return None
        found.extend([(name, _filled(name, keys)) for name in names])
    names_seen = {name for name, _ in found}
    return found if len(names_seen) == len(found) else None


def _host_tables(text: str) -> dict[str, JsonTable] | None:
    """The tables below [hosts] of one file, by name or range; None if they are not plain."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    tables, daemon = document.get("hosts", {}), document.get("daemon", {})
    if not isinstance(daemon, dict) or "connect_timeout" in daemon:  # how long to wait for hosts
        return None
    if not isinstance(tables, dict) or any(key not in _PLAIN_TABLES for key in document):
        return None
    for keys in tables.values():
        if not isinstance(keys, dict) or not all(_is_plain(k, v) for k, v in keys.items()):
            return None
    return tables


def _is_plain(key: str, value: object) -> bool:
    if key in _TEXT:
        return isinstance(value, str) and value.isprintable() and value == value.strip() != ""
    wanted = _OTHER.get(key)
    return wanted is not None and isinstance(value, wanted) and not isinstance(value, bool)


def _filled(name: str, keys: JsonTable) -> dict[str, Any]:
    address = keys.get("address")
    if not isinstance(address, str):
        return dict(keys)
    return {**keys, "address": address.replace("{name}", name)}
