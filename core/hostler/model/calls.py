"""Who asks the daemon for something."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by the kernel's word (SO_PEERCRED)."""

    uid: int
    user: str
