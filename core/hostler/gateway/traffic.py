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
    """When the agent began to count: another time means that all counts restarted at 0."""
    left_out: int
    """Requests of servers beyond the counted number."""
    servers: Mapping[tuple[str, str], Traffic]
    """By service and replica. "<NOSRV>" counts requests that reached no server."""


def read_counts(answer: Message) -> Counted:
    """The answer to `gateway.log`, whose form was checked."""
    servers = {
        (string(each["service"]) or "", string(each["server"]) or ""): _read(each)
        for each in tables(answer["servers"])
    }
    left_out = integer(answer["left_out"]) or 0
    return Counted(number(answer["since"]) or 0.0, left_out, servers)


def news(before: Counted | None, now: Counted) -> dict[tuple[str, str], Traffic]:
    """The new counts between two answers. The earlier count is 0 for a restarted reader, for a
    server whose count went down, and for a server that was not in the earlier answer."""
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
