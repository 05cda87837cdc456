"""Hosts, and the results of calls about them, in the API."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.model.hosts import Host

HostView = Host


@dataclass(frozen=True, slots=True, kw_only=True)
class HostList:
    """All hosts, in the order of the config."""

    hosts: tuple[HostView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainView:
    """Whether a host is drained, and why; None: it is not drained."""

    host: str
    drained: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostName:
    """The host of a call."""

    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanable:
    """Items of one kind that a cleanup removes."""

    what: str
    count: int = 0
    bytes: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanView:
    """What a cleanup of a host removed or would remove, and what remains and why."""

    host: str
    dry_run: bool = True
    at: float = 0.0
    found: tuple[Cleanable, ...] = ()
    stays: tuple[str, ...] = ()
