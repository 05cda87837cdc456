"""The sheet with the differences between two releases, key by key."""

from __future__ import annotations

from collections.abc import Sequence

from textual import work
from textual.message import Message

from hostler.base.errors import HostlerError
from hostler_tui.lines import Line, line, wrapped
from hostler_tui.widgets.modal import Reader


class ChangesReader(Reader):
    """Each key that differs, with its old and new value."""

    class Told(Message):
        """The daemon sent the changes, or an error."""

        def __init__(self, changes: Sequence[str], problem: str = "") -> None:
            super().__init__()
            self.changes, self.problem = tuple(changes), problem

    def __init__(self, service: str, release: int, against: int) -> None:
        super().__init__(f"{service}: release {against} against release {release}")
        self._service, self._release, self._against = service, release, against
        self._told: ChangesReader.Told | None = None

    def on_mount(self) -> None:
        """Request the changes."""
        self._ask()

    @work(exclusive=True, group="changes", exit_on_error=False)
    async def _ask(self) -> None:
        try:
            found = await self.app.client.release_changes(
                self._service, self._release, self._against
            )
        except HostlerError as error:
            self.post_message(self.Told((), str(error)))
        else:
            self.post_message(self.Told(found.changes))

    def on_changes_reader_told(self, message: Told) -> None:
        """Show the answer."""
        self._told = message
        self.on_resize()

    def text(self, width: int) -> Sequence[Line]:
        """One key after the other."""
        if self._told is None:
            return [line((" loading ...", "dim"))]
        if self._told.problem:
            return wrapped(self._told.problem, width - 2, " ", "warn")
        if not self._told.changes:
            return [line((" nothing differs", "dim"))]
        return [part for text in self._told.changes for part in wrapped(text, width - 2, " ")]
