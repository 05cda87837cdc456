"""Lost answers: decides whether a call may be repeated, since the daemon may have carried it "
"out."""

from __future__ import annotations

from hostler.base.errors import NoDaemonError
from hostler.base.wire import WireError

AGAIN_WITHIN_S = 15.0
"""Seconds in which a daemon that went away may be back."""
PAUSE_S = 0.2


def is_lost(error: NoDaemonError) -> bool:
    """Whether the connection died after something had been sent."""
    return isinstance(error.__cause__, (WireError, ConnectionResetError, BrokenPipeError))


def is_away(error: NoDaemonError) -> bool:
    """Whether the daemon may be about to come back."""
    return is_lost(error) or isinstance(
        error.__cause__, (FileNotFoundError, ConnectionRefusedError)
    )


def unknown(error: NoDaemonError, key: str) -> NoDaemonError:
    """What to say where it did not come back."""
    return NoDaemonError(
        f"{error.message}; it is unknown whether the run was submitted",
        remedy="Look for it with `hostler runs` once the daemon is back; in Python, repeat the "
        f"call with key={key!r}: that creates no second run",
    )
