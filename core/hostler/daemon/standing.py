"""The generation of this daemon after restores: whether it may work, and on which hosts. And the
runs that hosts hold and the database does not know: it was lost, or is an old one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from hostler.base.errors import ConflictError, Superseded
from hostler.daemon.copy_format import Signer
from hostler.model.generations import FIRST, Generation
from hostler.model.views.daemon import GenerationView, LeftBehindView
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

_MOST_SHOWN = 20


@dataclass(slots=True)
class Standing:
    """Read at the start, and kept in step with the database."""

    generation: Generation = field(default_factory=lambda: Generation(FIRST, ""))
    restored_at: float | None = None
    """When the database was restored from a backup; None: it never was."""
    superseded_by: int | None = None
    """The newer generation that is at work; None: this is the newest."""
    merged: set[str] = field(default_factory=set)
    """Hosts whose notes are in the database."""
    restored_runs: set[str] = field(default_factory=set)
    """Runs of before the restore: see `Snapshot.restored`."""
    ended: set[str] = field(default_factory=set)
    """Runs that ended after the backup, or that a file beside the database names."""
    problems: dict[str, str] = field(default_factory=dict)
    """Host -> why its notes could not be merged when that was last tried."""

    def is_unmerged(self, host: str) -> bool:
        """Whether nothing may be changed there yet."""
        return self.restored_at is not None and host not in self.merged

    def unmerged(self, hosts: Collection[str]) -> list[str]:
        """Those of the hosts, in their order."""
        return [host for host in hosts if self.is_unmerged(host)]

    def halted(self) -> str:
        """Why this daemon does nothing any more; "": it works."""
        if self.superseded_by is None:
            return ""
        return f"{newer(self.superseded_by)}: {_STOPPED}. {GO_ON}"

    def check_current(self) -> None:
        """Raises ConflictError if no request would ever be carried out."""
        if self.superseded_by is not None:
            raise ConflictError(f"{newer(self.superseded_by)}: {_STOPPED}", remedy=GO_ON)

    def view(self, hosts: Collection[str]) -> GenerationView:
        """For the version call."""
        waiting = self.unmerged(hosts)
        return GenerationView(
            number=self.generation.number,
            restored_at=self.restored_at,
            superseded_by=self.superseded_by,
            halted=self.halted(),
            unmerged=tuple(waiting),
            problems={host: self.problems[host] for host in waiting if host in self.problems},
        )


def newer(number: int) -> str:
    """A newer generation, for people."""
    since = ""
    if number > _BY_THE_CLOCK:
        since = time.strftime(", restored %Y-%m-%d %H:%M", time.localtime(number / 1000))
    return f"a newer generation of this daemon is running (number {number}{since})"


async def read_standing(generations: Generations, signer: Signer, folder: Path) -> Standing:
    """By the database and what lies beside it. Raises StateError."""
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
    """Why a host is not used that names an impossible newer generation, and what to do there."""
    return (
        f"it names a newer generation of this daemon ({told.number}) that this daemon's key has "
        f"not signed: find out who wrote /var/tmp/hostler-UID/runs/{daemon_id}.generation there, "
        "then remove it"
    )


def mark(number: int, signer: Signer) -> str:
    """What a generation's number is signed with."""
    return signer.sign(_KIND, "", b"%d" % number).hex()


def is_proof(told: Superseded, signer: Signer) -> bool:
    """Whether a daemon with this one's key wrote that down: a host may say anything."""
    try:
        signature = bytes.fromhex(told.mark)
    except ValueError:
        return False
    return signer.has_signed(_KIND, "", b"%d" % told.number, signature)


@dataclass(slots=True)
class LeftBehind:
    """What was found at the first contact with each host."""

    made_anew: bool = False
    """The database was made at this start, in a folder where a daemon had been before."""
    has_runs: bool = True
    """The database knows runs: what other daemons of this login keep is then their own."""
    unknown: dict[str, Collection[str]] = field(default_factory=dict)
    """Host -> runs under this daemon's id that the database does not know."""
    others: dict[str, Collection[str]] = field(default_factory=dict)
    """Host -> other daemons of this login that keep runs there."""

    def view(self, hosts: Collection[str]) -> LeftBehindView | None:
        """For the version call; None: nothing is missing. `hosts`: all of the config."""
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
