"""Files that stay on hosts: when their removal is announced, and when they go."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from hostler.decide.expiry import (
    AHEAD,
    DAY,
    Expiry,
    date_text,
    describe,
    goes_at,
    longer,
    plan_expiry,
)
from hostler.model.events import EventKind
from hostler.model.records import Remainder

NOW = 1_000_000_000.0
LEFT = Remainder(
    attempt_id="r1-train-1",
    run_id="r1",
    stage="train",
    host="gpu2",
    runtime="process",
    ref="r1-train-1",
    path="/x",
    files=4,
    size=3 * 1024**3,
    since=NOW - 7 * DAY,
    until=NOW,
    names=("model.pt", "a", "b"),
)
STOOD = replace(LEFT, stood=DAY)


def expiry(
    *left: Remainder,
    standing: str | None = EventKind.FILES_EXPIRING,
    ran: float = 0.0,
    now: float = NOW,
) -> Expiry:
    return plan_expiry(left, (), {"r1": standing} if standing else {}, ran, now)


def test_they_go_when_their_time_is_over_and_the_alert_has_stood_for_a_day() -> None:
    assert expiry(STOOD).go == (STOOD,)
    assert expiry(replace(STOOD, until=NOW + 1)).go == ()
    assert expiry(replace(STOOD, stood=DAY - 1)).go == ()
    assert expiry(replace(STOOD, stood=DAY - 1), ran=1.0).go != ()
    assert expiry(replace(STOOD, stood=None), ran=2 * DAY).go == ()


def test_an_alert_that_does_not_stand_counts_for_nothing() -> None:
    gone = expiry(STOOD, standing=None, ran=60.0)
    assert (gone.go, gone.stood) == ((), {})
    assert [notice.run_id for notice in gone.notices] == ["r1"]


def test_their_removal_is_announced_before_their_time() -> None:
    early = replace(LEFT, until=NOW + AHEAD)
    made = expiry(early, standing=None)
    (notice,) = made.notices
    assert made.stood == {"r1-train-1": 0.0}
    assert notice.kind == EventKind.FILES_EXPIRING
    assert notice.message == (
        "model.pt and 3 more files (3 GiB) of run r1 on gpu2 will be removed on "
        f"{date_text(NOW + AHEAD)}"
    )
    assert expiry(replace(early, until=NOW + AHEAD + 1), standing=None) == Expiry()


def test_after_two_weeks_without_a_daemon_the_alert_stands_for_a_day_first() -> None:
    late = replace(LEFT, until=NOW - 14 * DAY)
    (notice,) = expiry(late, standing=None).notices
    assert notice.message.endswith(f"will be removed on {date_text(NOW + DAY)}")
    told = replace(late, stood=0.0)
    assert expiry(told, ran=300.0) == Expiry(stood={"r1-train-1": 300.0})


def test_what_more_of_a_run_is_to_go_is_announced_too() -> None:
    other = replace(LEFT, attempt_id="r1-train-2", host="gpu1")
    made = expiry(STOOD, other)
    assert made.go == (STOOD,)
    assert made.stood == {"r1-train-2": 0.0}
    (notice,) = made.notices
    assert notice.message.startswith("model.pt and 7 more files (6 GiB) of run r1 on gpu1, gpu2 ")


def test_an_alert_about_files_that_were_fetched_since_asks_for_nothing_any_more() -> None:
    fetched = replace(STOOD, fetched_at=NOW - 5, until=NOW + DAY)
    (notice,) = expiry(fetched, ran=60.0).notices
    assert notice.kind == EventKind.FILES_EXPIRING_FETCHED
    assert expiry(fetched, standing=EventKind.FILES_EXPIRING_FETCHED).notices == ()


def test_what_was_fetched_needs_nobody_and_goes_first() -> None:
    fetched = replace(STOOD, attempt_id="r1-train-9", fetched_at=NOW - 5)
    older = replace(STOOD, attempt_id="r1-train-0", until=NOW - DAY)
    assert expiry(STOOD, older, fetched).go == (fetched, older, STOOD)
    (notice,) = expiry(replace(fetched, stood=None), standing=None).notices
    assert (notice.kind, notice.severity) == (EventKind.FILES_EXPIRING_FETCHED, "info")
    assert "were fetched and will be removed" in notice.message
    (notice,) = expiry(replace(fetched, stood=None), LEFT, standing=None).notices
    assert notice.kind == EventKind.FILES_EXPIRING


@pytest.mark.parametrize(
    "held",
    [replace(STOOD, kept_by="ana"), replace(STOOD, kept_by="ana", kept_until=NOW + 1)],
)
def test_what_is_kept_stays_and_is_announced_anew(held: Remainder) -> None:
    assert expiry(held, ran=9.0) == Expiry(over=("r1",), stood={"r1-train-1": None})


def test_what_was_kept_up_to_now_is_no_longer() -> None:
    assert expiry(replace(STOOD, kept_by="ana", kept_until=NOW)).go != ()


def test_files_of_an_open_run_stay() -> None:
    made = plan_expiry([STOOD], {"r1"}, {"r1": EventKind.FILES_EXPIRING}, 60.0, NOW)
    assert made == Expiry(over=("r1",), stood={"r1-train-1": None})


def test_what_a_person_gave_up_goes_without_an_alert() -> None:
    given_up = replace(LEFT, until=NOW + 7 * DAY, given_up_by="ana")
    assert expiry(given_up, standing=None).go == (given_up,)
    assert expiry(given_up).over == ("r1",)


def test_the_day_that_people_are_told() -> None:
    assert goes_at(LEFT, NOW - 3 * DAY) == NOW
    assert goes_at(LEFT, NOW) == NOW + DAY
    assert goes_at(replace(LEFT, stood=DAY / 2), NOW) == NOW + DAY / 2
    assert goes_at(replace(LEFT, kept_by="ana"), NOW) is None
    kept = replace(LEFT, kept_by="ana", kept_until=NOW + 9 * DAY)
    assert goes_at(kept, NOW) == NOW + 10 * DAY


def test_a_longer_keep_jobs_counts_for_what_stays_already_and_a_shorter_does_not() -> None:
    assert longer([LEFT], 9 * DAY) == {"r1-train-1": NOW + 2 * DAY}
    assert longer([LEFT], 7 * DAY) == {}
    assert longer([LEFT], DAY) == {}


def test_names_from_hosts_are_made_harmless() -> None:
    text = describe([replace(LEFT, names=("\x1b[31mred\n",), files=1)])
    assert text.isprintable()
    assert describe([replace(LEFT, names=(), files=1)]) == "1 file (3 GiB) of run r1 on gpu2"
    many = [replace(LEFT, host=f"gpu{n}") for n in range(5)]
    assert describe(many).endswith("on gpu0, gpu1, gpu2 and 2 more hosts")


@given(
    st.lists(
        st.builds(
            Remainder,
            attempt_id=st.uuids().map(str),
            run_id=st.sampled_from("abc"),
            stage=st.just("s"),
            host=st.just("h"),
            runtime=st.just("process"),
            ref=st.just("x"),
            path=st.just("/x"),
            files=st.integers(0, 9),
            size=st.integers(0, 9),
            since=st.just(0.0),
            until=st.floats(-5 * DAY, 5 * DAY),
            fetched_at=st.none() | st.floats(-9, 9),
            stood=st.none() | st.floats(0, 2 * DAY),
            given_up_by=st.none() | st.just("ana"),
            kept_by=st.none() | st.just("bo"),
            kept_until=st.none() | st.floats(-9, 9),
        ),
        max_size=8,
    ),
    st.frozensets(st.sampled_from("abc")),
    st.dictionaries(
        st.sampled_from("abc"),
        st.sampled_from([EventKind.FILES_EXPIRING, EventKind.FILES_EXPIRING_FETCHED]),
    ),
    st.floats(0, 600),
)
def test_nothing_goes_early_or_unasked(
    left: list[Remainder], open_runs: frozenset[str], standing: dict[str, str], ran: float
) -> None:
    made = plan_expiry(left, open_runs, standing, ran, 0.0)
    for each in made.go:
        if each.given_up_by is not None:
            continue
        assert each.until <= 0
        assert each.stood is not None
        assert each.stood + ran >= DAY
        assert each.run_id in standing
        assert each.run_id not in open_runs
        assert each.kept_by is None or (each.kept_until is not None and each.kept_until <= 0)
    unfetched = [e.fetched_at is None and e.given_up_by is None for e in made.go]
    assert unfetched == sorted(unfetched)
    told = {notice.run_id for notice in made.notices}
    assert all(a in {e.attempt_id for e in left} for a in made.stood)
    assert told.isdisjoint(made.over)


class Life(RuleBasedStateMachine):
    """One run's files while the daemon runs, stops, its clock jumps, and people keep and forget."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.left: Remainder | None = replace(LEFT, since=NOW, until=NOW + 7 * DAY)
        self.standing: dict[str, str] = {}
        self.open = False
        self.seen = 0.0
        """Seconds that people could read of it, since it last was not to go soon."""

    @rule(ran=st.floats(0, 600), times=st.integers(1, 400))
    @precondition(lambda self: self.left is not None)
    def goes_on(self, ran: float, times: int) -> None:
        for _ in range(times):
            if self.left is not None:
                self._step(ran)

    def _step(self, ran: float) -> None:
        left = self.left
        assert left is not None
        self.now += ran
        stands = left.run_id in self.standing
        self.seen += ran if stands and left.stood is not None else 0.0
        opened = {"r1"} if self.open else set()
        made = plan_expiry([left], opened, self.standing, ran, self.now)
        if made.go:
            self._check_may_go(left)
            self.left = None
            return
        self.standing |= {notice.run_id: notice.kind for notice in made.notices}
        for run_id in made.over:
            del self.standing[run_id]
        if left.attempt_id in made.stood:
            stood = made.stood[left.attempt_id]
            self.seen = 0.0 if stood is None else self.seen
            self.left = replace(left, stood=stood)

    def _check_may_go(self, left: Remainder) -> None:
        assert self.now >= left.until
        assert self.seen >= DAY - 1e-3
        assert not self.open
        assert left.kept_by is None or (left.kept_until or 0) <= self.now

    @rule(seconds=st.floats(-30 * DAY, 30 * DAY))
    def is_off_or_its_clock_jumps(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def its_alert_is_forgotten(self) -> None:
        self.standing.clear()

    @rule(until=st.none() | st.floats(0, 3 * DAY))
    @precondition(lambda self: self.left is not None)
    def is_kept(self, until: float | None) -> None:
        assert self.left is not None
        ends = None if until is None else self.now + until
        self.left = replace(self.left, kept_by="bo", kept_until=ends, stood=None)
        self.seen = 0.0

    @rule()
    @precondition(lambda self: self.left is not None)
    def is_fetched(self) -> None:
        assert self.left is not None
        self.left = replace(self.left, fetched_at=self.now)

    @rule()
    @precondition(lambda self: self.left is not None)
    def is_kept_no_longer(self) -> None:
        assert self.left is not None
        self.left = replace(self.left, kept_by=None, kept_until=None)

    @rule(value=st.booleans())
    def is_open(self, value: bool) -> None:
        self.open = value


TestLife = pytest.mark.slow(Life.TestCase)


def test_their_removal_is_announced_two_days_before() -> None:
    assert expiry(replace(LEFT, until=NOW + 172_800), standing=None).notices
    assert not expiry(replace(LEFT, until=NOW + 172_801), standing=None).notices


def test_a_day_is_told_as_the_machine_counts_days() -> None:
    assert date_text(NOW) == datetime.fromtimestamp(NOW).strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("left", "text"),
    [
        ([replace(LEFT, files=1)], "model.pt (3 GiB) of run r1 on gpu2"),
        ([replace(LEFT, files=2)], "model.pt and 1 more file (3 GiB) of run r1 on gpu2"),
        ([replace(LEFT, names=(), files=2)], "2 files (3 GiB) of run r1 on gpu2"),
        (
            [replace(LEFT, names=()), replace(LEFT, names=("b",), host="gpu1")],
            "b and 7 more files (6 GiB) of run r1 on gpu1, gpu2",
        ),
        ([replace(LEFT, host=f"g{n}") for n in range(3)],
         "model.pt and 11 more files (9 GiB) of run r1 on g0, g1, g2"),
    ],
)  # fmt: skip
def test_files_in_words(left: list[Remainder], text: str) -> None:
    assert describe(left) == text


def test_a_long_name_is_cut() -> None:
    assert "x" * 80 in describe([replace(LEFT, names=("x" * 80,))])
    assert "x" * 80 not in describe([replace(LEFT, names=("x" * 81,))])


def test_an_alert_stands_no_longer_for_a_clock_that_jumped_back() -> None:
    assert expiry(STOOD, ran=0.0).stood == {}
    assert expiry(STOOD, ran=-5.0).stood == {}
    assert expiry(STOOD, ran=0.5).stood == {"r1-train-1": DAY + 0.5}


def test_a_day_has_as_many_seconds_as_it_has() -> None:
    assert expiry(replace(STOOD, stood=86_400.0)).go
    assert not expiry(replace(STOOD, stood=86_399.9)).go
