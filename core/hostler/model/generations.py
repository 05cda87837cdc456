"""The generation of a daemon: each restore from a backup makes a new one, with a higher number."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 1
"""Of a daemon that was never restored."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What a daemon says of itself to hosts, which refuse all but the highest number."""

    number: int
    mark: str
    """Signed with the daemon's key, in hex: no host can make one up."""
