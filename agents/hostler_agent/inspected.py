"""Turns Docker's inspect into a `Workload`: which labels and names make a container Hostler's, its
state, times, port and health check."""

from __future__ import annotations

import json
import re
from typing import Optional, Tuple

from hostler_agent.folders import is_identifier
from hostler_agent.json_values import Json, Message, items, number, table, tables
from hostler_agent.look_sections import Workload
from hostler_agent.probed import LOOPBACK, Probed
from hostler_agent.processes import Proc

ATTEMPT = "hostler.attempt"
DAEMON = "hostler.daemon"
SERVICE = "hostler.service"
"""The health check of a service, as JSON."""
PORT = "hostler.port"
ADDRESS = "hostler.address"
"""The address where it is published, if not on loopback."""
"""The port on which it listens inside."""
STARTED_UP = "hostler.started_up"
"""Added to Docker's own state: when its first process began, in seconds since boot."""
_UUID = re.compile(r"(?:GPU|MIG)-[A-Za-z0-9/-]{1,100}")
_MAX_TEXT = 4096
"""Limit of a text in characters: the daemon keeps no more."""
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def epoch(text: Json) -> Optional[float]:
    """Docker's time as seconds since 1970; None for its year 1, which means never."""
    match = _TIME.match(text) if isinstance(text, str) else None
    if match is None or int(match[1]) < 1970:
        return None
    import calendar

    parts = [int(part) for part in match.groups()[:6]]
    seconds = float(calendar.timegm((*parts, 0, 0, 0)))
    if match[8] != "Z":
        offset = int(match[8][1:3]) * 3600 + int(match[8][4:6]) * 60
        seconds -= offset if match[8][0] == "+" else -offset
    return seconds + float(match[7] or 0)


def state_of(inspect: Message) -> Message:
    """The state in an inspected container: whether and how it runs."""
    return table(inspect.get("State"))


def labels_of(inspect: Message) -> Message:
    """The labels of an inspected container."""
    return table(table(inspect.get("Config")).get("Labels"))


def is_ours(inspect: Message) -> bool:
    """Whether an inspected container was made by a Hostler: its name and its labels say the same.
    Labels alone prove nothing: any image may set them for all its containers.
    """
    labels = labels_of(inspect)
    attempt, daemon = labels.get(ATTEMPT), labels.get(DAEMON)
    if not is_identifier(attempt) or not is_identifier(daemon):
        return False
    name = str(inspect.get("Name") or "").lstrip("/")
    return name == "hostler-%s-%s" % (str(daemon)[:8], attempt)


def is_cut_off(state: Message) -> bool:
    """Whether the last health check found that the GPUs cannot be opened.

    Hostler gives its containers only this check. Any code but 1 comes from a check that could not
    run, as in an image without `test`, and means nothing.
    """
    health = table(state.get("Health"))
    checks = tables(health.get("Log"))
    return health.get("Status") == "unhealthy" and bool(checks) and checks[-1].get("ExitCode") == 1


def workload(inspect: Message) -> Optional[Workload]:
    """The `Workload` that an inspected container is; None for one that is not Hostler's."""
    if not is_ours(inspect) or not is_identifier(inspect.get("Id")):
        return None
    labels, state = labels_of(inspect), state_of(inspect)
    status = state.get("Status")
    running = status in ("running", "paused", "restarting")
    result: Workload = {
        "attempt_id": str(labels[ATTEMPT]), "daemon_id": str(labels[DAEMON]),
        "runtime": "docker", "ref": str(inspect["Id"]), "running": running,
        "gpus": [u for u in str(labels.get("hostler.gpus")).split(",") if _UUID.fullmatch(u)][:64],
    }  # fmt: skip
    if status == "created":
        result["created_only"] = True
    elif not running:
        code = state.get("ExitCode")
        result["exit_code"] = code if isinstance(code, int) else None
        result["finished_at"] = epoch(state.get("FinishedAt"))
    _add_details(result, labels, state, inspect)
    return result


def published(labels: Message, inspect: Message) -> Optional[Tuple[str, int]]:
    """Where the port of a service is published on this host: on loopback, or at its daemon's
    address."""
    wanted = labels.get(ADDRESS) or LOOPBACK
    ports = table(table(inspect.get("NetworkSettings")).get("Ports"))
    for one in tables(ports.get("%s/tcp" % labels.get(PORT))):
        text = str(one.get("HostPort"))
        if one.get("HostIp") == wanted and text.isdigit() and 0 < int(text) < 65536:
            return str(wanted), int(text)
    return None


def probed(inspect: Message, one: Workload) -> Optional[Probed]:
    """A running replica of a service, with its health check; None: it is not a replica."""
    label, port = labels_of(inspect).get(SERVICE), one.get("port")
    if port is None or not isinstance(label, str):
        return None
    try:
        spec = json.loads(label)
    except (ValueError, RecursionError):
        return None
    return Probed(
        one["attempt_id"], one["daemon_id"], one["ref"], port, table(spec), None,
        one.get("address", LOOPBACK),
    )  # fmt: skip


def _add_details(result: Workload, labels: Message, state: Message, inspect: Message) -> None:
    """Add the optional fields that have values."""
    started, up = epoch(state.get("StartedAt")), number(state.get(STARTED_UP))
    if started:
        result["started_at"] = started
    if up and result["running"]:
        result["started_up"] = up
    if state.get("OOMKilled"):
        result["oom_killed"] = True
    if is_cut_off(state):
        result["gpu_cut_off"] = True
    if state.get("Error"):
        result["error"] = str(state["Error"])[:_MAX_TEXT]
    if PORT in labels and result["running"] and (found := published(labels, inspect)):
        result["port"] = found[1]
        if found[0] != LOOPBACK:
            result["address"] = found[0]
    if labels.get("hostler.owner"):
        result["owner"] = str(labels["hostler.owner"])[:_MAX_TEXT]


def add_start(ref: str, found: Message, proc: Proc) -> None:
    """Add when the container's first process began, if /proc shows the same process. Docker reports
    the start only by the wall clock, which people change."""
    state = state_of(found)
    pid = state.get("Pid")
    if isinstance(pid, int) and pid > 0 and proc.container(pid) == ref:
        state[STARTED_UP] = proc.started_up(proc.start_ticks(pid))


def as_inspected(item: Message) -> Message:
    """Return a container of the list that has not started, in the form of an inspect."""
    names = [str(name) for name in items(item.get("Names")) if str(name).count("/") <= 1]
    return {
        "Id": item.get("Id"),
        "Name": names[0] if names else "",
        "Config": {"Labels": table(item.get("Labels"))},
        "State": {"Status": "created"},
    }
