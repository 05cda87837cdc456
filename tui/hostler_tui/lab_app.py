"""What screens and widgets may ask of the app: model, client, toasts (how long they stay),
copying, navigation, host checks."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from textual.app import App

from hostler.base.errors import HostlerError, InputError
from hostler.base.text import clean
from hostler.client import AsyncClient
from hostler.model.check import Check
from hostler_tui import clipboard
from hostler_tui.feed import Feed
from hostler_tui.lab import Lab
from hostler_tui.palette import Palette


class HostTools(Protocol):
    """Checks a host, and lets a user trust its key."""

    async def doctor(self, name: str) -> tuple[Check, ...]:
        """The checks of a host. Raises HostlerError where it could not be checked."""

    def trust(self, name: str) -> bool:
        """In the terminal, which is free for it: show the host's key and ask. Returns whether it is
        trusted now."""


class NoTools:
    """Used if no tools were passed in."""

    async def doctor(self, name: str) -> tuple[Check, ...]:
        """Raises InputError with the command to type."""
        raise InputError("this screen cannot check hosts", remedy=f"Run hostler doctor {name}")

    def trust(self, name: str) -> bool:
        """Print the command to type."""
        print(f"Run hostler host trust {name}")
        return False


class LabApp(App[int]):
    """Holds the model and the feed. Only the app itself knows which screens exist."""

    def __init__(self, tools: HostTools) -> None:
        self.palette_of_look = Palette("plain" if os.environ.get("NO_COLOR") else "dark")
        super().__init__()
        self.lab = Lab()
        self.tools = tools
        self.is_paused = False
        self._feed: Feed | None = None
        self._client: AsyncClient | None = None

    @property
    def client(self) -> AsyncClient:
        """The client of the daemon. Only if `lab.connected`."""
        assert self._client is not None
        return self._client

    @property
    def newest_event(self) -> int:
        """The number of the latest known event."""
        return self._feed.newest_event if self._feed is not None else 0

    def tell(self, text: str, severity: str = "information") -> None:
        """Show a toast, kept in the list of notices."""
        said = clean(text)
        self.lab.note(severity, said, time.time())
        self.notify(said, severity=severity, timeout=6, markup=False)  # type: ignore[arg-type]

    def tell_error(self, error: HostlerError) -> None:
        """Show an error with its cause and remedy."""
        self.tell(str(error), "error")

    def copy_text(self, text: str | None, what: str = "") -> None:
        """Copy, and show a notice: with the text itself unless `what` describes it."""
        if text is None:
            self.tell("nothing is selected", "warning")
            return
        done = clipboard.copy(text, self._write_escape)
        self.tell(f"{done}: {what or text}" if done == "copied" else done)

    def _write_escape(self, sequence: str) -> None:
        if self._driver is not None:
            self._driver.write(sequence)

    def action_refresh(self) -> None:
        """Request everything now."""
        if self._feed is not None:
            self._feed.refresh()

    @abstractmethod
    def action_go(self, mode: str) -> None:
        """Go to a main screen; if it is below another screen, back to it."""

    @abstractmethod
    def open_host(self, name: str) -> None:
        """Open a host's own screen, above the fleet's."""

    @abstractmethod
    def open_run(self, run_id: str, stage: str = "", page: str = "") -> None:
        """Open a run's own screen, at a stage; on the last viewed page, or this one."""

    @abstractmethod
    def compare(self, run_ids: Sequence[str]) -> None:
        """Show runs beside each other, above the present screen."""
