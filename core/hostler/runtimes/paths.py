"""What the agent says of paths on its host, seen with the rights of its login."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.ports import HostLink
from hostler_agent.json_values import Message

_TIMEOUT_S = 30.0
"""A path may have to be mounted first, or lie on a file server that is slow."""


async def stat_paths(link: HostLink, paths: Sequence[str]) -> dict[str, Message]:
    """Path -> what is there: `exists`, `is_dir`, `shared`, ... Raises Unreachable, AgentError."""
    answer = await link.call("stat", {"paths": list(paths)}, timeout=_TIMEOUT_S)
    return {item["path"]: item for item in answer["paths"]}
