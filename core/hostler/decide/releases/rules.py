"""When a release moves to its next step, fails or is undone, and why: a table of rules, the first
match wins. At most one step at a time: its effects begin only once it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from hostler.decide.releases.case import Case
from hostler.decide.releases.effects import Effects, effects_of
from hostler.decide.releases.ledger import first_slots
from hostler.decide.releases.shift import next_drain, next_to_keep
from hostler.decide.releases.situation import Situation
from hostler.decide.releases.waiting import leftover_waits, what_it_waits_for
from hostler.model.releases import NewStep, ReleaseState, Slot, StepKind, Strategy

_BEFORE_LIVE = (
    ReleaseState.DELIVERING,
    ReleaseState.STARTING,
    ReleaseState.READY,
    ReleaseState.SHIFTING,
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A step to store; or the effects that the stored steps allow, and why the release waits. Never
    both: the two could contradict each other."""

    step: NewStep | None
    effects: Effects | None
    reason: str = ""
    """Why an open release does not progress now; "" if it does, or if there is none."""
    wake_at: float | None = None
    """The time at which the decision changes without any event; None: never."""


_ROUTING = "the gateway is being changed"
_SILENT = "the gateway does not answer: the release waits, and no replica is stopped"
_UNASKED = "waits for the gateway to answer; the daemon starts it if it does not run"
Verdict = NewStep | str
"""A step, or why there is none."""


class Rule(NamedTuple):
    """If `when` is true, `then` gives the verdict; `why` explains the rule in one sentence."""

    why: str
    when: Callable[[Case], bool]
    then: Callable[[Case], Verdict]


def decide(situation: Situation) -> Decision:
    """Decide on one service now. Pure: the same situation gives the same decision."""
    case = Case(situation)
    verdict = rule_for(case).then(case)
    if isinstance(verdict, NewStep):
        return Decision(verdict, None)
    return Decision(None, effects_of(case), verdict, _wake_at(case))


def rule_for(case: Case) -> Rule:
    """The rule that decides this case."""
    return next(rule for rule in RULES if rule.when(case))


def _wake_at(case: Case) -> float | None:
    """The time of the next deadline; None: there is none."""
    situation = case.situation
    moments = [
        max(case.drained_at(replica.slot), seen_at) + situation.drain_of(replica.slot.release)
        for replica in situation.replicas
        if (seen_at := situation.draining.get(replica.attempt_id)) is not None
        and replica.slot not in case.ledger.wanted
    ]
    moments += [due for slot in case.target if (due := case.due_at(slot)) is not None]
    if _is_open(case) and case.state is ReleaseState.DELIVERING:
        moments.append(_image_due_at(case))
    return min((at for at in moments if at > situation.now), default=None)


def _is_open(case: Case) -> bool:
    return case.situation.opened is not None


def _is_in(*states: ReleaseState) -> Callable[[Case], bool]:
    return lambda case: _is_open(case) and case.state in states


def _shifts(case: Case) -> bool:
    """Replicas of the previous release may be drained. With `recreate`, if no new replica can start
    beside the old ones, this is so before the first one is ready."""
    if case.state is ReleaseState.SHIFTING:
        return True
    is_first = not first_slots(case.situation, case.opened)
    return is_first and case.state is ReleaseState.STARTING and not _begun(case)


def _begun(case: Case) -> list[Slot]:
    """Slots of the open release that have to run."""
    return [slot for slot in case.new if slot in case.ledger.wanted]


def _are_serving(case: Case, slots: Iterable[Slot]) -> bool:
    return all(slot in case.serving for slot in slots)


def _is_gone(case: Case, slots: tuple[Slot, ...]) -> bool:
    """Whether none of the slots is wanted, and replicas are left only on silent hosts, without
    requests: they are stopped when these hosts answer."""
    if any(slot in case.ledger.wanted for slot in slots):
        return False
    left = [case.present[slot] for slot in slots if slot in case.present]
    return all(replica.is_silent and case.is_out(replica) for replica in left)


def _has_taken_over(case: Case) -> bool:
    return _are_serving(case, case.new) and _is_gone(case, case.old)


def _is_restored(case: Case) -> bool:
    """All slots of the previous release answer, or are past their deadline."""
    late = {slot for slot, _ in case.overdue(case.old)}
    return all(s in late or _is_back(case, s) for s in case.old) and _is_gone(case, case.new)


def _is_back(case: Case, slot: Slot) -> bool:
    """Whether it answers, or waits for a free GPU like other stages: no GPU is kept for it."""
    if slot not in case.ledger.wanted:
        return False
    waits = slot not in case.present and slot not in case.situation.waits
    return slot in case.serving or (waits and slot not in case.ledger.after)


