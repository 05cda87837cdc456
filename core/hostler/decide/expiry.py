"""When kept files and unfetched outputs are removed: an alert announces it two days ahead and is
open for at least one day. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hostler.base.text import clean_line
from hostler.base.units import format_size
from hostler.model.events import EventKind
from hostler.model.records import Remainder

DAY = 86_400.0
AHEAD = 2 * DAY
"""Seconds before the removal of files when an alert announces it: long enough for a weekend."""
_MOST_HOSTS = 3

_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Notice:
    """An announcement about files of one run."""

    run_id: str
    kind: EventKind
    message: str

    @property
    def severity(self) -> str:
        """The severity of its event."""
        return "warning" if self.kind == EventKind.FILES_EXPIRING else "info"


@dataclass(frozen=True, slots=True)
class Expiry:
    """The decision about files that stay on hosts, as of now."""

    go: tuple[Remainder, ...] = ()
    """Files that may be removed now, in this order: first those that a person has released or
    fetched."""
    notices: tuple[Notice, ...] = ()
    over: tuple[str, ...] = ()
    """Runs whose alert closes."""
    stood: Mapping[str, float | None] = field(default_factory=dict)
    """Attempt -> seconds for which the alert about its files has been open, if changed; None: no
    alert."""


def plan_expiry(
    left: Sequence[Remainder],
    open_runs: Collection[str],
    standing: Mapping[str, str],
    ran: float,
    now: float,
) -> Expiry:
    """Decide which removals are announced, and which files are removed.

    `standing`: run -> kind of the event of its open alert. `ran`: seconds that the daemon ran since
    the last call. An alert counts as open only while people can see it, and a clock that jumps does
    not make it older.
    """
    near = [each for each in left if is_near(each, open_runs, now)]
    stood = _standing(left, near, standing, ran)
    told = [each for each in near if each.run_id in standing and each.stood is not None]
    due = [e for e in told if now >= e.until and (stood.get(e.attempt_id, e.stood) or 0) >= DAY]
    given_up = [each for each in left if each.given_up_by is not None]
    return Expiry(
        go=tuple(sorted((*given_up, *due), key=_first_to_go)),
        notices=tuple(_notices(near, standing, now)),
        over=tuple(sorted(set(standing) - {each.run_id for each in near})),
        stood=stood,
    )


def is_held(left: Remainder, open_runs: Collection[str], now: float) -> bool:
    """Whether the files are kept regardless of the time: the run is open, or a person keeps it."""
    kept = left.kept_by is not None and (left.kept_until is None or now < left.kept_until)
    return kept or left.run_id in open_runs


def is_near(left: Remainder, open_runs: Collection[str], now: float) -> bool:
    """Whether an alert has to announce the removal now."""
    if left.given_up_by is not None or is_held(left, open_runs, now):
        return False
    return now >= left.until - AHEAD


def goes_at(left: Remainder, now: float) -> float | None:
    """The earliest time of removal; None: a person keeps the files without an end."""
    if left.kept_by is None:
        return _earliest(left, now)
    return None if left.kept_until is None else max(_earliest(left, now), left.kept_until + DAY)


def longer(left: Iterable[Remainder], keep_jobs: float) -> dict[str, float]:
    """Attempt -> the later time of removal, because `keep_jobs` is longer now. Announced times
    never get shorter."""
    return {
        each.attempt_id: each.since + keep_jobs
        for each in left
        if each.since + keep_jobs > each.until
    }


def describe(left: Sequence[Remainder]) -> str:
    """Which files of one run and where: "model.pt and 3 more files (3.1 GiB) of run r1 on gpu2"."""
    hosts = sorted({each.host for each in left})
    where = ", ".join(hosts[:_MOST_HOSTS])
    where += f" and {len(hosts) - _MOST_HOSTS} more hosts" if len(hosts) > _MOST_HOSTS else ""
    size = format_size(sum(each.size for each in left))
    return f"{_names(left)} ({size}) of run {left[0].run_id} on {where}"


def date_text(at: float) -> str:
    """A day, in the time zone of the daemon's machine."""
    return datetime.fromtimestamp(at).date().isoformat()


