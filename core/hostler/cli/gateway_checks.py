"""The checks of `hostler doctor` on the gateway's host: whether HAProxy is there and usable, and
whether the login may forward to replicas on other hosts."""

from __future__ import annotations

import asyncio
import shlex

from hostler.base.errors import HostError
from hostler.decide.reach import Reach, reaches
from hostler.gateway.forwards import Way
from hostler.gateway.program import find
from hostler.link.agent_link import AgentLink
from hostler.model.check import Check
from hostler.model.config import Config

_LOGIN_S = 30.0


async def check_gateway_host(link: AgentLink, config: Config) -> list[Check]:
    """Checks over an open link to the gateway's host."""
    others = {name: reach for name, reach in reaches(config).items() if reach.through is not None}
    found = await asyncio.gather(
        _check_program(link, config.gateway.haproxy),
        *(_check_reach(link, name, reach) for name, reach in others.items()),
    )
    return list(found)


async def _check_program(link: AgentLink, named: str | None) -> Check:
    try:
        program = await find(link, named)
    except HostError as error:
        return Check("host.haproxy", "fail", error.message, error.remedy, link.host)
    version = ".".join(map(str, program.version))
    return Check("host.haproxy", "ok", f"version {version}, {program.path}", host=link.host)


async def _check_reach(link: AgentLink, name: str, reach: Reach) -> Check:
    """Whether the login there can forward to another host."""
    assert reach.through is not None
    try:
        answer = await link.call("gateway.reach", {"ssh": list(reach.through.ssh)}, _LOGIN_S)
    except HostError as error:
        return Check("host.reach", "fail", error.message, error.remedy, link.host)
    if not answer["why_not"]:
        return Check("host.reach", "ok", f"forwards by ssh to {name}", host=link.host)
    way = Way(name, "failed", answer["why_not"])
    return Check(
        "host.reach", "warn", f"the gateway does not reach replicas on {name}: {way.why_not}",
        way.remedy or f"try there: ssh {shlex.join(reach.through.ssh)} true", link.host,
    )  # fmt: skip
