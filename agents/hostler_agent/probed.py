"""A replica of a service as health checks see it: address, request, expected answer, and the text
for a port used by another user; `probes` does the checks."""

from __future__ import annotations

from typing import NamedTuple, Optional

from hostler_agent.json_values import Message

LOOPBACK = "127.0.0.1"
_FOREIGN = " is used by another user of the host (uid "


def foreign(port: int, uid: int) -> str:
    """The result of a check where another user's process listens at a replica's port."""
    return "port %d%s%d)" % (port, _FOREIGN, uid)


def is_foreign(said: str) -> bool:
    """Whether a check had this result."""
    return _FOREIGN in said


class Probed(NamedTuple):
    """A running replica."""

    attempt_id: str
    daemon_id: str
    ref: str
    port: int
    spec: Message
    """Its "health", and its "warmup" where it has one."""
    uid: Optional[int]
    """The user who must own the port; None: the engine owns it, and no other user can take it."""
    address: str = LOOPBACK
