"""Which GPUs a container was given, from Docker's inspect: device requests, CDI names, device
files, NVIDIA_VISIBLE_DEVICES. Pure."""

from __future__ import annotations

import re
from typing import Iterable, List, Sequence, Tuple

from hostler_agent.json_values import Json, Message, items, table, tables

ALL = "all"
"""A grant of every GPU of the machine."""
_CDI = "nvidia.com/gpu="
_MOST = 64
_NONE = ("", "void", "none")


def grants(inspect: Message, default_runtime: str = "") -> Tuple[str, ...]:
    """The grants as they are written: "all", an index, a UUID or the beginning of one.

    Device requests (of `--gpus` and CDI), plain device nodes, and NVIDIA_VISIBLE_DEVICES if the
    container runs under NVIDIA's runtime (named, or Docker's default).
    """
    host = table(inspect.get("HostConfig"))
    found: List[str] = []
    for request in tables(host.get("DeviceRequests")):
        found += _of_request(request)
    for device in tables(host.get("Devices")):
        found += _of_node(str(device.get("PathOnHost", "")))
    runtime = str(host.get("Runtime") or "") or default_runtime
    if "nvidia" in runtime:
        found += _of_environment(items(table(inspect.get("Config")).get("Env")))
    return tuple(dict.fromkeys(found))


def _of_request(request: Message) -> List[str]:
    driver = str(request.get("Driver") or "")
    ids = [str(item) for item in items(request.get("DeviceIDs"))]
    named = [item[len(_CDI) :] for item in ids if item.startswith(_CDI)]
    if driver == "cdi" or named:
        return named
    wanted = {str(c) for group in items(request.get("Capabilities")) for c in items(group)}
    if driver not in ("", "nvidia") or (not driver and not wanted & {"gpu", "nvidia"}):
        return []
    if ids:
        return ids
    count = request.get("Count")
    if not isinstance(count, int) or count < 0:
        return [ALL]
    return [str(index) for index in range(min(count, 64))]


def _of_node(path: str) -> List[str]:
    prefix = "/dev/nvidia"
    number = path[len(prefix) :] if path.startswith(prefix) else ""
    return [number] if number.isdigit() else []


def _of_environment(environment: Iterable[Json]) -> List[str]:
    for item in environment:
        name, _, value = str(item).partition("=")
        if name == "NVIDIA_VISIBLE_DEVICES" and value not in _NONE:
            return [part.strip() for part in value.split(",") if part.strip()]
    return []


def resolve(granted: Sequence[str], gpus: Sequence[Tuple[int, str]]) -> List[str]:
    """The UUIDs that grants mean on a machine with these (index, UUID) pairs.

    A UUID that the machine does not show now (a lost GPU) is kept as it is.
    """
    found: List[str] = []
    for grant in granted:
        if grant == ALL:
            found += [uuid for _, uuid in gpus]
            continue
        matching = [uuid for index, uuid in gpus if str(index) == grant or uuid.startswith(grant)]
        if grant.isdigit():
            matching = [uuid for index, uuid in gpus if str(index) == grant]
        elif not matching and re.fullmatch(r"GPU-[A-Za-z0-9-]{1,100}", grant):
            matching = [grant]
        found += matching
    return list(dict.fromkeys(found))[:_MOST]
