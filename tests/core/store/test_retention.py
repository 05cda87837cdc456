from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hostler.store.retention import (
    Blob,
    GcPlan,
    RetentionLimits,
    RunUse,
    plan_gc,
    without_unknown,
)

_NOW = 1_000_000.0
_LIMITS = RetentionLimits(logs_for=100.0, outputs_for=50.0, young_for=10.0)


def _blobs(*names: str, size: int = 10, taken_in: float = 0.0) -> dict[str, Blob]:
    return {name: Blob(size, taken_in) for name in names}


def test_logs_and_outputs_go_when_their_time_is_over() -> None:
    runs = [
        RunUse("old", _NOW - 200, 7, "s1", ("o1",)),
        RunUse("recent", _NOW - 60, 7, "s2", ("o2",)),
        RunUse("new", _NOW - 10, 7, "s3", ("o3",)),
        RunUse("open", None, 7, "s4", ("o4",)),
        RunUse("kept", _NOW - 500, 7, "s5", ("o5",), is_kept=True),
    ]
    blobs = _blobs("s1", "s2", "s3", "s4", "s5", "o1", "o2", "o3", "o4", "o5", "orphan")
    plan = plan_gc(runs, blobs, _LIMITS, _NOW)
    assert plan == GcPlan(("old",), ("o1", "o2", "orphan"), 7, 30)
    assert plan.freed == 37


def test_an_output_that_a_younger_or_open_run_uses_stays() -> None:
    runs = [
        RunUse("old", _NOW - 200, outputs=("shared", "alone")),
        RunUse("retry", None, outputs=("shared",)),
    ]
    assert plan_gc(runs, _blobs("shared", "alone"), _LIMITS, _NOW).blobs == ("alone",)


def test_what_just_came_is_left_alone() -> None:
    plan = plan_gc([], _blobs("upload", taken_in=_NOW - 5), _LIMITS, _NOW)
    assert plan == GcPlan(young=1, young_bytes=10, young_until=_NOW + 5)
    used = [RunUse("r", None, snapshot="upload")]
    assert plan_gc(used, _blobs("upload", taken_in=_NOW - 5), _LIMITS, _NOW) == GcPlan()


def test_over_the_size_limit_the_longest_ended_go_first() -> None:
    runs = [RunUse(f"r{n}", _NOW - n, outputs=(f"o{n}",)) for n in (10, 20, 30)]
    limits = RetentionLimits(None, None, content_bytes=25, young_for=0.0)
    assert plan_gc(runs, _blobs("o10", "o20", "o30"), limits, _NOW).blobs == ("o30",)
    limits = RetentionLimits(None, None, content_bytes=None, young_for=0.0)
    assert plan_gc(runs, _blobs("o10", "o20", "o30"), limits, _NOW).blobs == ()


_DIGEST = st.sampled_from("abcdefgh")
_TIME = st.floats(0, 1000)
_RUNS = st.lists(
    st.builds(
        RunUse,
        run_id=st.uuids().map(str),
        finished_at=st.none() | _TIME,
        log_bytes=st.integers(0, 9),
        snapshot=st.none() | _DIGEST,
        outputs=st.lists(_DIGEST, max_size=3).map(tuple),
        is_kept=st.booleans(),
    ),
    max_size=6,
)
_LIMIT = st.builds(
    RetentionLimits,
    logs_for=st.none() | _TIME,
    outputs_for=st.none() | _TIME,
    content_bytes=st.none() | st.integers(0, 100),
    young_for=_TIME,
)


@given(
    _RUNS,
    st.dictionaries(_DIGEST, st.builds(Blob, size=st.integers(0, 50), taken_in=_TIME)),
    _LIMIT,
    st.floats(0, 2000),
)
def test_nothing_that_is_needed_is_ever_planned(
    runs: list[RunUse], blobs: dict[str, Blob], limits: RetentionLimits, now: float
) -> None:
    plan = plan_gc(runs, blobs, limits, now)
    needed = {run.snapshot for run in runs}
    for run in runs:
        if run.is_kept or run.finished_at is None:
            needed |= set(run.outputs)
            assert run.run_id not in plan.logs
    assert needed.isdisjoint(plan.blobs)
    assert set(plan.blobs) <= set(blobs)
    assert plan.blob_bytes == sum(blobs[digest].size for digest in plan.blobs)
    assert all(blobs[digest].taken_in <= now - limits.young_for for digest in plan.blobs)


def test_what_came_before_a_time_and_no_run_uses_is_told_apart() -> None:
    blobs = {name: Blob(1, at) for name, at in (("used", 1.0), ("lost", 1.0), ("new", 9.0))}
    runs = [RunUse("r1", None, snapshot="used")]
    assert without_unknown(blobs, runs, 5.0).keys() == {"used", "new"}
