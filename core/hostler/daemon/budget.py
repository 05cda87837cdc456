"""Limits the events of each host (200 at once, then one in 30 seconds), so that a hostile host
cannot fill the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BURST = 200
"""Events of a host at once: if Docker dies, all work there ends, and both are reported."""
EACH_S = 30.0
"""Seconds until one more event is allowed."""
TOLD_EACH_S = 600.0
"""Seconds between two events that say that events were omitted."""
TOO_MANY = 2000
"""Omitted events in that time: more than a healthy host ever causes."""


@dataclass(slots=True)
class _Account:
    left: float
    at: float
    left_out: int = 0
    told_at: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event is kept or omitted; an omitted one may be replaced by one line."""

    kept: bool
    said: str | None = None
    put_aside: bool = False
    """The host sends too many events: the daemon ignores it for a while."""


KEPT = Verdict(kept=True)
_LEFT_OUT = Verdict(kept=False)


@dataclass(slots=True)
class EventBudget:
    """A token bucket for each host. Times are of one clock."""

    _accounts: dict[str, _Account] = field(default_factory=dict)

    def take(self, host: str, now: float) -> Verdict:
        """Decide about an event of a host."""
        account = self._accounts.setdefault(host, _Account(BURST, now))
        gained = max(0.0, now - account.at) / EACH_S
        account.left, account.at = min(BURST, account.left + gained), now
        if account.left >= 1:
            account.left -= 1
            return KEPT
        account.left_out += 1
        if account.left_out >= TOO_MANY:
            account.left_out = 0
            said = f"{host} sends too many events: Hostler ignores it for a while"
            return Verdict(kept=False, said=said, put_aside=True)
        if account.told_at is not None and now - account.told_at < TOLD_EACH_S:
            return _LEFT_OUT
        account.told_at, account.left_out = now, 0
        return Verdict(kept=False, said=f"{host} sends too many events: some are dropped")
