"""Who may do what, of those who may use the daemon."""

from __future__ import annotations

import os

from hostler.base.errors import ForbiddenError
from hostler.model.calls import Caller
from hostler.model.config import DaemonConfig
from hostler.model.runs import Run


def only_own(run: Run, who: Caller) -> None:
    """People act on their own runs; the daemon's owner and root on all. Reruns and retries too:
    they take the environment along, secrets included. Raises ForbiddenError."""
    if who.uid not in (run.uid, 0, os.getuid()):
        raise ForbiddenError(
            f"run {run.run_id} belongs to {run.owner}",
            remedy=f"ask {run.owner}, or the daemon's owner",
        )


def only_operators(settings: DaemonConfig, who: Caller, doing: str) -> None:
    """What concerns everybody is the owner's to do, root's, and theirs whom the config names.
    Raises ForbiddenError."""
    if may_see_all(settings, who):
        return
    named = ", ".join(settings.operators)
    raise ForbiddenError(
        f"{doing} is for the daemon's owner" + (f" and its operators ({named})" if named else ""),
        remedy=("ask one of them" if named else "ask them")
        + f"; the owner can name {who.user} under [daemon] operators in config.toml",
    )


def may_see_all(settings: DaemonConfig, who: Caller) -> bool:
    """Whether somebody is the daemon's owner, root, or an operator."""
    return who.uid in (0, os.getuid()) or who.user in settings.operators
