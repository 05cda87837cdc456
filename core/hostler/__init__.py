"""Hostler: which GPU is free, and run my pipeline on it."""

from __future__ import annotations

from hostler.base.version import __version__

__all__ = ["AsyncClient", "AsyncRun", "Client", "Run", "__version__"]

TYPE_CHECKING = False
if TYPE_CHECKING:  # at run time they are loaded below
    from hostler.client import AsyncClient, AsyncRun, Client, Run


def __getattr__(name: str) -> object:
    """Load the SDK at its first use, so that the quick path stays quick."""
    if name in __all__:
        from hostler import client

        return getattr(client, name)
    raise AttributeError(f"module 'hostler' has no attribute {name!r}")
