"""The checker catches every kind of broken promise of services, planted; and random faults in a
simulated lab break none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import simnemesis
from tests.chaos.checker import check, of_services
from tests.chaos.history import (
    AttemptEnd,
    Fault,
    Final,
    GrantSeen,
    History,
    Recorder,
    ServiceEnd,
    SlotGivenBack,
    Unanswered,
    read,
)
from tests.chaos.served import Asked, left_to_nobody

FIRST = AttemptEnd(
    "r1-serve.0-1", "r1", "serve.0", 1, "failed", "gpu1", 1, None, "user error", 10.0, 50.0, 9.0,
    12.0,
)  # fmt: skip
SECOND = replace(
    FIRST, attempt_id="r1-serve.0-2", number=2, phase="cancelled", cause="stopped",
    exit_code=None, launched_at=53.0, placed_at=52.0, finished_at=900.0, ready_at=55.0,
)  # fmt: skip
OTHER = GrantSeen(51, "gpu1", "c2", "r2-train-1", ("GPU-1",))


def clean() -> History:
    return History(
        grants=[
            GrantSeen(10, "gpu1", "c1", FIRST.attempt_id, ("GPU-1",)),
            GrantSeen(53, "gpu1", "c3", SECOND.attempt_id, ("GPU-1",)),
            replace(OTHER, gpus=("GPU-2",)),
            replace(OTHER, at=901),
        ],
        final=Final(
            1000, {}, (SECOND, FIRST), (), services=(ServiceEnd("web", 1, (SECOND.attempt_id,)),)
        ),
    )


def found(history: History) -> list[str]:
    assert history.final is not None
    return [violation.invariant for violation in of_services(history, history.final)]


def test_what_services_promise_is_part_of_each_history(tmp_path: Path) -> None:
    assert found(clean()) == []
    history = clean()
    history.unanswered.append(Unanswered(3, "web", "a stop"))
    recorder = Recorder(tmp_path / "h.jsonl")
    for entry in (*history.grants, *history.unanswered, history.final):
        recorder.add(entry)
    assert read(recorder.file) == history
    assert "I9" in [violation.invariant for violation in check(history)]


def test_a_replica_too_many_and_a_service_without_rest_are_found() -> None:
    history = clean()
    assert history.final is not None
    (web,) = history.final.services
    for changed in (replace(web, running=("a", "b")), replace(web, problem="it waits")):
        history.final = replace(history.final, services=(changed,))
        assert found(history) == ["I10"]


def test_a_gpu_that_was_anothers_between_two_tries_is_found_unless_it_was_not_kept() -> None:
    history = clean()
    history.grants.append(OTHER)
    assert found(history) == ["I11"]
    assert history.final is not None
    passed = replace(FIRST, attempt_id=OTHER.attempt_id, run_id="r2", placed_at=50.5)
    before, history.final = history.final, replace(
        history.final, attempts=(passed, FIRST, SECOND),
        services=(ServiceEnd("web", 1, (SECOND.attempt_id,), runs=("r1", "r2")),),
    )  # fmt: skip
    assert found(history) == []
    history.final = before
    history.faults.append(Fault(50.5, 51.5, "power", "gpu1"))
    assert found(history) == []
    history.faults.clear()
    for changed in (
        replace(FIRST, ready_at=None), replace(FIRST, cause="superseded"),
        replace(FIRST, finished_at=-700.0),
    ):  # fmt: skip
        history.final = replace(history.final, attempts=(changed, SECOND))
        assert found(history) == []


@pytest.mark.parametrize(("at", "is_found"), [(51.0, False), (8.0, True), (53.0, True)])
def test_a_slot_that_a_release_gave_back_is_not_kept(at: float, is_found: bool) -> None:
    """As by one of three replicas that crashed, while a release of one took over and was undone."""
    history = clean()
    history.grants.append(OTHER)
    assert history.final is not None
    (web,) = history.final.services
    other = SlotGivenBack("r1", "serve.1", 51.0)
    given_back = (other, SlotGivenBack("r1", "serve.0", at))
    history.final = replace(history.final, services=(replace(web, given_back=given_back),))
    assert found(history) == ["I11"] * is_found


@pytest.mark.parametrize(
    ("fault", "at", "missed"),
    [
        (Fault(20.0, 21.0, "power", "gpu1"), 40.0, []),
        (Fault(20.0, 21.0, "power", "gpu2"), 40.0, [40.0]),
        (Fault(20.0, 21.0, "cut", "gpu1"), 40.0, [40.0]),
        (Fault(20.0, 21.0, "kill daemon"), 40.0, [40.0]),
        (Fault(20.0, 21.0, "gpu lost", "gpu1"), 30.0, []),
        (Fault(20.0, 21.0, "gpu lost", "gpu1"), 60.0, [60.0]),
    ],
)
def test_a_request_is_left_to_nobody_where_nothing_broke_what_serves(
    fault: Fault, at: float, missed: list[float]
) -> None:
    good = [Asked(when, when + 0.1, True) for when in (10.0, 22.0, 50.0)]
    asked = sorted([Asked(5.0, 5.1, False), *good, Asked(at, at + 3, False)], key=lambda a: a.at)
    assert [each.at for each in left_to_nobody("web", asked, [fault], "gpu1")] == missed


@pytest.mark.parametrize("seed", ["1.1", "1.2"])
def test_random_faults_break_no_promise_of_a_service(tmp_path: Path, seed: str) -> None:
    done, violations = asyncio.run(simnemesis.segment(tmp_path, seed, steps=12))
    assert violations == [], done
