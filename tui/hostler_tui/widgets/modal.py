"""What sheets and dialogs share: they are closed only when they are open."""

from __future__ import annotations

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, ScreenResultType


class Modal(ModalScreen[ScreenResultType]):
    """A screen above others."""

    def draw_soon(self) -> None:
        """Draw once it is laid out, if it is still open then: what is closed has no widgets."""
        self.call_after_refresh(self.draw_open)

    def draw_open(self) -> None:
        """Draw, unless it was closed."""
        if self in self.app.screen_stack:
            self.draw()

    def draw(self) -> None:
        """Fill the widgets for the size that there is."""

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close it; where it is only being made, as soon as it is there: what is taken apart
        before has nothing to give the focus to, and that would end the app."""
        if self.is_mounted:
            return super().dismiss(result)
        self.call_later(self._dismiss_open, result)
        return AwaitComplete.nothing()  # type: ignore[no-untyped-call,no-any-return]

    def _dismiss_open(self, result: ScreenResultType | None) -> None:
        self.dismiss(result)  # nobody here may wait for it
