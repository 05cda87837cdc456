"""When outputs that nobody has fetched go unasked: after an alert has stood for a day. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.base.units import format_size
from hostler.decide.expiry import DAY, date_text

_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class SavedExpiry:
    """What happens to stored outputs past their time, as of now."""

    held: frozenset[str] = frozenset()
    """Runs of which nothing goes yet."""
    stood: Mapping[str, float | None] = field(default_factory=dict)
    """Run -> how long the alert about it has stood, where that has changed; None: there is nothing
    to announce any more."""
    notice: str | None = None
    """What is to be announced."""
    is_over: bool = False
    """The alert is."""


def plan_saved_expiry(
    near: Mapping[str, int], stood: Mapping[str, float], *, standing: bool, ran: float, now: float
) -> SavedExpiry:
    """What is announced, and of which runs nothing goes yet.

    `near`: run -> bytes of its outputs that nobody has fetched and whose time is over, or soon
    will be. `stood`: for how many seconds of the daemon's running time an alert that counts a run
    in has stood. One alert is about all of them.
    """
    ran = max(0.0, ran) if standing else 0.0
    changed: dict[str, float | None] = dict.fromkeys(stood.keys() - near.keys())
    changed |= {run: stood[run] + ran for run in near.keys() & stood.keys() if ran}
    changed |= dict.fromkeys(near.keys() - stood.keys(), 0.0)
    is_news = not standing or not near.keys() <= stood.keys()
    return SavedExpiry(
        held=frozenset(run for run in near if not standing or stood.get(run, 0.0) + ran < DAY),
        stood=changed,
        notice=_notice(near, now) if near and is_news else None,
        is_over=standing and not near,
    )


def _notice(near: Mapping[str, int], now: float) -> str:
    runs = sorted(near)
    more = len(runs) - _MOST_NAMED
    named = ", ".join(runs[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    many = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
    return (
        f"unfetched outputs of {many} ({format_size(sum(near.values()))}) will be removed from "
        f"{date_text(now + DAY)} on: {named}"
    )
