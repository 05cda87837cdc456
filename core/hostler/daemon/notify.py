"""Notification channels: each gets every opened or resolved alert once; add one here."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from hostler.base.text import clean_line
from hostler.model.config import Config
from hostler.model.views.alerts import AlertView

_log = logging.getLogger("hostler.daemon")
_MOST_CHARACTERS = 500

Channel = Callable[[Config, AlertView], Awaitable[None]]
"""Alerts wait for it: a channel that sends to another machine must limit its time."""


async def to_log(_config: Config, alert: AlertView) -> None:
    """A line in the daemon's log."""
    state = "opened" if alert.resolved_at is None else "resolved"
    what = clean_line(alert.what, _MOST_CHARACTERS)
    _log.info("alert %s %s (%s): %s", alert.id, state, alert.severity, what)


CHANNELS: tuple[Channel, ...] = (to_log,)


async def notify(config: Config, alert: AlertView) -> None:
    """Send the alert to every channel, even if one of them fails."""
    for channel in CHANNELS:
        try:
            await channel(config, alert)
        except Exception:
            _log.exception("alert %s could not be reported", alert.id)
