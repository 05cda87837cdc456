"""Who keeps a connection where there are too many, or where nothing comes of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hostler.api.connection_limits import (
    ALL_WAITING,
    CONNECTIONS_A_USER,
    WAITING,
    Peer,
    admit,
    is_late,
)
from hostler.model.timings import ApiTimings

KNOWN = {0, 1000}
TIMES = ApiTimings()
NOW = 1000.0


@dataclass
class Place:
    peer: Peer


def crowd(uid: int, count: int, **how: bool) -> list[Place]:
    """Connections of a user, the oldest first."""
    return [
        Place(Peer(uid, since=NOW - count + n, moved=NOW, let_in=uid in KNOWN, **how))
        for n in range(count)
    ]


def test_a_known_user_has_a_seat_and_nobody_goes_for_it() -> None:
    peer = Peer(1000, NOW)
    others = crowd(1000, CONNECTIONS_A_USER - 1) + crowd(7, 3)
    assert admit(peer, KNOWN, others, NOW) == []
    assert (peer.let_in, peer.is_over) == (True, False)


def test_one_who_asks_nothing_makes_room_for_the_next_of_the_same_user() -> None:
    asking, silent = crowd(1000, CONNECTIONS_A_USER - 2, is_asking=True), crowd(1000, 2)
    peer = Peer(1000, NOW)
    assert admit(peer, KNOWN, [*asking, *silent], NOW) == [silent[0]]
    assert peer.let_in


def test_one_who_does_not_read_makes_room_after_a_while() -> None:
    others = crowd(1000, CONNECTIONS_A_USER, is_asking=True, is_streaming=True)
    others[5].peer.is_stuck = True
    assert admit(Peer(1000, NOW), KNOWN, others, NOW) == []
    others[5].peer.moved -= TIMES.stuck + 1
    assert admit(Peer(1000, NOW), KNOWN, others, NOW) == [others[5]]


def test_a_user_with_too_many_that_all_work_is_told_so() -> None:
    peer = Peer(1000, NOW)
    others = crowd(1000, CONNECTIONS_A_USER, is_asking=True)
    assert admit(peer, KNOWN, others, NOW) == []
    assert (peer.let_in, peer.is_over) == (False, True)
    told = Peer(0, NOW)
    assert admit(told, KNOWN, others, NOW) == []
    assert told.let_in  # the others' crowd is not theirs


def test_strangers_are_few_and_the_oldest_goes() -> None:
    peer, others = Peer(7, NOW), crowd(7, WAITING)
    assert admit(peer, KNOWN, others[1:], NOW) == []
    assert admit(peer, KNOWN, others, NOW) == [others[0]]
    assert not peer.let_in
    others[0].peer.is_asking = True
    assert admit(peer, KNOWN, others, NOW) == [others[1]]


def test_strangers_of_many_names_are_few_together_and_keep_nobody_out() -> None:
    others = [Place(Peer(100_000 + n, since=n, moved=NOW)) for n in range(ALL_WAITING)]
    assert admit(Peer(7, NOW), KNOWN, others, NOW) == [others[0]]
    assert admit(Peer(1000, NOW), KNOWN, others, NOW) == []


@pytest.mark.parametrize(
    ("how", "after"),
    [
        ({}, TIMES.first_answer),
        ({"is_asking": True}, TIMES.first_answer),
        ({"let_in": True}, TIMES.first_request),
        ({"let_in": True, "asked_before": True}, TIMES.next_request),
        ({"let_in": True, "is_asking": True, "is_stuck": True}, TIMES.stuck),
        ({"let_in": True, "is_asking": True}, None),
        ({"let_in": True, "is_asking": True, "is_stuck": True, "is_streaming": True}, None),
    ],
)
def test_how_long_a_connection_may_do_nothing(how: dict[str, bool], after: float | None) -> None:
    peer = Peer(1000, since=NOW, moved=NOW, **how)
    assert not is_late(peer, NOW + (after or 0.0))
    assert is_late(peer, NOW + (after or 1e6) + 0.1) == (after is not None)
