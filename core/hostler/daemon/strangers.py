"""Workloads with this daemon's label that its database does not know."""

from __future__ import annotations

_NAMED = 10
"""Of one host they are told by name up to here; then only that there are more."""


class Strangers:
    """Which of them were told of already."""

    def __init__(self) -> None:
        self._told: dict[str, set[str]] = {}

    def news(self, host: str, attempt_id: str) -> str | None:
        """What to tell of one that is left alone; None: that was told already."""
        told = self._told.setdefault(host, set())
        if attempt_id in told or len(told) > _NAMED:
            return None
        told.add(attempt_id)
        if len(told) > _NAMED:
            return (
                f"more than {_NAMED} workloads on {host} belong to no run in this daemon's "
                "database and are not touched; to find their runs: hostler daemon recover"
            )
        return sentence(host, attempt_id)


def sentence(host: str, attempt_id: str) -> str:
    """Why one is left alone."""
    return (
        f"{attempt_id} on {host} belongs to no run in this daemon's database and is not touched; "
        "to find its run: hostler daemon recover"
    )
