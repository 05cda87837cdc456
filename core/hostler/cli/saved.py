"""Summary of a run's saved files, in a line or two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hostler.base.errors import ForbiddenError, NotFoundError
from hostler.client import Client
from hostler.model.views.kept import KeptView
from hostler.model.views.runs import RunView
from hostler.show.saved import saved_lines

Lines = Callable[[RunView, KeptView], list[str]]


def saved_of(client: Client, run: RunView) -> list[str]:
    """The lines at the end of a run; none where nothing has run, or its files are not for this
    person."""
    return _lines(client, run, saved_lines)


def shown_of(client: Client, run: RunView) -> list[str]:
    """The lines for a run that is shown with what stays of it on hosts."""
    return _lines(client, run, lambda run, kept: saved_lines(run, replace(kept, remainders=())))


def _lines(client: Client, run: RunView, told: Lines) -> list[str]:
    if not any(stage.attempt for stage in run.stages):
        return []
    try:
        return told(run, client.kept(run.run_id))
    except (ForbiddenError, NotFoundError):
        return []