def _is_ready(case: Case) -> bool:
    """All started replicas have answered, and the gateway's own check found them up."""
    begun = _begun(case)
    return bool(begun) and all(_has_passed(case, slot) for slot in begun)


def _has_passed(case: Case, slot: Slot) -> bool:
    replica = case.present.get(slot)
    if replica is None or not (replica.has_answered and replica.is_healthy):
        return False
    server = case.server(replica)
    return case.situation.is_direct or (server is not None and server.is_up)


def _unproven(case: Case) -> str:
    """With `recreate`: why the image and the capacity are not proven on the hosts of the replicas
    that it replaces; "": they are."""
    if case.opened.strategy is not Strategy.RECREATE:
        return ""
    for slot in case.old:
        replica = case.present.get(slot)
        if replica is None:
            continue
        if not replica.is_heard:
            return f"{replica.host}, where replica {slot.index} runs, does not answer"
        if not case.is_verified(case.new[0], replica.host):
            return f"{replica.host} may not have its image"
    return ""


def _has_no_image(case: Case) -> bool:
    """The time of a start is over, and a host that it needs is still not known to have its
    image."""
    is_late = case.situation.now >= _image_due_at(case) and bool(_unproven(case))
    return is_late and all(replica.is_heard for replica in case.situation.replicas)


def _image_due_at(case: Case) -> float:
    release, situation = case.opened, case.situation
    return max(release.at, situation.begun_at) + situation.startup_of(release.number)


def _fail_without_image(case: Case) -> Verdict:
    why = f"{_unproven(case)}: pull it there, and deploy again"
    return _step(case, ReleaseState.FAILED, why)


def _surplus(case: Case) -> list[Slot]:
    """Surplus slots that are not drained yet, and may be drained."""
    if _is_open(case) and case.state is not ReleaseState.DELIVERING:
        return []
    if not case.beyond:
        return []
    others = bool(case.serving) or not case.situation.deployment.replicas
    return [
        slot
        for slot in case.beyond
        if slot not in case.ledger.drained
        and (others or not case.gets_requests(case.present[slot]))
    ]


def _is_reduced(case: Case) -> bool:
    """No surplus replica is left, except on silent hosts."""
    return all(case.present[slot].is_silent for slot in case.beyond)


def _regained(case: Case) -> list[Slot]:
    """Slots of the live release that were drained and are wanted again."""
    if _is_open(case):
        return []
    return sorted(slot for slot in case.ledger.wanted if slot in case.ledger.drained)


def _nothing(case: Case) -> Verdict:
    return ""


def _silent(case: Case) -> Verdict:
    if not _is_open(case):
        return ""
    return _SILENT if case.situation.was_unheard else _UNASKED


def _move(state: ReleaseState, reason: str = "") -> Callable[[Case], Verdict]:
    return lambda case: _step(case, state, reason)


def _step(case: Case, state: ReleaseState, reason: str = "") -> NewStep:
    release = case.opened
    return NewStep(
        release.service, release.number, case.situation.now, StepKind.STATE, state, reason=reason
    )


def _fail(case: Case) -> Verdict:
    why = case.situation.trouble or next(why for _, why in case.overdue(case.new))
    return _step(case, ReleaseState.FAILED, why)


def _drain(case: Case) -> Verdict:
    found = next_drain(case)
    assert found is not None
    slot, successor = found
    now, release = case.situation.now, case.opened
    said = "failed" if case.goes_back else "takes over"
    return NewStep(
        release.service, release.number, now, StepKind.DRAIN, slot=slot, successor=successor,
        reason=f"release {release.number} {said}",
    )  # fmt: skip


def _keep(case: Case) -> Verdict:
    slot = next_to_keep(case)
    release = case.opened
    return NewStep(
        release.service, release.number, case.situation.now, StepKind.KEEP, slot=slot,
        reason="it serves again" if case.goes_back else "no other replica answers",
    )  # fmt: skip


def _drain_surplus(case: Case) -> Verdict:
    deployment, release = case.situation.deployment, case.situation.opened or case.situation.live
    assert release is not None
    return NewStep(
        deployment.name, release.number, case.situation.now, StepKind.DRAIN, slot=_surplus(case)[0],
        reason=f"{deployment.replicas} replicas are wanted",
    )  # fmt: skip


def _keep_regained(case: Case) -> Verdict:
    deployment, live = case.situation.deployment, case.situation.live
    assert live is not None
    return NewStep(
        deployment.name, live.number, case.situation.now, StepKind.KEEP, slot=_regained(case)[0],
        reason=f"{deployment.replicas} replicas are wanted",
    )  # fmt: skip


