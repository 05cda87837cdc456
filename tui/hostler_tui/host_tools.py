"""What the screen asks of the program that opened it: things that the daemon does not do."""

from __future__ import annotations

from typing import Protocol

from hostler.base.errors import InputError
from hostler.model.check import Check


class HostTools(Protocol):
    """Checks a host, and lets a person trust its key."""

    async def doctor(self, name: str) -> tuple[Check, ...]:
        """The checks of a host. Raises HostlerError where it could not be checked."""

    def trust(self, name: str) -> bool:
        """In the terminal, which is free for it: show the host's key and ask. Whether it counts as
        trusted now."""


class NoTools:
    """Where nobody handed any over."""

    async def doctor(self, name: str) -> tuple[Check, ...]:
        """Raises InputError with the command."""
        raise InputError("this screen cannot check hosts", remedy=f"Run hostler doctor {name}")

    def trust(self, name: str) -> bool:
        """Say how."""
        print(f"Run hostler host trust {name}")
        return False
