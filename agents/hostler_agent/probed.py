"""A replica of a service as health checks see it: address, request, expected answer, and the text
for a port used by another user; `probes` does the checks."""

from __future__ import annotations

from typing import NamedTuple, Optional

from hostler_agent.json_values import Message

LOOPBACK = "127.0.0.1"
_FOREIGN = " is used by another user of the host (uid "


def foreign(port: int, uid: int) -> str:
    """The result of a check if another user's process listens at the replica's port."""
    return "port %d%s%d)" % (port, _FOREIGN, uid)


def is_foreign(said: str) -> bool:
    """Whether a result is that of `foreign`."""
    return _FOREIGN in said


class Probed(NamedTuple):
    """A running replica of a service."""

    attempt_id: str
    daemon_id: str
    ref: str
    port: int
    spec: Message
    """The fields "health" and, if it has one, "warmup"."""
    uid: Optional[int]
    """The user who must own the listening process; None: the engine holds the port, so no other
    user can take it."""
    address: str = LOOPBACK
