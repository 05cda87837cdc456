"""The checker catches every kind of violation, planted, and nothing in a clean history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import GIVEN_UP, check
from tests.chaos.history import (
    AttemptEnd,
    Call,
    CanaryEnd,
    ContainerEnd,
    DockerCall,
    Fault,
    Final,
    GrantSeen,
    History,
    Recorder,
    Sample,
    Told,
    TrueExit,
    read,
)

ENDED = AttemptEnd("r1-a-1", "r1", "a", 1, "succeeded", "gpu1", 0)
CANARY = CanaryEnd("gpu1", "a process of cleo's", True, "GPU-9")
FINAL = Final(1000, {"r1": "succeeded"}, (ENDED,), (), (TrueExit("r1-a-1", 0),), (CANARY,))


def clean() -> History:
    return History(
        calls=[Call(0, 1, "submit", "ok", "r1")],
        faults=[Fault(100, 160, "cut", "gpu2")],
        grants=[GrantSeen(5, "gpu1", "c1", "r1-a-1", ("GPU-1",))],
        docker=[
            DockerCall(4, "gpu1", "create", "hostler-x-r1-a-1", 201),
            DockerCall(4, "gpu1", "create", "hostler-x-r1-a-1", 409),
            DockerCall(5, "gpu1", "start", "hostler-x-r1-a-1", 204),
            DockerCall(5, "gpu1", "start", "hostler-x-r1-a-1", 304),
        ],
        samples=[
            Sample(99, {"gpu2": "up"}, {"gpu2": 4}),
            Sample(105, {"gpu2": "up"}, {"gpu2": 4}),
            Sample(120, {"gpu2": "unreachable"}, {"gpu2": 0}),
            Sample(166, {"gpu2": "up"}, {"gpu2": 4}),
        ],
        final=FINAL,
    )


def test_a_clean_history_has_no_violation(tmp_path: Path) -> None:
    assert check(clean()) == []
    recorder = Recorder(tmp_path / "h.jsonl")
    history = clean()
    told(history, *LINES)
    assert history.final is not None
    for entry in (*history.calls, *history.faults, *history.grants, *history.docker,
                  *history.samples, history.final):  # fmt: skip
        recorder.add(entry)
    assert read(recorder.file) == history


def test_an_answer_speaks_of_all_the_time_that_it_took() -> None:
    history = clean()
    history.faults.append(Fault(171, 172, "cut", "gpu2"))
    history.samples += [
        Sample(158, {"gpu2": "up"}, {"gpu2": 4}, 164),  # asked in the cut, answered after it
        Sample(170, {"gpu2": "unreachable"}, {"gpu2": 0}, 174),  # the next cut came in between
    ]
    assert check(history) == []


def _final(history: History, **changes: object) -> None:
    assert history.final is not None
    history.final = replace(history.final, **changes)  # type: ignore[arg-type]


def _overlap(h: History) -> None:
    h.grants.append(GrantSeen(6, "gpu1", "c2", "r2-a-1", ("GPU-1",), ("c1",)))


def _lost(h: History) -> None:
    h.calls.append(Call(2, 3, "submit", "ok", "r9"))


def _never_ended(h: History) -> None:
    _final(h, runs={"r1": None})


def _invented(h: History) -> None:
    _final(h, runs={"r1": "succeeded", "r7": "succeeded"})


def _orphan(h: History) -> None:
    _final(h, containers=(ContainerEnd("gpu1", "hostler-x-r1-a-1", "r1-a-1", False),))


def _vanished(h: History) -> None:
    _final(h, attempts=(replace(ENDED, phase="running"),), exits=())


def _called_up(h: History) -> None:
    h.samples.append(Sample(130, {"gpu2": "up"}, {"gpu2": 0}))


def _offered(h: History) -> None:
    h.samples.append(Sample(130, {"gpu2": "unreachable"}, {"gpu2": 2}))


def _late(h: History) -> None:
    h.samples.append(Sample(170, {"gpu2": "unreachable"}, {"gpu2": 0}))


def _twice(h: History) -> None:
    h.docker.append(DockerCall(9, "gpu1", "start", "hostler-x-r1-a-1", 204))


def _two_containers(h: History) -> None:
    h.grants.append(GrantSeen(9, "gpu1", "c2", "r1-a-1", ("GPU-2",)))


def _beside(h: History) -> None:
    second = replace(ENDED, attempt_id="r1-a-2", number=2)
    _final(h, attempts=(replace(ENDED, phase="running"), second), exits=())


RETRIED = (
    replace(ENDED, phase="failed", exit_code=3, placed_at=4, launched_at=5, finished_at=10),
    replace(ENDED, attempt_id="r1-a-2", number=2, placed_at=10.5, launched_at=11, finished_at=14),
)
IN_TURN = (TrueExit("r1-a-1", 3, at=9.9), TrueExit("r1-a-2", 0, at=14))
SECOND_GRANT = GrantSeen(10.9, "gpu1", "c2", "r1-a-2", ("GPU-2",))


def _retried(h: History, *, at: float = SECOND_GRANT.at, **first: object) -> None:
    """Two attempts on two GPUs, the second begun in time where nothing else is said."""
    attempts = (replace(RETRIED[0], **first), RETRIED[1])  # type: ignore[arg-type]
    h.grants.append(replace(SECOND_GRANT, at=at))
    _final(h, attempts=attempts, exits=IN_TURN)


def _placed_early(h: History) -> None:
    _retried(h, finished_at=10.7)


def _launched_early(h: History) -> None:
    """As in a history that does not say when attempts were placed."""
    attempts = [replace(attempt, placed_at=None) for attempt in RETRIED]
    _final(h, attempts=(replace(attempts[0], finished_at=11.5), attempts[1]), exits=())


def _seen_early(h: History) -> None:
    """The record says nothing of it; the referee and the runtime do."""
    _retried(h, at=9.8)


PLAIN = AttemptEnd(
    "r1-p-1", "r1", "p", 1, "failed", "gpu1", 5, cause="user error", placed_at=20, finished_at=30
)
LINES = (Told(21, "gpu1", "r1-p-1"), Told(29, "gpu1", "r1-p-1", 5))


def told(h: History, *lines: Told, more: tuple[AttemptEnd, ...] = (), **changes: object) -> None:
    """A process that told of itself, recorded with these changes."""
    plain = replace(PLAIN, **changes)  # type: ignore[arg-type]
    _final(h, attempts=(ENDED, plain, *more), told=lines, telling=("p",))


def _ran_twice(h: History) -> None:
    told(h, LINES[0], *LINES)


def _ran_beside(h: History) -> None:
    second = replace(PLAIN, attempt_id="r1-p-2", number=2, placed_at=31, finished_at=35)
    lines = (Told(28, "gpu1", "r1-p-2"), Told(34, "gpu1", "r1-p-2", 5))
    told(h, *LINES, *lines, more=(second,))


def _other_code(h: History) -> None:
    told(h, *LINES, exit_code=3)


def _said_unknown(h: History) -> None:
    told(h, *LINES, exit_code=None, cause="vanished")


def _never_ran(h: History) -> None:
    told(h)


def _cut_short(h: History) -> None:
    told(h, LINES[0])


def _not_recorded(h: History) -> None:
    told(h, *LINES, Told(40, "gpu2", "r1-p-7"))


def _wrong_code(h: History) -> None:
    _final(h, exits=(TrueExit("r1-a-1", 3),))


def _hidden_oom(h: History) -> None:
    _final(h, exits=(TrueExit("r1-a-1", 0, True),))


def _killed_canary(h: History) -> None:
    _final(h, canaries=(replace(CANARY, alive=False),))


def _shared_with_canary(h: History) -> None:
    h.grants.append(GrantSeen(9, "gpu1", "c2", "r1-b-1", ("GPU-9",)))


@pytest.mark.parametrize(
    ("plant", "invariant"),
    [
        (_overlap, "I1"), (_lost, "I2"), (_never_ended, "I2"), (_invented, "I2"),
        (_orphan, "I3"), (_vanished, "I3"), (_called_up, "I4"), (_offered, "I4"), (_late, "I4"),
        (_twice, "I5"), (_two_containers, "I5"), (_beside, "I5"),
        (_placed_early, "I5"), (_launched_early, "I5"), (_seen_early, "I5"),
        (_ran_twice, "I5"), (_ran_beside, "I5"), (_other_code, "I8"), (_said_unknown, "I8"),
        (_never_ran, "I8"), (_cut_short, "I8"), (_not_recorded, "I8"), (_wrong_code, "I8"),
        (_hidden_oom, "I8"), (_killed_canary, "I6"), (_shared_with_canary, "I6"),
    ],
)  # fmt: skip
def test_each_violation_is_caught(plant: object, invariant: str) -> None:
    history = clean()
    assert callable(plant)
    plant(history)
    assert invariant in {violation.invariant for violation in check(history)}


def test_attempts_in_turn_and_one_beside_its_lost_forerunner_are_no_violation() -> None:
    h = clean()
    _retried(h)
    assert check(h) == []
    h = clean()
    _retried(h, at=9.8, phase="lost", cause="host lost", exit_code=None)
    assert check(h) == []


def test_of_a_start_that_was_cut_off_and_its_repeat_the_last_exit_counts() -> None:
    h = clean()
    _final(h, exits=(TrueExit("r1-a-1", 137), TrueExit("r1-a-1", 0)))
    assert check(h) == []
    _final(h, exits=(TrueExit("r1-a-1", 0), TrueExit("r1-a-1", 137)))
    assert [v.invariant for v in check(h)] == ["I8"]


def test_an_end_that_nobody_saw_is_honest_only_where_its_host_was_given_up() -> None:
    h = clean()
    assert h.final is not None
    (only,) = h.final.attempts
    unseen = replace(only, phase="cancelled", exit_code=None, signal=None)
    _final(h, attempts=(unseen,))
    assert [v.invariant for v in check(h)] == ["I8"]
    h.faults.append(Fault(5, 6, GIVEN_UP, "gpu1"))
    assert check(h) == []


def test_a_process_that_tells_of_itself_is_recorded_so_unless_it_may_have_been_killed() -> None:
    h = clean()
    told(h, *LINES)
    assert check(h) == []
    for changes in ({"exit_code": None, "cause": "vanished"}, {"exit_code": 137, "signal": 9}):
        h = clean()
        told(h, *LINES, **changes)
        assert [v.invariant for v in check(h)] == ["I8"]
        h.faults.append(Fault(25, 26, "kill agent", "gpu2"))
        assert [v.invariant for v in check(h)] == ["I8"], "of another host"
        h.faults.append(Fault(25, 26, "kill agent", "gpu1"))
        assert check(h) == []
    h = clean()
    told(h, LINES[0], exit_code=None, cause="host rebooted")  # nobody claims to know how it ended
    assert check(h) == []
