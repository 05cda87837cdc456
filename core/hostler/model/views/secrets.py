"""The names of users' secrets, as the API gives them: never a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    """One secret of the caller."""

    name: str
    set_at: float = 0.0
    used_by: tuple[str, ...] = ()
    """Open runs with a stage that takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretList:
    """All secrets of the caller, by name."""

    secrets: tuple[SecretView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """What was set."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedSecret:
    """What was removed."""

    removed: str
