"""What the latest look at a host means for each open attempt (runs, ended, vanished, rebooted,
lost): a table of rules, the first match wins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hostler.base.units import format_duration
from hostler.decide.causes import Ending, conclude_absent
from hostler.decide.index import Index, OpenAttempt
from hostler.decide.lifecycle import lifecycle_of
from hostler.decide.services import readiness
from hostler.decide.silence import heard_at, lost_at, since
from hostler.decide.stop_reasons import StopReason, stop_reason_for, warn_at
from hostler.model.hosts import Host, HostCondition, Look, Workload
from hostler.model.pipelines import Cause
from hostler.model.plans import (
    Action,
    Conclude,
    Finish,
    Policy,
    Record,
    Resume,
    SendWarning,
    Stop,
)
from hostler.model.runs import Attempt, Phase
from hostler.model.runtimes import traits_of

_FAILURES = (Cause.TIME_LIMIT, Cause.WRONG_GPU, Cause.REQUEUED, Cause.UNHEALTHY)
"""Reasons to stop an attempt after which another try is possible."""


class Case(NamedTuple):
    """One open attempt and all current knowledge about it."""

    item: OpenAttempt
    now: float
    policy: Policy
    host: Host | None
    """None: the config no longer names the host."""
    look: Look | None
    """A fresh look; None: the host is silent."""
    workload: Workload | None
    """Its workload in the last look, fresh or not; None: the look shows none."""
    starting: bool
    """The daemon is starting it."""
    in_setup: bool
    """Its setup runs."""
    ending: bool
    """The daemon is storing its end."""
    stop_reason: StopReason | None
    awaits_group: bool = False
    """It may be bound, but not started, because the rest of its group is not bound yet."""
    lost_at: float | None = None
    """When it counts as lost while its host is unreachable; None: never, as far as known."""

    @property
    def attempt(self) -> Attempt:
        """The attempt itself."""
        return self.item.attempt

    @property
    def never_launched(self) -> bool:
        """The daemon did not see its start return. The start may have happened anyway."""
        return self.attempt.launched_at is None and self.attempt.phase is Phase.STARTING

    @property
    def collecting(self) -> bool:
        """Its work has ended, and the daemon is copying its files."""
        return self.attempt.phase is Phase.COLLECTING

    @property
    def is_inline(self) -> bool:
        """The daemon does its work itself, and nothing on a host shows it."""
        return not lifecycle_of(self.item.stage).has_workload

    @property
    def runs(self) -> bool:
        """Its workload was running in the last look."""
        return self.workload is not None and self.workload.running

    @property
    def ended(self) -> bool:
        """Its workload ran and ended."""
        workload = self.workload
        return workload is not None and not workload.running and not workload.created_only

    @property
    def proves(self) -> bool:
        """The look is newer than the launch (when collecting: than the end), so a workload missing
        from it does not exist."""
        return self.look is not None and self.look.asked_at > since(self.item)

    @property
    def rebooted(self) -> bool:
        """The host has booted since the attempt was placed."""
        before = self.attempt.boot_id
        return self.look is not None and before is not None and self.look.boot_id != before

    @property
    def is_unmerged(self) -> bool:
        """The database lacks notes of its host."""
        return self.host is not None and self.host.unmerged

    @property
    def away(self) -> bool:
        """The link to the host is down. Once it is up again only newer looks count."""
        return self.host is None or self.host.condition is not HostCondition.UP


Verdict = tuple[Action, ...]


class Rule(NamedTuple):
    """If `when` is true, `then` gives the actions; `why` explains the rule in one sentence."""

    why: str
    when: Callable[[Case], bool]
    then: Callable[[Case], Verdict]


def settle(index: Index) -> list[Action]:
    """The changes to open attempts that the looks show."""
    actions: list[Action] = []
    for item in index.open.values():
        case = case_of(item, index)
        actions.extend(rule_for(case).then(case))
    return actions


def rule_for(case: Case) -> Rule:
    """The rule that decides this case."""
    return next(rule for rule in RULES if rule.when(case))


def case_of(item: OpenAttempt, index: Index) -> Case:
    """All facts about an open attempt that the rules may use."""
    attempt, snapshot = item.attempt, index.snapshot
    host = index.hosts.get(attempt.host)
    look, busy = index.fresh.get(attempt.host), snapshot.in_flight
    return Case(
        item,
        snapshot.now,
        snapshot.policy,
        host,
        look,
        index.workload(attempt.host, attempt.attempt_id),
        index.starting(attempt.attempt_id),
        attempt.attempt_id in snapshot.in_setup,
        f"finish:{attempt.attempt_id}" in busy or f"record:{attempt.attempt_id}" in busy,
        stop_reason_for(item, index),
        _awaits_group(item, index),
        lost_at(item, host, snapshot) if look is None else None,
    )


def _awaits_group(item: OpenAttempt, index: Index) -> bool:
    group = index.progress[item.run.run_id].groups.get(item.stage.name)
    if group is None:
        return False
    return not (group.is_whole and all(_may_start(a, index) for a in group.latest.values()))


def _may_start(attempt: Attempt, index: Index) -> bool:
    """Whether it has started, or can be started now."""
    if attempt.launched_at is not None or attempt.phase is not Phase.STARTING:
        return True
    return attempt.ref is not None and attempt.host in index.fresh


def _gives_up(case: Case) -> bool:
    return case.look is None and case.lost_at is not None and case.now >= case.lost_at


def _nothing(case: Case) -> Verdict:
    return ()


def _cancel_unlaunched(case: Case) -> Verdict:
    ended = conclude_absent(case.attempt)
    stop_reason = case.stop_reason
    if case.attempt.stop_reason is None and stop_reason is not None:
        phase = Phase.FAILED if stop_reason.cause in _FAILURES else Phase.CANCELLED
        ended = (phase, stop_reason.cause, f"{stop_reason.detail}, before it started")
    return (_record(case, ended),)


def _drop(case: Case) -> Verdict:
    assert case.stop_reason is not None
    cause, detail = case.stop_reason
    phase = Phase.FAILED if cause in _FAILURES else Phase.CANCELLED
    return (_record(case, (phase, cause, detail)),)


def _let_go(case: Case) -> Verdict:
    assert case.stop_reason is not None
    host = case.attempt.host
    why = case.stop_reason.detail
    detail = f"{why}; {host} is no longer in the config: whether it still runs there "
    return (_record(case, (Phase.CANCELLED, Cause.STOPPED, detail + "is not known")),)


def _give_up(case: Case) -> Verdict:
    silent = format_duration(float(int(case.now - heard_at(case.item, case.host))))
    detail = f"{case.attempt.host} has not answered for {silent} (on_lost = restart)"
    if case.collecting:
        return (Conclude(case.attempt, case.item.stage, detail, is_lost=True),)
    return (_record(case, (Phase.LOST, Cause.HOST_LOST, detail)),)


def _let_files_go(case: Case) -> Verdict:
    why = f"{case.attempt.host} is no longer in the config"
    return (Conclude(case.attempt, case.item.stage, why),)


def _files_gone(case: Case) -> Verdict:
    why = f"it is gone from {case.attempt.host}, and Hostler did not remove it (removed by hand?)"
    return (Conclude(case.attempt, case.item.stage, why),)


def _runs_again(case: Case) -> Verdict:
    if not case.proves:
        return ()
    assert case.workload is not None
    said = "it runs again although its end was recorded"
    stop = Stop(case.attempt.host, case.workload, Cause.STOPPED, said, case.item.stage.grace)
    return (stop,)


def _running(case: Case) -> Verdict:
    workload, attempt = case.workload, case.attempt
    assert workload is not None
    actions: list[Action] = []
    if attempt.phase is Phase.STARTING:
        actions.append(Record(attempt.attempt_id, Phase.RUNNING, workload=workload))
    if case.stop_reason is not None:
        grace = case.item.stage.grace
        actions.append(
            Stop(attempt.host, workload, case.stop_reason.cause, case.stop_reason.detail, grace)
        )
    elif (due := warn_at(case.item)) is not None and case.now >= due:
        assert case.item.stage.warn is not None
        actions.append(SendWarning(attempt, workload, case.item.stage.warn))
    elif case.item.stage.service is not None:
        actions += filter(None, [readiness(attempt, workload, case.look)])
    return tuple(actions)


def _finish(case: Case) -> Verdict:
    assert case.workload is not None
    assert case.look is not None
    return (Finish(case.attempt, case.item.stage, case.workload, case.look.boot_id),)


def _rebooted(case: Case) -> Verdict:
    return (_record(case, conclude_absent(case.attempt, rebooted=True)),)


def _rebooted_before_launch(case: Case) -> Verdict:
    detail = f"{case.attempt.host} rebooted before it was started"
    return (_record(case, (Phase.FAILED, Cause.NOT_STARTED, detail)),)


def _resume(case: Case) -> Verdict:
    return (Resume(case.attempt, case.item.stage, case.awaits_group),)


def _vanished(case: Case) -> Verdict:
    return (_record(case, conclude_absent(case.attempt)),)


def _record(case: Case, ended: Ending) -> Record:
    phase, cause, detail = ended
    return Record(case.attempt.attempt_id, phase, cause, detail, case.workload)


RULES: tuple[Rule, ...] = (
    Rule(
        "the daemon runs it and it is no longer wanted: it ends at once",
        lambda c: c.is_inline and c.stop_reason is not None and not c.ending and not c.is_unmerged,
        _drop,
    ),
    Rule(
        "its setup is being done and it is no longer wanted: it ends at once",
        lambda c: c.in_setup and c.stop_reason is not None and not c.ending and not c.is_unmerged,
        _drop,
    ),
    Rule(
        "its start is in progress (an image pull takes minutes): absence is normal",
        lambda c: c.starting,
        _nothing,
    ),
    Rule("its end is being written down", lambda c: c.ending, _nothing),
    Rule(
        "its host's notes since the backup are not merged yet",
        lambda c: c.is_unmerged,
        _nothing,
    ),
    Rule(
        "it is no longer wanted and was never seen to start: it ends, and is stopped if it appears",
        lambda c: (
            c.stop_reason is not None
            and c.never_launched
            and not c.runs
            and not c.ended
            and (c.proves or c.away)
        ),
        _cancel_unlaunched,
    ),
    Rule(
        "it was stopped and its host is no longer in the config",
        lambda c: (
            c.host is None and c.stop_reason is not None and c.stop_reason.cause is Cause.STOPPED
        ),
        _let_go,
    ),
    Rule(
        "it is collected, its run is cancelled, and its host is no longer in the config",
        lambda c: c.collecting and c.host is None and c.item.run.cancelled_by is not None,
        _let_files_go,
    ),
    Rule(
        "its host has been unreachable for longer than its stage allows",
        _gives_up,
        _give_up,
    ),
    Rule(
        "its host is unreachable, which does not prove that it ended",
        lambda c: c.look is None,
        _nothing,
    ),
    Rule(
        "the daemon runs it and is not working on it: it resumes the work",
        lambda c: c.is_inline,
        _resume,
    ),
    Rule(
        "it is collected and runs: it was started again, or the look is older than its end",
        lambda c: c.collecting and c.runs,
        _runs_again,
    ),
    Rule("it runs; it is stopped on request", lambda c: c.runs, _running),
    Rule("it ended: that is proof whenever it was seen", lambda c: c.ended, _finish),
    Rule(
        "Docker does not answer there: absence proves nothing",
        lambda c: c.look is not None and bool(traits_of(c.attempt.runtime).unseen(c.look)),
        _nothing,
    ),
    Rule(
        "the look is not newer than its launch: it proves nothing",
        lambda c: not c.proves,
        _nothing,
    ),
    Rule("it is collected and is gone", lambda c: c.collecting, _files_gone),
    Rule(
        "its host rebooted before it was started: it does not count as a try",
        lambda c: c.rebooted and c.never_launched,
        _rebooted_before_launch,
    ),
    Rule("its host rebooted and nothing of it is left", lambda c: c.rebooted, _rebooted),
    Rule(
        "it is bound, and its group starts together",
        lambda c: c.awaits_group and c.never_launched and c.attempt.ref is not None,
        _nothing,
    ),
    Rule(
        "its start was interrupted: repeat it",
        lambda c: c.never_launched or c.workload is not None,
        _resume,
    ),
    Rule("it was launched and is gone", lambda c: True, _vanished),
)
