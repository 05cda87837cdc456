"""What is said to each stage that waits, beside the obstacles on each host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.plan import plan
from hostler.decide.reasons import by_distance, is_as_asked
from hostler.decide.requests import request_of, wanted
from hostler.model.hosts import Host
from hostler.model.pipelines import Cause, Retries
from hostler.model.plans import Ailment, HostReason, Reason, Remedy, RemedyKind
from hostler.model.runs import Phase, Run
from tests.support.values import planning as lab


def reason(run: Run, stage: str, *parts: Host | Run, **snapshot: Any) -> Reason:
    return plan(lab.snapshot(*parts, run, **snapshot)).reasons[run.run_id, stage]


def at_work(run_id: str, **asked: Any) -> tuple[Run, Host]:
    """A run at work on "g", and that host of eight CPUs and two GPUs."""
    work = lab.attempt(run_id, "x", host="g", gpus=(), placed_at=lab.NOW)
    look = {"workloads": (lab.workload(work),)}
    return lab.run(run_id, lab.stage("x", **asked), attempts=[work]), lab.host(
        "g", 2, cpus=8, look=look
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cpus": 1.0}, "1 CPU"),
        ({"cpus": 2.5}, "2.5 CPUs"),
        ({"cpus": 8.0, "ram": 4 * GIB}, "8 CPUs and 4 GiB RAM"),
        ({"gpus": 1}, "1 GPU"),
        ({"gpus": 2, "gpu_memory": 24 * GIB}, "2 GPUs (24 GiB)"),
        ({"gpus": 4, "gpu_models": ("A100*", "H100"), "gpu_memory": 24 * GIB, "ram": GIB},
         "4 GPUs (A100*, H100, 24 GiB)"),
    ],
)  # fmt: skip
def test_a_request_in_a_few_words(asked: dict[str, Any], words: str) -> None:
    assert wanted(request_of(lab.run(), lab.stage(**asked))) == words


def test_without_hosts_one_has_to_be_added() -> None:
    found = reason(lab.run(), "train")
    assert found == Reason("there are no hosts", remedies=(Remedy(RemedyKind.ADD_HOST),))


@pytest.mark.parametrize(
    ("taken", "nearest"),
    [(5.0, "3 CPUs on g"), (5.5, "2 CPUs on g"), (7.0, "1 CPU on g"), (7.5, None)],
)
def test_fewer_cpus_that_would_be_free_now_are_named(taken: float, nearest: str | None) -> None:
    busy, host = at_work("r-0", cpus=taken)
    asks = lab.run("r-1", lab.stage(cpus=9.0))
    assert reason(asks, "train", host, busy).nearest == nearest
    with_ram = lab.run("r-1", lab.stage(cpus=9.0, ram=300 * GIB))
    assert reason(with_ram, "train", host, busy).nearest is None


def test_of_several_hosts_the_one_with_most_cpus_is_nearest() -> None:
    busy, host = at_work("r-0", cpus=5.0)
    asks = lab.run("r-1", lab.stage(cpus=9.0))
    other = lab.host("h", 0, cpus=4)
    assert reason(asks, "train", host, other, busy).nearest == "4 CPUs on h"


def test_a_stage_that_needs_others_names_three_and_counts_the_rest() -> None:
    needed = [lab.stage(f"s{i}", needs=("first",)) for i in range(5)]
    names = tuple(stage.name for stage in needed)
    done = lab.attempt(stage="s4", phase=Phase.SUCCEEDED)
    works = lab.attempt(stage="first", gpus=())

    def waiting(count: int) -> Reason:
        stages = (lab.stage("first"), *needed, lab.stage("last", needs=names[:count]))
        made = lab.run("r-1", *stages, attempts=[works, done])
        return reason(made, "last", lab.host(look={"workloads": (lab.workload(works),)}))

    told = "waits for s0 (waiting), s1 (waiting), s2 (waiting)"
    assert waiting(3).sentence == told
    assert waiting(4).sentence == f"{told} and 1 more"
    assert [r.subject for r in waiting(5).remedies] == ["s0", "s1", "s2", "s3"]


def test_a_stage_that_needs_only_the_end_of_another_says_so() -> None:
    last = lab.stage("last", needs=("a", "b"), needs_ended=frozenset({"b"}))
    made = lab.run("r-1", lab.stage("a", gpus=9), lab.stage("b", gpus=9), last)
    found = reason(made, "last", lab.host())
    assert found.sentence == "waits for a (waiting), the end of b (waiting)"
    assert [r.subject for r in found.remedies] == ["a", "b"]


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        ({"cause": Cause.USER_ERROR}, "attempt 1 ended (user error); the next starts in 1m10s"),
        (
            {"cause": Cause.USER_ERROR, "finished_at": lab.NOW - 99.9},
            "attempt 1 ended (user error); the next starts in 1s",
        ),
    ],
)
def test_a_retry_that_rests_says_until_when(failed: dict[str, Any], said: str) -> None:
    stage = lab.stage(gpus=1, retries=Retries(max=2, backoff=100.0))
    tried = lab.attempt(phase=Phase.FAILED, **failed)
    made = lab.run("r-1", stage, attempts=[tried])
    assert reason(made, "train", lab.host()).sentence == said


def test_a_stage_that_its_host_could_not_start_says_which_and_why() -> None:
    tries = [
        lab.attempt(number=n, phase=Phase.FAILED, cause=Cause.HOST_FAULT, detail="no space left")
        for n in (1, 2, 3, 4, 5, 6, 7)
    ]
    made = lab.run("r-1", lab.stage(gpus=1), attempts=tries)
    ailing = {("gpu1", "process"): Ailment("no space left", lab.NOW - 60, 10.0, lab.NOW + 600)}
    found = reason(made, "train", lab.host(), ailing=ailing)
    assert found.sentence == (
        "attempt 7 could not be started on gpu1: no space left; the next starts in 33s"
    )


def test_hosts_that_are_not_merged_are_named_up_to_three() -> None:
    hosts = [replace(lab.host(f"gpu{i}"), unmerged=True) for i in range(1, 5)]

    def said(count: int) -> str:
        unsure = frozenset(host.name for host in hosts[:count])
        found = reason(lab.run(), "train", *hosts, unsure=unsure, restored=frozenset({"r-1"}))
        assert [r.subject for r in found.remedies] == sorted(unsure)
        return found.sentence

    assert "may have started on gpu1, gpu2, gpu3 since the backup" in said(3)
    assert "may have started on gpu1, gpu2, gpu3 and 1 more since the backup" in said(4)


def test_cells_that_run_or_start_now_are_counted_for_max_parallel() -> None:
    cells = [lab.stage(f"t.{i}", base="t", max_parallel=2) for i in range(4)]
    works = lab.attempt(stage="t.0", gpus=())
    over = lab.attempt(stage="t.3", gpus=(), phase=Phase.COLLECTING)
    other = lab.attempt("r-2", "t.0", gpus=())
    host = lab.host(look={"workloads": tuple(map(lab.workload, (works, other)))})
    runs = [lab.run(r, *cells, attempts=a) for r, a in (("r-1", [works, over]), ("r-2", [other]))]
    found = plan(lab.snapshot(host, *runs)).reasons["r-1", "t.2"]
    assert found.sentence == "2 cells of t run, and max_parallel is 2"
    assert [r.subject for r in found.remedies] == ["r-1-t.0-1"]


def test_reasons_are_of_what_waits_and_is_not_started() -> None:
    big = lab.run(
        "r-1", lab.stage("a", gpus=1), lab.stage("b", needs=("a",)), lab.stage("c", gpus=9)
    )
    reasons = plan(lab.snapshot(lab.host(), big)).reasons
    assert list(reasons) == [("r-1", "b"), ("r-1", "c")]
    assert len(reasons) == 2
    for key in (("r-1", "a"), ("r-1", "z"), ("r-2", "b")):
        assert key not in reasons


def test_who_waits_behind_others_is_told_whose_turn_it_is() -> None:
    busy = lab.run("r-0", lab.stage(gpus=4), attempts=[lab.attempt("r-0", gpus=range(4))])
    host = lab.host(look={"workloads": (lab.workload(busy.attempts[0]),)})
    runs = [lab.run(f"r-{i}", lab.stage(gpus=4)) for i in (1, 2, 3)]
    reasons = plan(lab.snapshot(host, busy, *runs)).reasons
    first, _, third = (reasons[run.run_id, "train"] for run in runs)
    assert "before it in the queue" not in first.sentence
    assert first.remedies == ()
    assert third.sentence.endswith("(2 before it in the queue)")
    assert third.remedies == (Remedy(RemedyKind.WAIT_FOR_TURN, "r-1/train", 2.0),)


def test_what_no_host_can_take_says_so_with_the_nearest() -> None:
    found = reason(lab.run("r-1", lab.stage(gpus=9)), "train", lab.host())
    assert found.sentence == (
        "no host can take 9 GPUs as requested; nearest gpu1: has 4 GPUs that suit, of 9 requested"
    )
    assert found.remedies == (Remedy(RemedyKind.ADD_HOST),)


def told(host: str, *remedies: tuple[RemedyKind, str, float | None]) -> HostReason:
    return HostReason(host, "", tuple(Remedy(*remedy) for remedy in remedies))


def test_hosts_are_told_in_the_order_of_how_far_they_are() -> None:
    """What takes no change first; of changes, who lacks least; nobody last."""
    kind = RemedyKind
    expected = [
        told("turn", (kind.WAIT_FOR_TURN, "r/t", 1.0)),
        told("attempt", (kind.WAIT_FOR_ATTEMPT, "a", None)),
        told("both", (kind.WAIT_FOR_TURN, "r/t", 1.0), (kind.WAIT_FOR_ATTEMPT, "a", None)),
        told("look", (kind.WAIT_FOR_LOOK, "h", None)),
        told("memory", (kind.WAIT_FOR_MEMORY, "m", None)),
        told("host", (kind.WAIT_FOR_HOST, "h", None)),
        told("lease", (kind.WAIT_FOR_LEASE, "l", None)),
        told("process", (kind.WAIT_FOR_PROCESS, "p", None)),
        told("drained", (kind.UNDRAIN, "d", None)),
        told("full", (kind.FREE_FILES, "d", None)),
        told("label", (kind.DROP, "labels", None)),
        told("seven", (kind.LOWER, "gpus", 7.0)),
        told("six", (kind.LOWER, "gpus", 6.0)),
        told("fix", (kind.FIX_HOST, "h", None)),
        told("not asked", (kind.DROP, "hosts", None)),
        told("never"),
    ]
    request = request_of(lab.run(), lab.stage(gpus=8))
    assert [r.host for r in by_distance(expected[::-1], request)] == [r.host for r in expected]
    assert [is_as_asked(found) for found in expected] == [True] * 10 + [False] * 6
