"""The names of users' secrets, in the API; values are never sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    """One secret of the caller."""

    name: str
    set_at: float = 0.0
    used_by: tuple[str, ...] = ()
    """Open runs with a stage that uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretList:
    """All secrets of the caller, by name."""

    secrets: tuple[SecretView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """The name of the secret that was set."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedSecret:
    """The name of the secret that was removed."""

    removed: str
