"""Limits the events of each host (200 at once, then one in 30 seconds), so that a hostile host
cannot fill the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BURST = 200
"""Events of a host at once: if Docker dies, all that runs there ends, and both are reported."""
EACH_S = 30.0
"""One more of them in so many seconds."""
TOLD_EACH_S = 600.0
"""That some are left out is an event this often."""
TOO_MANY = 2000
"""Left out in that time: so many no host in order causes."""


@dataclass(slots=True)
class _Account:
    left: float
    at: float
    left_out: int = 0
    told_at: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done with an event: kept, or left out; then perhaps one line in its place."""

    kept: bool
    said: str | None = None
    put_aside: bool = False
    """The host is too noisy to be listened to."""


KEPT = Verdict(kept=True)
_LEFT_OUT = Verdict(kept=False)


@dataclass(slots=True)
class EventBudget:
    """A bucket for each host. Times are of one clock."""

    _accounts: dict[str, _Account] = field(default_factory=dict)

    def take(self, host: str, now: float) -> Verdict:
        """An event of a host comes."""
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
