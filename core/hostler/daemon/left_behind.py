"""Runs that hosts hold and this daemon's database does not know: it was lost, or is an old one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from hostler.model.views.daemon import LeftBehindView

_MOST_SHOWN = 20


@dataclass(slots=True)
class LeftBehind:
    """What was found at the first contact with each host."""

    made_anew: bool = False
    """The database was made at this start, in a folder where a daemon had been before."""
    has_runs: bool = True
    """The database knows runs: what other daemons of this login keep is then their own."""
    unknown: dict[str, Collection[str]] = field(default_factory=dict)
    """Host -> runs under this daemon's id of which the database has never heard."""
    others: dict[str, Collection[str]] = field(default_factory=dict)
    """Host -> other daemons of this login that keep runs there."""

    def view(self, hosts: Collection[str]) -> LeftBehindView | None:
        """As the version call tells it; None: nothing is missing. `hosts`: all of the config."""
        runs = sorted({run_id for found in self.unknown.values() for run_id in found})
        others = sorted({one for found in self.others.values() for one in found})
        still_open = self.made_anew and not set(hosts) <= self.unknown.keys()
        if self.has_runs and not runs and not still_open:
            return None
        if not (runs or still_open or others):
            return None
        return LeftBehindView(
            runs=tuple(runs[:_MOST_SHOWN]),
            count=len(runs),
            hosts=tuple(sorted(host for host, found in self.unknown.items() if found)),
            made_anew=self.made_anew,
            daemons=() if self.has_runs else tuple(others[:_MOST_SHOWN]),
        )
