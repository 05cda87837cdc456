"""What a check of a host or of this machine found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `state`: "ok", "warn", "fail" or "skip"."""

    name: str
    state: str
    message: str
    remedy: str = ""
    host: str | None = None
    """None: this machine."""
