"""The generation of this daemon after restores: whether it may work, on which hosts, and the text
for a daemon that a newer one replaces. And the runs that hosts hold and the database does not know:
it was lost, or is an old one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from hostler.base.errors import ConflictError, Superseded
from hostler.daemon.copy_format import Signer
from hostler.model.generations import FIRST, Generation
from hostler.store.copy_key import ended_runs
from hostler.store.generations import Generations, Life

_KIND = "generation"
_BY_THE_CLOCK = 10**12
_STOPPED = "this daemon no longer starts or stops anything"
GO_ON = (
    "Use the newer daemon and stop this one: hostler daemon stop. To continue with this one, stop "
    "the other; then run here: hostler daemon backup FILE; hostler daemon stop; "
    "HOSTLER_STATE=EMPTY_FOLDER hostler daemon restore FILE"
)


@dataclass(slots=True)
class Standing:
    """Read at the start, and kept equal to the database."""

    generation: Generation = field(default_factory=lambda: Generation(FIRST, ""))
    restored_at: float | None = None
    """When the database was restored from a backup; None: it never was."""
    superseded_by: int | None = None
    """The newer generation that is active; None: this is the newest."""
    merged: set[str] = field(default_factory=set)
    """Hosts whose notes are in the database."""
    restored_runs: set[str] = field(default_factory=set)
    """Runs from before the restore: see `Snapshot.restored`."""
    ended: set[str] = field(default_factory=set)
    """Runs that ended after the backup, or that a file beside the database lists as ended."""
    problems: dict[str, str] = field(default_factory=dict)
    """Host -> why its notes could not be merged when that was last tried."""

    def is_unmerged(self, host: str) -> bool:
        """Whether the host's notes are not merged yet, so that nothing may be changed there."""
        return self.restored_at is not None and host not in self.merged

    def unmerged(self, hosts: Collection[str]) -> list[str]:
        """The unmerged ones of the hosts, in their order."""
        return [host for host in hosts if self.is_unmerged(host)]

    def halted(self) -> str:
        """Why this daemon has stopped all work; "": it works."""
        if self.superseded_by is None:
            return ""
        return f"{newer(self.superseded_by)}: {_STOPPED}. {GO_ON}"

    def check_current(self) -> None:
        """Raises ConflictError if this daemon would never carry out a request."""
        if self.superseded_by is not None:
            raise ConflictError(f"{newer(self.superseded_by)}: {_STOPPED}", remedy=GO_ON)


def newer(number: int) -> str:
    """A newer generation, for users."""
    since = ""
    if number > _BY_THE_CLOCK:
        since = time.strftime(", restored %Y-%m-%d %H:%M", time.localtime(number / 1000))
    return f"a newer generation of this daemon is running (number {number}{since})"


async def read_standing(generations: Generations, signer: Signer, folder: Path) -> Standing:
    """Read it from the database and the files beside it. Raises StateError."""
    life: Life = await generations.life()
    was_restored = life.restored_at is not None
    return Standing(
        Generation(life.number, mark(life.number, signer)),
        life.restored_at,
        life.superseded_by,
        set(await generations.merged()),
        set(await generations.restored_runs()),
        set(await asyncio.to_thread(ended_runs, folder)) if was_restored else set(),
    )


def unproven(told: Superseded, daemon_id: str) -> str:
    """Why a host that reports an impossible newer generation is not used, and the remedy."""
    return (
        f"it names a newer generation of this daemon ({told.number}) that this daemon's key has "
        f"not signed: find out who wrote /var/tmp/hostler-UID/runs/{daemon_id}.generation there, "
        "then remove it"
    )


def mark(number: int, signer: Signer) -> str:
    """The signature of a generation's number."""
    return signer.sign(_KIND, "", b"%d" % number).hex()


def is_proof(told: Superseded, signer: Signer) -> bool:
    """Whether a daemon with this one's key signed that: a host may report anything."""
    try:
        signature = bytes.fromhex(told.mark)
    except ValueError:
        return False
    return signer.has_signed(_KIND, "", b"%d" % told.number, signature)


@dataclass(slots=True)
class LeftBehind:
    """Unknown runs found at the first contact with each host."""

    made_anew: bool = False
    """The database was created at this start, in a folder of an earlier daemon."""
    has_runs: bool = True
    """The database has runs: then runs of this login's other daemons belong to those."""
    unknown: dict[str, Collection[str]] = field(default_factory=dict)
    """Host -> runs under this daemon's id that the database does not know."""
    others: dict[str, Collection[str]] = field(default_factory=dict)
    """Host -> other daemons of this login that keep runs there."""
