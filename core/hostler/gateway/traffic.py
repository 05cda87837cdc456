"""Adds up requests, failures and response times between two answers of the agent, which counts them
(`gatewaylog`). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hostler.model.traffic import Traffic
from hostler_agent.json_values import Message, integer, items, number, string, tables


@dataclass(frozen=True, slots=True)
class Counted:
    """An answer of the agent."""

    since: float
    """When the agent began to count: another time means that all begins at nothing again."""
    left_out: int
    """Requests of more servers than are counted."""
    servers: Mapping[tuple[str, str], Traffic]
    """By service and replica. "<NOSRV>" is a request that met none."""


def read_counts(answer: Message) -> Counted:
    """The answer to `gateway.log`, whose form was checked."""
    servers = {
        (string(each["service"]) or "", string(each["server"]) or ""): _read(each)
        for each in tables(answer["servers"])
    }
    left_out = integer(answer["left_out"]) or 0
    return Counted(number(answer["since"]) or 0.0, left_out, servers)


def news(before: Counted | None, now: Counted) -> dict[tuple[str, str], Traffic]:
    """What came between two answers. A reader that began anew has counted nothing before; so has
    a server whose count went down, or that was not in the answer before."""
    known = before.servers if before is not None and before.since == now.since else {}
    found = {}
    for key, traffic in now.servers.items():
        earlier = known.get(key)
        is_same = earlier is not None and earlier.requests <= traffic.requests
        new = traffic.minus(earlier) if is_same and earlier is not None else traffic
        if new.requests:
            found[key] = new
    return found


def _read(each: Message) -> Traffic:
    requests, failed, cut = (integer(each[name]) or 0 for name in ("requests", "failed", "cut"))
    return Traffic(requests, failed, cut, tuple(integer(n) or 0 for n in items(each["steps"])))
