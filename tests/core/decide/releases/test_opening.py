"""With which strategy a release may take over, and what is said before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostler.base.errors import ConflictError, InputError
from hostler.decide.releases.opening import (
    Asked,
    Choice,
    Room,
    choose,
    expected,
    locked,
    summary,
    undoing,
)
from hostler.model.releases import Release, ReleaseState, Strategy

ASKED = Asked("digits", 3, 600.0)
ROOM = Room(running=3, free=2, fits_slots=True)


def test_a_surge_where_there_is_room_for_one_more() -> None:
    choice = choose(ASKED, ROOM)
    assert choice == Choice(Strategy.SURGE, 2, "")
    assert summary(choice, ROOM) == "surge: 2 replicas more at a time, and no request is lost"
    assert choose(ASKED, replace(ROOM, free=9)).surge == 3


def test_else_its_replicas_take_over_the_slots() -> None:
    full = replace(ROOM, free=0)
    choice = choose(ASKED, full)
    assert choice == Choice(Strategy.RECREATE, 0, "one replica fewer answers during the change")
    one = replace(full, running=1, last_start=181.2)
    asked = replace(ASKED, replicas=1)
    assert choose(asked, one).gap == (
        "digits does not answer for about 3m01s, like at the last start"
    )
    assert choose(asked, replace(one, last_start=None)).gap == (
        "digits does not answer until the new replica does, at most 10m"
    )


def test_it_takes_as_many_starts_as_replicas_start_one_after_the_other() -> None:
    known = replace(ROOM, last_start=40.0)
    assert expected(3, choose(ASKED, known), known) == 80.0
    full = replace(known, free=0)
    assert expected(3, choose(ASKED, full), full) == 120.0
    assert expected(3, choose(ASKED, ROOM), ROOM) is None


def test_the_first_release_takes_over_from_nobody() -> None:
    room = Room(running=0, free=0, fits_slots=False)
    assert choose(ASKED, room) == Choice(Strategy.SURGE, 0, "")
    assert "no replica of it runs yet" in summary(choose(ASKED, room), room)


def test_what_there_is_no_room_for_is_refused_before_anything_is_done() -> None:
    full = replace(ROOM, free=0)
    with pytest.raises(ConflictError, match="no room for a replica") as refused:
        choose(replace(ASKED, strategy=Strategy.SURGE), full)
    assert "--strategy recreate" in refused.value.remedy
    with pytest.raises(ConflictError, match="needs more resources than one of digits has"):
        choose(ASKED, replace(full, fits_slots=False))


def test_a_service_without_a_gateway_has_one_replica_that_is_replaced() -> None:
    direct = replace(ASKED, replicas=1, is_direct=True)
    assert choose(direct, replace(ROOM, running=1)).strategy is Strategy.RECREATE
    with pytest.raises(InputError, match="only one replica"):
        choose(replace(direct, replicas=2), ROOM)
    with pytest.raises(InputError, match="has no gateway: no program distributes requests"):
        choose(replace(direct, strategy=Strategy.SURGE), ROOM)


def test_who_wants_several_replicas_learns_how_the_gateway_reaches_them() -> None:
    elsewhere = replace(ASKED, is_direct=True, gateway="gpu1")
    with pytest.raises(InputError, match="does not reach every host") as refused:
        choose(elsewhere, ROOM)
    assert 'resources = { host = "gpu1" }' in refused.value.remedy


def test_a_recreate_that_is_asked_for_is_done() -> None:
    assert choose(replace(ASKED, strategy=Strategy.RECREATE), ROOM).strategy is Strategy.RECREATE


def test_the_lock_names_who_and_since_when() -> None:
    assert locked("digits", 5, "ana", 245.7, "shifting") == (
        "ana has been deploying release 5 of digits for 4m05s (shifting)"
    )


@pytest.mark.parametrize(("last", "about"), [(0.2, "1s"), (1.2, "1s"), (1.6, "2s")])
def test_a_gap_is_at_least_a_second(last: float, about: str) -> None:
    room = Room(running=1, free=0, fits_slots=True, last_start=last)
    gap = choose(replace(ASKED, replicas=1), room).gap
    assert gap == f"digits does not answer for about {about}, like at the last start"


def test_more_replicas_than_before_leave_no_gap_where_there_is_room_for_one() -> None:
    more = replace(ASKED, replicas=2, strategy=Strategy.RECREATE)
    room = Room(running=1, free=1, fits_slots=True)
    choice = choose(more, room)
    assert choice == Choice(Strategy.RECREATE, 0, "")
    said = "recreate: new replicas take over slots and GPUs; others answer"
    assert summary(choice, room) == said
    for asked, there in (
        (replace(more, replicas=1), room),
        (more, replace(room, free=0)),
    ):
        found = choose(asked, there)
        assert found.gap.startswith("digits does not answer until")
        assert summary(found, there) == said.replace("others answer", found.gap)


def test_a_service_that_was_stopped_runs_no_replica_now() -> None:
    room = Room(running=0, free=3, fits_slots=True, is_stopped=True)
    choice = choose(replace(ASKED, strategy=Strategy.RECREATE), room)
    assert choice == Choice(Strategy.RECREATE, 0, "")
    assert summary(choice, room).startswith("no replica of it runs now:")


def test_what_undoing_a_release_does() -> None:
    opened = Release(
        "digits", 3, "r3", None, Strategy.SURGE, ReleaseState.SHIFTING, 1, "ana", 1000, 1.0
    )
    assert undoing(opened) == (
        "release 3 (shifting) is stopped and undone; nothing served before it"
    )
    assert undoing(replace(opened, replaces=2)) == (
        "release 3 (shifting) is stopped and undone; release 2 keeps serving, or serves again"
    )


def test_what_the_person_can_do_about_a_service_that_is_reached_directly() -> None:
    direct = replace(ASKED, is_direct=True)
    with pytest.raises(InputError) as refused:
        choose(direct, ROOM)
    assert refused.value.remedy.startswith("set replicas = 1, or start it")
    with pytest.raises(InputError) as refused:
        choose(replace(direct, replicas=1, strategy=Strategy.SURGE), ROOM)
    assert refused.value.remedy == "use --strategy recreate"
    assert choose(replace(direct, replicas=1), replace(ROOM, running=1, free=1)).gap
