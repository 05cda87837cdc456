"""Runs of a lost database, from what hosts keep of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.recovery import (
    Kept,
    Note,
    Rebuilt,
    is_covered,
    noted_artifacts,
    rebuild,
    with_gpus_once,
)
from hostler.model.files import Artifact
from hostler.model.hosts import Look
from hostler.model.pipelines import Cause
from hostler.model.runs import Attempt, Phase, Run
from tests.support.values.planning import BOOT, DAEMON, NOW, OTHER, attempt, run, stage, workload

ASKED = run("r-1", stage("a"), stage("b"), priority=4)
BEGUN = attempt(stage="a")
DONE = replace(BEGUN, phase=Phase.SUCCEEDED)


def kept(*notes: Attempt | Note, host: str = "gpu1", asked: Run = ASKED, **fields: Any) -> Kept:
    made = tuple(note if isinstance(note, Note) else Note(note) for note in notes)
    return Kept(host, asked, "text", made, **fields)


def only(*items: Kept, looks: dict[str, Look] | None = None) -> Rebuilt:
    """The only run that is found."""
    (found,) = rebuild(items, looks or {}, DAEMON).runs
    return found


def look(*works: Any) -> Look:
    return Look(asked_at=NOW, boot_id=BOOT, workloads=works)


def test_what_the_database_knows_is_not_rebuilt_and_the_rest_is_oldest_first() -> None:
    young = run("r-2", submitted_at=NOW - 5)
    items = [kept(asked=young), kept(), kept(asked=run("r-3"))]
    found = rebuild(items, {}, DAEMON, known={"r-3"}).runs
    assert [rebuilt.run.run_id for rebuilt in found] == ["r-1", "r-2"]
    assert found[0].pipeline_text == "text"
    assert found[0].doubts == ()


def test_the_newest_note_of_an_attempt_counts_and_an_end_stays() -> None:
    again = replace(BEGUN, phase=Phase.RUNNING)
    assert only(kept(BEGUN, DONE, again)).run.attempts == (DONE,)
    assert only(kept(BEGUN)).run.attempts == (BEGUN,)


def test_attempts_are_of_known_stages_in_order_and_under_the_hosts_name_of_today() -> None:
    later = attempt(stage="b", placed_at=NOW)
    strange = attempt(stage="c")
    found = only(kept(later, BEGUN, strange, host="renamed")).run.attempts
    assert [(a.stage, a.host) for a in found] == [("a", "renamed"), ("b", "renamed")]


def test_an_attempt_is_over_where_another_host_has_a_later_one_of_its_stage() -> None:
    second = attempt(stage="a", number=2, placed_at=NOW)
    found = only(kept(BEGUN), kept(second, host="gpu2"))
    assert [(a.number, a.phase) for a in found.run.attempts] == [
        (1, Phase.LOST),
        (2, Phase.RUNNING),
    ]
    assert found.hosts == ("gpu1", "gpu2")


def test_a_cancel_and_the_lowest_priority_that_a_host_has_noted_count() -> None:
    notes = [Note(BEGUN, priority=-1), Note(BEGUN, "eve", priority=-3), Note(BEGUN, "bo")]
    found = only(kept(*notes)).run
    assert (found.cancelled_by, found.priority) == ("eve", -3)
    assert (only(kept()).run.cancelled_by, only(kept()).run.priority) == (None, 4)


@pytest.mark.parametrize(
    ("work", "where", "running"),
    [
        (workload(BEGUN), "gpu1", ("a",)),
        (workload(BEGUN), "gpu2", ()),
        (workload(BEGUN, running=False), "gpu1", ()),
        (workload(BEGUN, daemon_id=OTHER), "gpu1", ()),
    ],
)
def test_a_stage_runs_whose_workload_of_ours_runs_on_its_host(
    work: Any, where: str, running: tuple[str, ...]
) -> None:
    assert only(kept(BEGUN), looks={where: look(work)}).running == running


def test_workloads_of_ours_that_nothing_explains_are_strays() -> None:
    known, stray, others = (workload(f"r-{i}-a-1") for i in (8, 9, 7))
    works = look(workload(BEGUN), known, stray, replace(others, daemon_id=OTHER))
    found = rebuild([kept(BEGUN)], {"gpu1": works}, DAEMON, known={"r"})
    assert found.strays == ()
    found = rebuild([kept(BEGUN)], {"gpu1": works}, DAEMON, known=())
    assert [(s.host, s.workload) for s in found.strays] == [("gpu1", known), ("gpu1", stray)]


def test_of_a_run_that_is_signed_somewhere_unsigned_specifications_are_ignored() -> None:
    forged = kept(host="gpu2", asked=replace(ASKED, owner="eve"), spec_doubt="the key is another")
    signed = kept(host="gpu3")
    found = rebuild([forged, signed], {}, DAEMON)
    assert found.runs[0].run.owner == "ana"
    assert found.runs[0].doubts == ()
    assert found.ignored == ("gpu2: its copy of run r-1 is not used, the key is another",)


def test_where_nobody_vouches_for_a_run_each_doubt_is_told() -> None:
    first = kept(spec_doubt="no signature", notes_doubt="notes have none")
    same = kept(host="gpu2", spec_doubt="no signature either")
    assert only(first, same).doubts == (
        "gpu1: no signature",
        "gpu1: notes have none",
        "gpu2: no signature either",
    )
    assert rebuild([first, same], {}, DAEMON).ignored == ()
    other = replace(same, pipeline_text="another text")
    assert only(first, other).doubts[-1] == (
        "hosts hold different specifications of it: this is the one of gpu1"
    )
    assert only(kept(), replace(other, spec_doubt="")).doubts == ()


def test_doubts_about_notes_are_told_where_the_run_is_signed() -> None:
    assert only(kept(notes_doubt="cut off")).doubts == ("gpu1: cut off",)


def artifact(of: str = "r-1-a-1", digest: str = "d1", name: str = "model") -> Artifact:
    return Artifact("r-1", "a", of, name, digest, 10, NOW)


def test_what_was_saved_is_known_by_the_last_signed_note_of_the_attempt_itself() -> None:
    old, new, other = artifact(), artifact(digest="d2"), artifact(name="log")
    notes = [
        Note(BEGUN, artifacts=(old, artifact("r-1-b-1"))),
        Note(DONE, artifacts=(new, other)),
    ]
    assert noted_artifacts(kept(*notes)) == (new, other)
    assert only(kept(*notes)).artifacts == (new, other)
    assert noted_artifacts(kept(*notes, notes_doubt="cut off")) == ()
    assert noted_artifacts(kept(*notes, spec_doubt="no signature")) == ()


@pytest.mark.parametrize(
    ("asked", "found", "covered"),
    [
        (BEGUN, kept(BEGUN), True),
        (BEGUN, kept(DONE), True),
        (DONE, kept(BEGUN, DONE), True),
        (DONE, kept(BEGUN), False),
        (BEGUN, kept(attempt(stage="b")), False),
        (BEGUN, kept(), False),
        (BEGUN, None, False),
        (BEGUN, kept(BEGUN, spec_doubt="no signature"), False),
        (BEGUN, kept(BEGUN, notes_doubt="cut off"), False),
    ],
)
def test_a_host_covers_an_attempt_whose_state_it_tells_signed(
    asked: Attempt, found: Kept | None, covered: bool
) -> None:
    assert is_covered(asked, found) is covered


def test_of_two_that_had_the_same_gpu_the_older_had_ended() -> None:
    older = only(kept(replace(BEGUN, placed_at=NOW - 500)))
    newer_run = run("r-2", stage("a"))
    newer = only(kept(attempt("r-2", "a"), asked=newer_run))
    ended, stays = with_gpus_once([older, newer])
    (over,) = ended.run.attempts
    assert (over.phase, over.cause) == (Phase.LOST, Cause.VANISHED)
    assert "on its GPUs" in over.detail
    assert stays == newer
    forged = replace(newer, doubts=("gpu1: no signature",))
    assert with_gpus_once([older, forged]) == (older, forged)


def test_attempts_on_other_gpus_or_that_are_over_end_nothing() -> None:
    older = only(kept(replace(BEGUN, placed_at=NOW - 500)))
    elsewhere = only(kept(attempt("r-2", "a", gpus=(1,)), asked=run("r-2", stage("a"))))
    over = only(kept(attempt("r-3", "a", phase=Phase.FAILED), asked=run("r-3", stage("a"))))
    assert with_gpus_once([older, elsewhere, over]) == (older, elsewhere, over)


def test_a_note_that_tells_no_priority_tells_the_usual_one() -> None:
    assert only(kept(BEGUN)).run.priority == 0
