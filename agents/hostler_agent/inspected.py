"""What Docker says of a container of Hostler's, as the `Workload` that it is."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, Optional

from hostler_agent.folders import is_identifier
from hostler_agent.processes import Proc

ATTEMPT = "hostler.attempt"
STARTED_UP = "hostler.started_up"
"""Beside Docker's own state: when its first process began, by the clock since boot."""
_UUID = re.compile(r"(?:GPU|MIG)-[A-Za-z0-9/-]{1,100}")
_MAX_TEXT = 4096
"""Characters that the daemon keeps of a text."""
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def epoch(text: Any) -> Optional[float]:
    """Docker's time as seconds since the epoch; None for its year 1, which means never."""
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


def is_ours(inspect: Mapping[str, Any]) -> bool:
    """Whether an inspected container was made by a Hostler: its name and its labels say the same.
    Anybody's image may bring such labels along, which then are those of each of its containers.
    """
    labels = (inspect.get("Config") or {}).get("Labels") or {}
    attempt, daemon = labels.get(ATTEMPT), labels.get("hostler.daemon")
    if not all(map(is_identifier, (attempt, daemon))):
        return False
    name = str(inspect.get("Name") or "").lstrip("/")
    return name == "hostler-%s-%s" % (str(daemon)[:8], attempt)


def is_cut_off(state: Mapping[str, Any]) -> bool:
    """Whether the last health check found the way to the GPUs closed.

    Hostler gives its containers that check and no other. Any code but 1 is of a check that could
    not be made, as in an image without `test`, and says nothing.
    """
    health = state.get("Health") or {}
    checks = health.get("Log") or []
    return health.get("Status") == "unhealthy" and bool(checks) and checks[-1].get("ExitCode") == 1


def workload(inspect: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """The `Workload` that an inspected container is; None for one that is not Hostler's."""
    if not is_ours(inspect) or not is_identifier(inspect.get("Id")):
        return None
    labels = inspect["Config"]["Labels"]
    attempt, daemon = labels[ATTEMPT], labels["hostler.daemon"]
    state = inspect.get("State") or {}
    status = state.get("Status")
    running = status in ("running", "paused", "restarting")
    result: Dict[str, Any] = {
        "attempt_id": attempt, "daemon_id": daemon, "runtime": "docker",
        "ref": inspect.get("Id", ""), "running": running,
        "gpus": [u for u in str(labels.get("hostler.gpus")).split(",") if _UUID.fullmatch(u)][:64],
    }  # fmt: skip
    if status == "created":
        result["created_only"] = True
    elif not running:
        result["exit_code"] = state.get("ExitCode")
        result["finished_at"] = epoch(state.get("FinishedAt"))
    more = {
        "started_at": epoch(state.get("StartedAt")),
        "started_up": state.get(STARTED_UP) if running else None,
        "oom_killed": bool(state.get("OOMKilled")),
        "gpu_cut_off": is_cut_off(state),
        "error": str(state.get("Error") or "")[:_MAX_TEXT] or None,
        "owner": str(labels.get("hostler.owner") or "")[:_MAX_TEXT] or None,
    }
    result.update({key: value for key, value in more.items() if value})
    return result


def add_start(ref: str, found: Dict[str, Any], proc: Proc) -> None:
    """Add when the container's first process began, if /proc shows that very process: Docker tells
    its start by the wall clock alone, which people set."""
    state = found.get("State")
    pid = state.get("Pid") if isinstance(state, dict) else None
    if not isinstance(pid, int) or pid <= 0 or not isinstance(state, dict):
        return
    if proc.container(pid) == ref:
        state[STARTED_UP] = proc.started_up(proc.start_ticks(pid))


def as_inspected(item: Dict[str, Any]) -> Dict[str, Any]:
    """What an inspect would say of a created container that the list shows."""
    labels = item.get("Labels")
    names = [str(name) for name in item.get("Names") or () if str(name).count("/") <= 1]
    return {
        "Id": item.get("Id"),
        "Name": names[0] if names else "",
        "Config": {"Labels": labels if isinstance(labels, dict) else {}},
        "State": {"Status": "created"},
    }
