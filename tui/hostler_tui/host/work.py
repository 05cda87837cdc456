"""What is asked for a host of the program that opened the screen: its check, trust in its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from hostler.base.errors import HostlerError
from hostler_tui.host.rows import Findings

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


def trust_in_terminal(app: LabApp, name: str) -> bool:
    """Leave the terminal to the question about the key."""
    try:
        with app.suspend():
            is_trusted = app.tools.trust(name)
            input("enter goes back ")
    except SuspendNotSupported:
        app.tell(f"not in this terminal: run hostler host trust {name}", "warning")
        return False
    except EOFError:
        return False
    return is_trusted


async def doctor(app: LabApp, name: str) -> Findings:
    """What the check of a host found, or why there was none."""
    try:
        return Findings(checks=await app.tools.doctor(name))
    except HostlerError as error:
        return Findings(error=f"{error}: {error.remedy}" if error.remedy else str(error))
