"""What a note about a service may say at most, and what it tells of a service."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.releases.notes import Told, choose, misfit, noted, noted_steps, targets
from hostler.model.releases import (
    Deployment,
    Lock,
    Release,
    ReleaseState,
    ServiceNote,
    Slot,
    Step,
    StepKind,
    Strategy,
)

LIVE = Release("web", 1, "raaaaaa", None, Strategy.SURGE, ReleaseState.LIVE, 2, "ana", 1000, 5.0)
OPENED = replace(LIVE, number=2, run_id="rbbbbbb", state=ReleaseState.SHIFTING)
DRAIN = Step("web", 2, 6.5, StepKind.DRAIN, None, Slot(1, 0), Slot(2, 1), seq=9)
SERVICE = Deployment("web", 1000, "ana", 2, 1, Lock(2, "ana", 1000, 5.5), 12)
NOTE = ServiceNote("d" * 32, 1, SERVICE, (OPENED, LIVE), (DRAIN,), {"raaaaaa": "packed"})


def retired(*numbers: int) -> tuple[Release, ...]:
    state = ReleaseState.RETIRED
    return tuple(replace(LIVE, number=n, run_id=f"r{n}", state=state) for n in numbers)


def of_service(**changes: Any) -> ServiceNote:
    return replace(NOTE, deployment=replace(SERVICE, **changes))


def of_release(**changes: Any) -> ServiceNote:
    return replace(NOTE, releases=(replace(OPENED, **changes), LIVE))


def of_step(**changes: Any) -> ServiceNote:
    return replace(NOTE, steps=(replace(DRAIN, **changes),))


RANGE, OF_RELEASE = "its numbers are out of range", "the numbers of a release are out of range"


@pytest.mark.parametrize(
    ("note", "why"),
    [
        (NOTE, ""),
        (of_service(owner="x" * 200), ""),
        (of_service(owner="x" * 201), "it names no service"),
        (of_service(replicas=0), ""),
        (of_service(replicas=-1), RANGE),
        (of_service(replicas=1000), ""),
        (of_service(replicas=1001), RANGE),
        (of_service(revision=0, uid=0), ""),
        (of_service(uid=-1), RANGE),
        (of_service(revision=-1), RANGE),
        (replace(NOTE, generation=0), ""),
        (replace(NOTE, generation=-1), RANGE),
        (replace(NOTE, releases=(*retired(3, 4, 5, 6, 7, 8), OPENED, LIVE)), ""),
        (
            replace(NOTE, releases=(*retired(3, 4, 5, 6, 7, 8, 9), OPENED, LIVE)),
            "it has no releases, too many, or one twice",
        ),
        (of_service(live=None), "its releases do not fit its service"),
        (
            replace(NOTE, deployment=replace(SERVICE, live=None), releases=(OPENED,), specs={}),
            "",
        ),
        (replace(NOTE, specs={}), ""),
        (replace(NOTE, specs={"raaaaaa": "", "rbbbbbb": ""}), ""),
        (replace(NOTE, specs={"rc": ""}), "it has specifications of other runs"),
        (of_release(replicas=1, surge=0, uid=0), ""),
        (of_release(replicas=1000, surge=1000), ""),
        (of_release(replicas=1001), OF_RELEASE),
        (of_release(replicas=0), OF_RELEASE),
        (of_release(surge=1001), OF_RELEASE),
        (of_release(surge=-1), OF_RELEASE),
        (of_release(uid=-1), OF_RELEASE),
        (
            replace(
                NOTE, deployment=replace(SERVICE, lock=Lock(0, "ana", 1000, 5.5)), steps=(),
                releases=(replace(OPENED, number=0), LIVE),
            ),
            OF_RELEASE,
        ),
        (of_release(run_id="r" * 32), ""),
        (of_release(run_id="r" * 33), "it has a release of something else"),
        (of_release(service="other"), "it has a release of something else"),
        (of_step(slot=Slot(1, 999)), ""),
        (of_step(slot=Slot(1, 1000)), "a step names no slot"),
        (of_step(slot=Slot(0, 0)), "a step names no slot"),
        (of_step(successor=Slot(1, -1)), "a step names no slot"),
        (of_step(successor=None), ""),
        (of_step(slot=None), "a step says nothing"),
        (of_step(state=ReleaseState.READY), "a step says nothing"),
        (of_step(number=1), "it has a step of something else"),
        (of_step(service="other"), "it has a step of something else"),
        (replace(NOTE, steps=(DRAIN, DRAIN)), "its steps are not in order"),
        (replace(NOTE, steps=(DRAIN, replace(DRAIN, seq=8))), "its steps are not in order"),
        (
            replace(NOTE, steps=tuple(replace(DRAIN, seq=n) for n in range(20_001))),
            "it has too many steps",
        ),
    ],
)  # fmt: skip
def test_what_a_note_may_say(note: ServiceNote, why: str) -> None:
    assert misfit(note) == why


def test_steps_are_those_of_the_open_release_or_else_of_the_live_one() -> None:
    live = replace(
        NOTE, deployment=replace(SERVICE, lock=None), releases=(LIVE,),
        steps=(replace(DRAIN, number=1),),
    )  # fmt: skip
    assert misfit(live) == ""
    assert misfit(replace(live, steps=(DRAIN,))) == "it has a step of something else"


def test_a_note_has_all_steps_of_an_open_release_and_the_last_of_another() -> None:
    steps = [replace(DRAIN, seq=number) for number in range(700)]
    assert noted_steps(steps, is_open=True) == tuple(steps)
    assert noted_steps(steps, is_open=False) == tuple(steps[200:])


def test_a_service_can_go_back_to_five_releases() -> None:
    releases = (*retired(3, 1, 2, 7, 5, 6, 4), replace(LIVE, number=8))
    assert [r.number for r in targets(releases)] == [7, 6, 5, 4, 3]
    undone = replace(LIVE, number=9, state=ReleaseState.RESTORED)
    older = replace(undone, number=0)
    found = noted(8, (older, *releases, undone))
    assert [r.number for r in found] == [9, 8, 7, 6, 5, 4, 3]
    assert noted(None, ()) == ()


def test_the_note_that_counts_names_its_hosts_and_why_it_may_be_made_up() -> None:
    newer = of_service(revision=13)
    told = [Told("b", NOTE), Told("a", newer), Told("c", newer), Told("d", newer, "is not signed")]
    (found,), left_out = choose(told, {})
    assert (found.note, found.hosts, found.doubts, found.name) == (newer, ("a", "c"), (), "web")
    assert left_out == ["d: its note about service web is not used, is not signed"]
    assert choose(told, {"web": 12})[0] == (found,)
    assert choose(told, {"web": 13})[0] == ()
    unsigned = Told("a", newer, "is not signed")
    (doubted,), left_out = choose([Told("b", NOTE, "no key"), unsigned], {})
    assert doubted.doubts == (
        "a: is not signed", "hosts hold different notes about it: this is the one of a"
    )  # fmt: skip
    assert left_out == []
    (alone,), _ = choose([unsigned], {})
    assert alone.doubts == ("a: is not signed",)
