"""Stored outputs that nobody has fetched: announced for a day before they go unasked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hostler.decide.expiry import DAY, SavedExpiry, date_text, plan_saved_expiry

NOW = 1_000_000_000.0
GIB = 1024**3


def test_they_are_announced_and_held_for_a_day() -> None:
    made = plan_saved_expiry({"r1": GIB}, {}, standing=False, ran=0.0, now=NOW)
    assert made == SavedExpiry(
        held=frozenset({"r1"}),
        stood={"r1": 0.0},
        notice="unfetched outputs of 1 run (1 GiB) will be removed from "
        f"{date_text(NOW + DAY)} on: r1",
    )
    made = plan_saved_expiry({"r1": GIB}, {"r1": DAY - 2}, standing=True, ran=1.0, now=NOW)
    assert made == SavedExpiry(held=frozenset({"r1"}), stood={"r1": DAY - 1})
    made = plan_saved_expiry({"r1": GIB}, {"r1": DAY - 1}, standing=True, ran=1.0, now=NOW)
    assert made == SavedExpiry(stood={"r1": DAY})


def test_an_alert_that_does_not_stand_is_made_anew_and_holds() -> None:
    made = plan_saved_expiry({"r1": 1}, {"r1": 2 * DAY}, standing=False, ran=DAY, now=NOW)
    assert made.held == {"r1"}
    assert made.notice is not None
    assert made.stood == {}


def test_one_alert_is_about_all_and_told_again_when_more_come() -> None:
    near = {f"r{n}": GIB for n in range(10)}
    stood = dict.fromkeys(near, DAY)
    assert plan_saved_expiry(near, stood, standing=True, ran=0.0, now=NOW) == SavedExpiry()
    del stood["r3"]
    made = plan_saved_expiry(near, stood, standing=True, ran=0.0, now=NOW)
    assert made.held == {"r3"}
    assert made.notice is not None
    assert made.notice.startswith("unfetched outputs of 10 runs (10 GiB)")
    assert made.notice.endswith(": r0, r1, r2, r3, r4, r5, r6, r7 and 2 more")


def test_it_is_over_when_nothing_is_left() -> None:
    made = plan_saved_expiry({}, {"r1": 5.0}, standing=True, ran=1.0, now=NOW)
    assert made == SavedExpiry(stood={"r1": None}, is_over=True)
    assert plan_saved_expiry({}, {}, standing=False, ran=1.0, now=NOW) == SavedExpiry()


_RUN = st.sampled_from("abcd")


@given(st.lists(st.tuples(st.frozensets(_RUN), st.floats(0, DAY / 3), st.booleans()), max_size=30))
def test_nothing_goes_before_it_was_seen_for_a_day(
    steps: list[tuple[frozenset[str], float, bool]],
) -> None:
    stood: dict[str, float] = {}
    seen: dict[str, float] = {}
    standing = False
    for near, ran, forgets in steps:
        for run in seen:
            seen[run] += ran if standing else 0.0
        made = plan_saved_expiry(dict.fromkeys(near, 1), stood, standing=standing, ran=ran, now=NOW)
        for run in near - made.held:
            assert seen[run] >= DAY - 1e-6
        for run, value in made.stood.items():
            if value is None:
                del stood[run], seen[run]
            else:
                stood[run] = value
                seen.setdefault(run, 0.0)
        standing = (standing or made.notice is not None) and not made.is_over and not forgets
