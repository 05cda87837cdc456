"""The generation of a daemon: each restore from a backup makes a new one, with a higher number."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 1
"""The generation of a daemon that was never restored."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The generation that a daemon reports to hosts, which refuse all except the highest number."""

    number: int
    mark: str
    """Signed with the daemon's key, in hex: no host can forge one."""
