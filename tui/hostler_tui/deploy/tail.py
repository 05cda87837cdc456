"""The end of a replica's log, below the tables of a tall screen."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical

from hostler_tui.lines import Line, line
from hostler_tui.log.view import LogView
from hostler_tui.services import Replica
from hostler_tui.widgets.pane import Pane


class LogTail(Vertical):
    """Follows the log of one replica at a time; a click gives it the focus."""

    DEFAULT_CSS = """
    LogTail { display: none; height: 1fr; }
    LogTail LogView { height: 1fr; }
    """

    def compose(self) -> ComposeResult:
        """The name of the replica, and the log."""
        yield Pane(id="tail_head")
        yield LogView(id="tail_log")

    def show(self, replica: Replica | None) -> None:
        """Show the log of this replica's newest attempt; None: show and request nothing."""
        log, head = self.query_one(LogView), self.query_one("#tail_head", Pane)
        if replica is None or not has_log(replica):
            if log.log_of is not None:
                log.close()
            head.show([] if replica is None else [head_line(replica, "has no log yet")])
            return
        log.open(replica.part.run_id, replica.view.name, replica.view.restarts + 1)
        log.draw()
        head.show([head_line(replica, "l opens it")])


def has_log(replica: Replica) -> bool:
    """Whether it was ever started."""
    return replica.view.host is not None or replica.view.restarts > 0


def head_line(replica: Replica, more: str) -> Line:
    """ "── log of serve.0, release 2   l opens it"."""
    of = "" if replica.number is None else f", release {replica.number}"
    return line(("── ", "dim"), (f"log of {replica.view.name}{of}", "title"), (f"   {more}", "dim"))
