"""Planning after a restore from a backup: hosts not merged yet, and what their notes change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hostler.decide.causes import trouble_of
from hostler.decide.merging import closed, in_the_way, merging_order, news_of
from hostler.decide.plan import plan
from hostler.decide.recovery import Kept, Note, as_followed
from hostler.insight.gpu_states import classify
from hostler.model.hosts import GpuState, Host, HostCondition
from hostler.model.pipelines import Cause, OnLost
from hostler.model.plans import EndRun, Policy, Release, Remove, Snapshot, Start, Stop
from hostler.model.runs import Attempt, Phase, Run
from tests.support.values.planning import (
    DAEMON,
    NOW,
    attempt,
    gpu,
    host,
    lease,
    run,
    stage,
    workload,
)


def snapshot(*runs: Run, hosts: tuple[Host, ...], **fields: Any) -> Snapshot:
    unsure = frozenset(h.name for h in hosts if h.unmerged)
    values: dict[str, Any] = {
        "unsure": unsure, "restored": frozenset(r.run_id for r in runs), **fields
    }  # fmt: skip
    return Snapshot(now=NOW, daemon_id=DAEMON, hosts=hosts, runs=runs, **values)


def unmerged(name: str = "gpu1", **fields: Any) -> Host:
    return replace(host(name, **fields), unmerged=True)


def test_on_a_host_that_is_not_merged_nothing_is_ended_removed_or_given_back() -> None:
    over, stray = attempt("r-1", phase=Phase.FAILED), workload("r-9-x-1")
    look = {
        "workloads": (stray, workload("r-8-x-1", running=False)),
        "leases": (lease(over, gpu("gpu1", 0).uuid),),
    }
    failed = run("r-1", attempts=[over])
    kinds = (Stop, Remove, Release)
    found = plan(snapshot(failed, hosts=(unmerged(look=look),))).actions
    assert not [action for action in found if isinstance(action, kinds)]
    found = plan(snapshot(failed, hosts=(host(look=look),))).actions
    assert {type(action) for action in found} >= {Stop, Remove, Release}


def test_what_the_backup_has_open_there_is_neither_given_up_nor_resumed() -> None:
    patient = stage(gpus=1, on_lost=OnLost.RESTART, lost_after=1.0)
    for begun in (attempt(), attempt(phase=Phase.STARTING)):
        asked = run("r-1", patient, attempts=[begun])
        silent = replace(
            unmerged(asked_at=NOW - 999), condition=HostCondition.UNREACHABLE, since=NOW - 999
        )
        for each in (silent, unmerged()):
            for wanted in (asked, replace(asked, cancelled_by="ana")):
                assert plan(snapshot(wanted, hosts=(each,))).actions == ()
        told = trouble_of(begun, unmerged())
        assert told is not None
        assert "since the backup" in told


def test_a_stage_waits_for_hosts_it_may_have_begun_on_and_for_no_others() -> None:
    hosts = (host("gpu1"), unmerged("gpu2"))
    asked = run("r-1", stage("any", gpus=1), stage("there", gpus=1, hosts=("gpu1",)))
    decided = plan(snapshot(asked, hosts=hosts))
    assert [a.stage.name for a in decided.actions if isinstance(a, Start)] == ["there"]
    assert "may have started on gpu2" in decided.reasons["r-1", "any"].sentence
    later = plan(snapshot(asked, hosts=hosts, restored=frozenset()))
    assert {a.attempt.host for a in later.actions if isinstance(a, Start)} == {"gpu1"}
    assert len(later.actions) == 2
    gone = plan(snapshot(asked, hosts=hosts[:1], unsure=frozenset()))
    assert len(gone.actions) == 2


def test_a_run_of_before_ends_once_all_hosts_have_told() -> None:
    done = run("r-1", attempts=[attempt(phase=Phase.SUCCEEDED)])
    assert plan(snapshot(done, hosts=(host(), unmerged("gpu2")))).actions == ()
    ended = plan(snapshot(done, hosts=(host(),))).actions
    assert [type(action) for action in ended] == [EndRun]


def test_gpus_of_a_host_that_is_not_merged_are_called_free_by_nobody() -> None:
    views = classify(unmerged(), NOW, Policy())
    assert {view.state for view in views} == {GpuState.UNKNOWN}
    assert "not merged yet" in str(views[0].why)
    waits = run("r-1", stage(gpus=1))
    decided = plan(snapshot(waits, hosts=(unmerged(),), restored=frozenset()))
    assert "not merged yet" in decided.reasons["r-1", "train"].hosts[0].sentence


def test_a_daemon_that_was_followed_plans_nothing_and_says_so_of_all_that_waits() -> None:
    open_run = run("r-1", stage("a", gpus=1), stage("b", gpus=1), attempts=[attempt(stage="a")])
    look = {"workloads": (workload("r-9-x-1"),)}
    halted = plan(snapshot(open_run, hosts=(host(look=look),), halted="go on with that one"))
    assert halted.actions == ()
    assert {key: r.sentence for key, r in halted.reasons.items()} == {
        ("r-1", "b"): "go on with that one"
    }
    assert len(halted.reasons) == 1
    assert halted.reasons.get(("r-2", "b")) is None


def kept(asked: Run, *notes: Attempt, name: str = "gpu1", **fields: Any) -> Kept:
    return Kept(name, asked, "text", tuple(Note(note, **fields) for note in notes))


def test_ends_that_a_host_has_noted_count_and_those_of_the_backup_stay() -> None:
    open_a, over_b = attempt(stage="a"), attempt(stage="b", phase=Phase.FAILED, gpus=(1,))
    known = run("r-1", stage("a"), stage("b"), stage("c"), attempts=[open_a, over_b])
    noted_c = attempt(stage="c", phase=Phase.STARTING, gpus=(2,))
    news = news_of(
        kept(
            replace(known, attempts=()),
            replace(open_a, phase=Phase.SUCCEEDED, host="old-name", outputs={"o": "d"}),
            replace(over_b, phase=Phase.SUCCEEDED),
            noted_c,
            cancelled_by="bo",
            priority=-3,
        ),
        known,
        DAEMON,
    )
    ((before, ended),) = news.ended
    assert before == open_a
    assert (ended.attempt_id, ended.phase, ended.host) == ("r-1-a-1", Phase.SUCCEEDED, "gpu1")
    assert ended.outputs == {"o": "d"}
    assert [a.attempt_id for a in news.added] == ["r-1-c-1"]
    assert (news.is_new, news.cancelled_by, news.priority) == (False, "bo", -3)


def test_work_that_has_ended_while_its_files_were_copied_holds_no_gpu_any_more() -> None:
    begun = attempt(stage="a")
    known = run("r-1", stage("a"), attempts=[begun])
    noted = replace(begun, phase=Phase.COLLECTING, verdict=Phase.SUCCEEDED)
    ((_, changed),) = news_of(kept(known, begun, noted), known, DAEMON).ended
    assert (changed.phase, changed.verdict) == (Phase.COLLECTING, Phase.SUCCEEDED)


def test_a_run_that_the_backup_lacks_comes_whole() -> None:
    asked = run("r-1", stage("a"), stage("b"))
    news = news_of(kept(asked, attempt(stage="a")), None, DAEMON)
    assert news.is_new
    assert news.run.attempts == ()
    assert [a.attempt_id for a in news.added] == ["r-1-a-1"]


def test_what_was_begun_later_proves_that_others_had_ended() -> None:
    """Of the same stage anywhere, and on the same GPUs of the same host."""
    older = attempt("r-1", "a", 1, host="gpu2", gpus=())
    on_gpu = attempt("r-2", "x", gpus=(0, 1))
    others = [attempt("r-3", "x", gpus=(2,)), attempt("r-4", "x", host="gpu2")]
    newer = attempt("r-1", "a", 2, gpus=(1,))
    ended = in_the_way(newer, [older, on_gpu, newer, *others])
    assert [(a.attempt_id, a.phase, a.cause) for _, a in ended] == [
        ("r-1-a-1", Phase.LOST, Cause.VANISHED),
        ("r-2-x-1", Phase.LOST, Cause.VANISHED),
    ]
    assert closed(older, at=0.0).finished_at == older.placed_at


def test_an_earlier_attempt_that_is_known_later_ends_none_that_followed_it() -> None:
    """Its host was silent when the other one's was merged."""
    second = attempt("r-1", "a", 2, host="gpu2")
    for phase in (Phase.FAILED, Phase.COLLECTING, Phase.RUNNING):
        first = attempt("r-1", "a", 1, phase=phase)
        assert in_the_way(first, [second]) == []
        told = as_followed(first, [second])
        assert told.phase is (Phase.FAILED if phase is Phase.FAILED else Phase.LOST)
    assert as_followed(second, [attempt("r-1", "a", 1), attempt("r-1", "b", 3)]) is second


def test_work_that_has_ended_is_not_lost_for_who_has_its_gpus_since() -> None:
    """Its files are still to be copied, and its verdict stands."""
    collected = attempt("r-1", "a", phase=Phase.COLLECTING, verdict=Phase.SUCCEEDED)
    assert in_the_way(attempt("r-2", "x"), [collected]) == []


def test_what_has_ended_is_merged_before_what_works_whatever_the_clock_said() -> None:
    """The clock was set back in between: else the one at work were taken for the older."""
    works = attempt("r-1", "a", placed_at=NOW - 500)
    over = attempt("r-2", "a", phase=Phase.SUCCEEDED, placed_at=NOW - 10)
    assert sorted([works, over], key=merging_order) == [over, works]