def _restored(case: Case) -> Verdict:
    late = [why for _, why in case.overdue(case.old)]
    if not case.old:
        said = "nothing served before"
    elif late:
        said = f"release {case.old[0].release} runs again, and {late[0]}"
    else:
        said = f"release {case.old[0].release} serves again"
    return _undone(case, said)


def _undone(case: Case, said: str) -> Verdict:
    """The step that ends a failed release, with the reason for readers who see only that step."""
    steps = reversed(case.situation.steps)
    why = next((step.reason for step in steps if step.state is ReleaseState.FAILED), "")
    return _step(case, ReleaseState.RESTORED, f"{said}; {why}" if why else said)


def _is_untouched(case: Case) -> bool:
    """No replica of the open release was started, so no gateway knows it."""
    is_begun = any(step.state is ReleaseState.STARTING for step in case.situation.steps)
    return not is_begun and not any(slot in case.present for slot in case.new)


def _gives_up(case: Case) -> bool:
    """Whether it fails before any change, so that no answer of a silent gateway is needed."""
    is_silent = case.situation.is_silent and _is_open(case)
    return is_silent and case.state is ReleaseState.DELIVERING and bool(case.situation.trouble)


RULES: tuple[Rule, ...] = (
    Rule("it cannot succeed, and a silent gateway knows nothing of it", _gives_up, _fail),
    Rule(
        "it failed before anything of it was started, and the gateway is silent",
        lambda c: c.situation.is_silent and c.goes_back and _is_untouched(c),
        lambda c: _undone(c, "no replica of it was started"),
    ),
    Rule(
        "the gateway is silent: what it does is unknown, so nothing is decided",
        lambda c: c.situation.is_silent,
        _silent,
    ),
    Rule(
        "the gateway is being changed: its next look says what came of it",
        lambda c: c.situation.is_routing,
        lambda c: _ROUTING if _is_open(c) else "",
    ),
    Rule(
        "the service has more replicas than wanted: one after the other is drained",
        lambda c: bool(_surplus(c)),
        _drain_surplus,
    ),
    Rule(
        "the service has fewer replicas than wanted: one that was drained is wanted again",
        lambda c: bool(_regained(c)),
        _keep_regained,
    ),
    Rule("no release is open", lambda c: not _is_open(c), _nothing),
    Rule(
        "the release cannot succeed: its run failed, or a person stopped it",
        lambda c: c.state in _BEFORE_LIVE and bool(c.situation.trouble),
        _fail,
    ),
    Rule(
        "its image is not built, or not on enough hosts",
        lambda c: c.state is ReleaseState.DELIVERING and bool(c.situation.not_delivered),
        lambda c: c.situation.not_delivered,
    ),
    Rule(
        "it takes over slots, and its image did not come there in time",
        lambda c: c.state is ReleaseState.DELIVERING and _has_no_image(c),
        _fail_without_image,
    ),
    Rule(
        "it takes over slots, and image or capacity are not proven there",
        lambda c: c.state is ReleaseState.DELIVERING and bool(_unproven(c)),
        _unproven,
    ),
    Rule(
        "the service has more replicas than wanted: they end first",
        lambda c: c.state is ReleaseState.DELIVERING and not _is_reduced(c),
        lambda c: leftover_waits(c, c.present[c.beyond[0]].host, c.beyond[0]),
    ),
    Rule(
        "its first replicas may start",
        _is_in(ReleaseState.DELIVERING),
        _move(ReleaseState.STARTING),
    ),
    Rule(
        "a replica had its time to answer: the release before takes over again",
        lambda c: c.state in _BEFORE_LIVE and any(c.overdue(c.new)),
        _fail,
    ),
    Rule(
        "no replica answers but one that is being drained: it serves on",
        lambda c: next_to_keep(c) is not None,
        _keep,
    ),
    Rule(
        "its first replicas have answered",
        lambda c: c.state is ReleaseState.STARTING and _is_ready(c),
        _move(ReleaseState.READY),
    ),
    Rule(
        "nothing has to be done before it gets requests",
        _is_in(ReleaseState.READY),
        _move(ReleaseState.SHIFTING),
    ),
    Rule(
        "it serves, and nothing of the release before is left",
        lambda c: c.state is ReleaseState.SHIFTING and _has_taken_over(c),
        _move(ReleaseState.LIVE),
    ),
    Rule(
        "nothing of the failed release is left",
        lambda c: c.state is ReleaseState.FAILED and _is_restored(c),
        _restored,
    ),
    Rule(
        "enough others answer: the next replica is drained",
        lambda c: (_shifts(c) or c.goes_back) and next_drain(c) is not None,
        _drain,
    ),
    Rule("it waits for replicas, hosts or sessions", lambda c: True, what_it_waits_for),
)