def _names(left: Sequence[Remainder]) -> str:
    number = sum(each.files for each in left)
    first = next((name for each in left for name in each.names), None)
    if first is None:
        return f"{number} file{'s' if number != 1 else ''}"
    more = number - 1
    return clean_line(first, 80) + (f" and {more} more file{'s' if more > 1 else ''}" * (more > 0))


def _standing(
    left: Sequence[Remainder], near: Sequence[Remainder], standing: Mapping[str, str], ran: float
) -> dict[str, float | None]:
    """Attempt -> seconds for which its alert has been open, if changed. None: the removal is no
    longer near; it will be announced again."""
    changed: dict[str, float | None] = {}
    announced = {each.attempt_id for each in near}
    for each in left:
        if each.attempt_id not in announced:
            if each.stood is not None:
                changed[each.attempt_id] = None
        elif each.stood is None:
            changed[each.attempt_id] = 0.0
        elif each.run_id in standing and ran > 0:
            changed[each.attempt_id] = each.stood + ran
    return changed


def _notices(
    near: Sequence[Remainder], standing: Mapping[str, str], now: float
) -> Iterator[Notice]:
    """A notice for each run that has no alert, or whose alert does not cover all of its files."""
    runs: dict[str, list[Remainder]] = {}
    for each in near:
        runs.setdefault(each.run_id, []).append(each)
    for run_id, of_run in sorted(runs.items()):
        notice = _notice(run_id, of_run, now)
        if standing.get(run_id) != notice.kind or any(each.stood is None for each in of_run):
            yield notice


def _first_to_go(left: Remainder) -> tuple[bool, float, str]:
    wanted = left.given_up_by is None and left.fetched_at is None
    return (wanted, left.until, left.attempt_id)


def _earliest(left: Remainder, now: float) -> float:
    return max(left.until, now + DAY - (left.stood or 0.0))


def _notice(run_id: str, near: Sequence[Remainder], now: float) -> Notice:
    fetched = all(each.fetched_at is not None for each in near)
    day = date_text(min(_earliest(each, now) for each in near))
    text = f"{describe(near)} {'were fetched and ' if fetched else ''}will be removed on {day}"
    return Notice(
        run_id, EventKind.FILES_EXPIRING_FETCHED if fetched else EventKind.FILES_EXPIRING, text
    )


@dataclass(frozen=True, slots=True)
class SavedExpiry:
    """The decision about stored outputs past their time, as of now."""

    held: frozenset[str] = frozenset()
    """Runs whose files all stay for now."""
    stood: Mapping[str, float | None] = field(default_factory=dict)
    """Run -> seconds for which the alert about it has been open, if changed; None: the run has no
    files to announce any more."""
    notice: str | None = None
    """The announcement; None: nothing new to announce."""
    is_over: bool = False
    """Whether the alert closes."""


def plan_saved_expiry(
    near: Mapping[str, int], stood: Mapping[str, float], *, standing: bool, ran: float, now: float
) -> SavedExpiry:
    """Decide on the announcements, and on the runs whose files all stay for now.

    `near`: run -> bytes of its unfetched outputs whose time is over, or soon will be. `stood`: run
    -> seconds of the daemon's running time for which an alert has included it. One alert is about
    all runs.
    """
    ran = max(0.0, ran) if standing else 0.0
    changed: dict[str, float | None] = dict.fromkeys(stood.keys() - near.keys())
    changed |= {run: stood[run] + ran for run in near.keys() & stood.keys() if ran}
    changed |= dict.fromkeys(near.keys() - stood.keys(), 0.0)
    is_news = not standing or not near.keys() <= stood.keys()
    return SavedExpiry(
        held=frozenset(run for run in near if not standing or stood.get(run, 0.0) + ran < DAY),
        stood=changed,
        notice=_saved_notice(near, now) if near and is_news else None,
        is_over=standing and not near,
    )


def _saved_notice(near: Mapping[str, int], now: float) -> str:
    runs = sorted(near)
    more = len(runs) - _MOST_NAMED
    named = ", ".join(runs[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    many = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
    return (
        f"unfetched outputs of {many} ({format_size(sum(near.values()))}) will be removed from "
        f"{date_text(now + DAY)} on: {named}"
    )
