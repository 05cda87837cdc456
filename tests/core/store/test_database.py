from __future__ import annotations

import asyncio
import re
from dataclasses import fields, replace
from typing import Unpack

import pytest

from hostler.base.errors import ConflictError, InputError, NotFoundError
from hostler.model.calls import AuditEntry
from hostler.model.files import Artifact
from hostler.model.hosts import HostFacts
from hostler.model.pipelines import Cause
from hostler.model.records import AttemptFilter, AuditFilter, Drain, MetricPoint, RunFilter
from hostler.model.runs import Attempt, AttemptChange, Outcome, Phase, Source
from hostler.store.database import Store, new_run_id
from hostler.store.rows import ATTEMPT_COLUMNS
from tests.support.values.stored import attempt, event, last_events, put_attempt, run, stage


async def test_a_new_run_reads_back_and_its_events_have_numbers(store: Store) -> None:
    made = run(params={"lr": 0.1}, stages=(stage("a"), stage("b", needs=("a",))))
    events = await store.create_run(made, "name = 'digits'", [event(run_id=made.run_id)])
    assert [e.seq for e in events] == [1]
    assert await store.get_run(made.run_id) == made
    assert await store.open_runs() == [made]
    assert await store.pipeline_text(made.run_id) == "name = 'digits'"
    assert await store.events(run_id=made.run_id) == list(events)


async def test_the_same_run_again_changes_nothing_and_another_of_its_id_is_refused(
    store: Store,
) -> None:
    await store.create_run(run(), "text", [event()])
    assert await store.create_run(run(), "text", [event()]) == ()
    assert len(await store.events()) == 1
    # The same file submitted again later is another run: it must not vanish in the first one.
    for other in (run(uid=1001), run(submitted_at=200.0)):
        with pytest.raises(ConflictError):
            await store.create_run(other, "text", [])
    assert (await store.get_run("raaaaaa")).submitted_at == 100.0


async def test_no_gpu_is_in_two_open_attempts(store: Store) -> None:
    await store.create_run(run(stages=(stage("a"), stage("b"))), "", [])
    first = attempt(stage_name="a", gpus=("GPU-1", "GPU-2"))
    await store.add_attempt(first)
    second = attempt(stage_name="b", gpus=("GPU-2", "GPU-3"))
    with pytest.raises(ConflictError, match=f"GPU-2 of gpu1 is held by attempt {first.attempt_id}"):
        await store.add_attempt(second)
    await store.add_attempt(replace(second, host="gpu2"))  # the same name on another host
    assert {a.stage for a in (await store.get_run("raaaaaa")).attempts} == {"a", "b"}


async def test_a_final_phase_gives_the_gpus_back(store: Store) -> None:
    await store.create_run(run(stages=(stage("a"), stage("b"))), "", [])
    first = attempt(stage_name="a")
    await store.add_attempt(first)
    await put_attempt(store, replace(first, phase=Phase.RUNNING))
    with pytest.raises(ConflictError):
        await store.add_attempt(attempt(stage_name="b"))
    await put_attempt(store, replace(first, phase=Phase.FAILED, cause=Cause.USER_ERROR))
    await store.add_attempt(attempt(stage_name="b"))


async def test_a_stage_has_one_open_attempt_and_an_intent_is_repeatable(store: Store) -> None:
    await store.create_run(run(), "", [])
    intent = attempt()
    assert (await store.add_attempt(intent, event("attempt.placed"))) is not None
    assert await store.add_attempt(intent, event("attempt.placed")) is None
    with pytest.raises(ConflictError, match="raaaaaa-train-1"):
        await store.add_attempt(attempt(number=2, gpus=("GPU-9",)))
    with pytest.raises(ConflictError, match="gpus"):
        await store.add_attempt(replace(intent, gpus=("GPU-9",)))
    assert len(await store.events()) == 1


async def test_an_attempt_ends_once(store: Store) -> None:
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt())
    ended = attempt(phase=Phase.LOST, cause=Cause.HOST_LOST)
    await put_attempt(store, ended)
    with pytest.raises(ConflictError, match="already lost"):
        await put_attempt(store, attempt(phase=Phase.SUCCEEDED), event("attempt.succeeded"))
    await put_attempt(store, replace(ended, usage={"gpu_seconds_allocated": 5.0}))
    stored = (await store.get_run("raaaaaa")).attempts[0]
    assert stored.phase is Phase.LOST
    assert stored.usage == {"gpu_seconds_allocated": 5.0}
    assert await store.events() == []


async def test_two_writers_with_an_await_between_keep_each_others_fields(store: Store) -> None:
    """Each has read the attempt, then waited, and knows nothing of what the other wrote."""
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt())
    both_have_read = asyncio.Barrier(2)

    async def write(**changes: Unpack[AttemptChange]) -> None:
        await store.get_run("raaaaaa")
        await both_have_read.wait()
        await store.change_attempt("raaaaaa-train-1", **changes)

    await asyncio.gather(
        write(phase=Phase.RUNNING, started_at=120.0),
        write(stop_reason=Cause.TIME_LIMIT, stop_detail="ran too long"),
    )
    assert (await store.get_run("raaaaaa")).attempts[0] == attempt(
        phase=Phase.RUNNING,
        started_at=120.0,
        stop_reason=Cause.TIME_LIMIT,
        stop_detail="ran too long",
    )


async def test_a_refused_transition_leaves_no_event(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await put_attempt(store, attempt(), event())
    with pytest.raises(NotFoundError):
        await store.add_attempt(attempt(), event())
    assert await store.events() == []


async def test_a_run_ends_once_and_not_before_its_attempts(store: Store) -> None:
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt())
    with pytest.raises(ConflictError, match="still open"):
        await store.end_run("raaaaaa", Outcome.SUCCEEDED, 200.0)
    await put_attempt(store, attempt(phase=Phase.SUCCEEDED))
    assert (
        await store.end_run("raaaaaa", Outcome.SUCCEEDED, 200.0, event("run.succeeded")) is not None
    )
    assert await store.end_run("raaaaaa", Outcome.SUCCEEDED, 300.0, event("run.succeeded")) is None
    with pytest.raises(ConflictError):
        await store.end_run("raaaaaa", Outcome.FAILED, 200.0)
    with pytest.raises(ConflictError, match="has ended"):
        await store.add_attempt(attempt(number=2))
    ended = await store.get_run("raaaaaa")
    assert (ended.outcome, ended.finished_at) == (Outcome.SUCCEEDED, 200.0)
    assert await store.open_runs() == []


async def test_the_first_who_cancels_is_named(store: Store) -> None:
    await store.create_run(run(), "", [])
    await store.request_cancel("raaaaaa", "ana")
    await store.request_cancel("raaaaaa", "ben")
    assert (await store.open_runs())[0].cancelled_by == "ana"
    await store.end_run("raaaaaa", Outcome.CANCELLED, 200.0)
    with pytest.raises(ConflictError, match="nothing to cancel"):
        await store.request_cancel("raaaaaa", "ana")


async def test_open_runs_are_whole_and_oldest_first(store: Store) -> None:
    for number, at in ((1, 300.0), (2, 100.0), (3, 200.0)):
        await store.create_run(run(f"raaaaa{number}", submitted_at=at), "", [])
    await store.add_attempt(attempt("raaaaa3"))
    found = await store.open_runs()
    assert [r.run_id for r in found] == ["raaaaa2", "raaaaa3", "raaaaa1"]
    assert found[1].attempts == (attempt("raaaaa3"),)


async def test_ids_may_be_shortened(store: Store) -> None:
    for name in ("r7f3a2k", "r7f3b2k", "r8aaaaa"):
        await store.create_run(run(name), "", [])
    assert await store.resolve("r8") == "r8aaaaa"
    assert await store.resolve("r7f3a2k") == "r7f3a2k"
    assert (await store.get_run("r7f3b")).run_id == "r7f3b2k"
    with pytest.raises(InputError, match=r"r7f3a2k, r7f3b2k|r7f3b2k, r7f3a2k"):
        await store.resolve("r7f3")
    for nothing in ("", "x", "r9", "%", "r7f3a2kx"):
        with pytest.raises(NotFoundError):
            await store.resolve(nothing)


def test_new_ids_are_short_and_can_be_names() -> None:
    made = {new_run_id() for _ in range(2000)}
    assert len(made) > 1990  # two of 2,000 alike is a chance of one in 500
    assert all(re.fullmatch(r"r[0-9a-hjkmnp-z]{6}", one) for one in made)


async def test_runs_are_filtered_by_what_people_ask(store: Store) -> None:
    await store.create_run(run("raaaaa1", params={"lr": 0.1, "amp": True}), "", [])
    await store.create_run(run("raaaaa2", owner="ben", submitted_at=200.0), "", [])
    await store.create_run(run("raaaaa3", pipeline="llm", params={"lr": "0.1x", "n": 3}), "", [])
    await store.add_attempt(attempt("raaaaa1", host="gpu7"))
    await put_attempt(
        store, attempt("raaaaa1", host="gpu7", phase=Phase.FAILED, exit_code=137, signal=9)
    )
    await store.end_run("raaaaa1", Outcome.FAILED, 300.0)

    async def found(wanted: RunFilter) -> set[str]:
        return {r.run_id[-1] for r in await store.list_runs(wanted)}

    assert await found(RunFilter()) == {"1", "2", "3"}
    assert await found(RunFilter(state="open")) == {"2", "3"}
    assert await found(RunFilter(state="failed")) == {"1"}
    assert await found(RunFilter(state="finished", owner="ben")) == set()
    assert await found(RunFilter(owner="ben")) == {"2"}
    assert await found(RunFilter(pipeline="llm")) == {"3"}
    assert await found(RunFilter(since=150.0)) == {"2"}
    assert await found(RunFilter(until=150.0)) == {"1", "3"}
    assert await found(RunFilter(host="gpu7", exit_code=137)) == {"1"}
    assert await found(RunFilter(params={"lr": "0.1"})) == {"1"}
    assert await found(RunFilter(params={"lr": 1e-1})) == {"1"}
    assert await found(RunFilter(params={"amp": True})) == {"1"}
    assert await found(RunFilter(params={"amp": "true"})) == {"1"}
    assert await found(RunFilter(params={"n": 3, "lr": "0.1x"})) == {"3"}
    assert await found(RunFilter(params={"lr') OR 1 --": "0"})) == set()
    with pytest.raises(InputError, match="succeeded"):
        await store.list_runs(RunFilter(state="fine"))


async def test_a_summary_tells_what_a_table_shows(store: Store) -> None:
    source = Source(git_commit="4f2c91a", git_dirty=True)
    await store.create_run(run(stages=(stage("a"), stage("b"), stage("c")), source=source), "", [])
    await store.add_attempt(attempt(stage_name="a", host="gpu2"))
    await put_attempt(
        store,
        attempt(
            stage_name="a",
            host="gpu2",
            phase=Phase.FAILED,
            usage={"gpu_seconds_allocated": 60.0},
            metrics={"loss": 2.0},
        ),
    )
    await store.add_attempt(attempt(stage_name="a", number=2))
    ended = attempt(stage_name="a", number=2, phase=Phase.SUCCEEDED, metrics={"loss": 1.0})
    await put_attempt(store, ended)
    await store.add_attempt(attempt(stage_name="b"))
    await put_attempt(
        store, attempt(stage_name="b", phase=Phase.FAILED, cause=Cause.OOM_GPU, finished_at=150.0)
    )
    (row,) = await store.list_runs()
    assert row.stage_count == 3
    assert row.phases == {"succeeded": 1, "failed": 1}
    assert row.hosts == ("gpu1", "gpu2")
    assert row.gpu_seconds == 60.0
    assert row.metrics == {"loss": 1.0}
    assert row.cause == "b: OOM (GPU)"
    assert (row.git_commit, row.git_dirty) == ("4f2c91a", True)


async def test_attempts_are_filtered(store: Store) -> None:
    await store.create_run(run(stages=(stage("a"), stage("b"))), "", [])
    await store.add_attempt(attempt(stage_name="a"))
    await store.add_attempt(attempt(stage_name="b", host="gpu2", placed_at=120.0))
    await put_attempt(
        store,
        attempt(stage_name="b", host="gpu2", placed_at=120.0, phase=Phase.FAILED, exit_code=3),
    )

    async def found(wanted: AttemptFilter) -> list[str]:
        return [a.stage for a in await store.attempts(wanted)]

    assert await found(AttemptFilter()) == ["b", "a"]
    assert await found(AttemptFilter(is_open=True)) == ["a"]
    assert await found(AttemptFilter(is_open=False)) == ["b"]
    assert await found(AttemptFilter(host="gpu2", exit_code=3)) == ["b"]
    assert await found(AttemptFilter(phase=Phase.STARTING)) == ["a"]
    assert await found(AttemptFilter(since=115.0)) == ["b"]
    assert await found(AttemptFilter(until=115.0, run_id="raaaaaa")) == ["a"]


async def test_events_come_in_order_and_numbers_never_return(store: Store) -> None:
    await store.create_run(run(), "", [event(run_id="raaaaaa")])
    await store.add_event(event("host.unreachable", host="gpu1"))
    await store.end_run(
        "raaaaaa", Outcome.CANCELLED, 200.0, event("run.cancelled", run_id="raaaaaa")
    )
    assert [e.kind for e in await store.events(1)] == ["host.unreachable", "run.cancelled"]
    assert [e.kind for e in await store.events(limit=1)] == ["run.submitted"]
    assert [e.kind for e in await store.events(host="gpu1")] == ["host.unreachable"]
    assert [e.kind for e in await last_events(store, limit=2)] == [
        "host.unreachable",
        "run.cancelled",
    ]
    assert await store.last_seq() == 3
    assert [await store.seq_before_last(limit) for limit in (1, 2, 3, 9)] == [2, 1, 0, 0]
    await store.delete_run("raaaaaa")
    assert [e.seq for e in await store.events()] == [2]
    assert (await store.add_event(event("config.loaded"))).seq == 4


async def test_an_event_is_given_back_as_it_is_stored(store: Store) -> None:
    told = replace(
        event("gpu.unhealthy", host="gpu1"), severity="error", gpu="GPU-1", actor="ana",
        stage="train", attempt_id="raaaaaa-train-1",
    )  # fmt: skip
    assert [await store.add_event(told)] == await store.events()


async def test_only_finished_runs_are_forgotten_with_all_that_is_theirs(store: Store) -> None:
    await store.create_run(run(), "", [])
    with pytest.raises(ConflictError, match="has not ended"):
        await store.delete_run("raaaaaa")
    await store.add_attempt(attempt())
    await store.put_stage_metrics("raaaaaa-train-1", [MetricPoint("loss", 1.0, 120.0)])
    log = store.open_log("raaaaaa", "raaaaaa-train-1", 1000)
    log.append(b"hello\n", {})
    await put_attempt(store, attempt(phase=Phase.SUCCEEDED))
    await store.end_run("raaaaaa", Outcome.SUCCEEDED, 200.0)
    await store.delete_run("raaaaaa")
    with pytest.raises(NotFoundError):
        await store.get_run("raaaaaa")
    assert await store.attempts() == []
    assert await store.metrics.page_of_metrics("raaaaaa-train-1", 0, 9) == ([], None)
    assert not log.path.exists()


async def test_drains_hold_until_cleared(store: Store) -> None:
    await store.set_drain(Drain("gpu1", "new disk", "ana", 100.0))
    await store.set_drain(Drain("gpu1", "newer disk", "ben", 110.0))
    assert await store.drains() == {"gpu1": Drain("gpu1", "newer disk", "ben", 110.0)}
    assert await store.clear_drain("gpu1", event("host.undrained")) is not None
    assert await store.clear_drain("gpu1", event("host.undrained")) is None
    assert await store.drains() == {}


async def test_artifacts_replace_their_like_and_keep_their_blobs(store: Store) -> None:
    source = Source(digest="5" * 64)
    kept = attempt("rold000", "prepare", phase=Phase.SUCCEEDED, outputs={"data": "6" * 64})
    await store.create_run(run(source=source, kept={"prepare": kept}), "", [])
    await store.add_attempt(attempt())
    first = Artifact("raaaaaa", "train", "raaaaaa-train-1", "model", "a" * 64, 10, 200.0, 1)
    await store.add_artifact(first)
    second = replace(first, digest="b" * 64, tree_digest="c" * 64)
    await store.add_artifact(second)
    assert await store.artifacts("raaaaaa") == [second]
    (use,) = await store.run_uses(100.0, [], ["5" * 64, "6" * 64, "b" * 64, "f" * 64])
    assert (use.run_id, use.finished_at, use.snapshot) == ("raaaaaa", None, "5" * 64)
    assert use.outputs == ("6" * 64, "b" * 64)
    with pytest.raises(NotFoundError):
        await store.add_artifact(replace(first, attempt_id="other"))


async def test_facts_are_kept_once_and_with_the_attempt(store: Store) -> None:
    facts = HostFacts(driver="550.54", groups=(1, 2))
    newer = replace(facts, driver="560.00")
    await store.create_run(run(stages=(stage("a"), stage("b"), stage("c"))), "", [])
    for host, name, given in (("gpu1", "a", facts), ("gpu2", "b", facts), ("gpu3", "c", newer)):
        await store.add_attempt(attempt(stage_name=name, host=host), facts=given)
        assert await store.facts_of_attempt(f"raaaaaa-{name}-1") == given
    kept = await store._readers.run(lambda db: db.execute("SELECT * FROM host_facts").fetchall())
    assert len(kept) == 2


async def test_the_audit_only_grows(store: Store) -> None:
    entry = AuditEntry(100.0, 1000, "ana", "POST /v1/runs", {"params": {"lr": 0.1}})
    await store.add_audit(entry)
    await store.add_audit(replace(entry, call="DELETE /v1/runs/x"))
    assert [e.call for e in await store.audit()] == ["DELETE /v1/runs/x", "POST /v1/runs"]
    with pytest.raises(Exception, match="append only"):
        await store._write(lambda db: db.execute("DELETE FROM audit"))


async def test_audit_entries_are_found_by_what_they_are_about(store: Store) -> None:
    made = AuditEntry(100.0, 1000, "ana", "submit", {"run": "rb", "of": "ra"})
    for entry in (replace(made, call="remove", arguments={"run": "ra"}), made):
        await store.add_audit(entry)
    await store.add_audit(replace(made, uid=1001, user="bo", arguments={}))
    assert len(await store.audit(AuditFilter(run="ra"))) == 2
    assert [e.call for e in await store.audit(AuditFilter(run="rb", uid=1000))] == ["submit"]
    assert await store.is_over("ra")
    assert await store.is_over("rb") is None


def test_every_field_of_an_attempt_has_a_column() -> None:
    assert set(ATTEMPT_COLUMNS) == {field.name for field in fields(Attempt)}


async def test_text_that_utf_8_cannot_say_is_stored_with_a_mark(store: Store) -> None:
    await store.create_run(run(title="caf\udce9"), "x\udcff", [event(message="\udc80 \0 ü")])
    assert (await store.get_run("raaaaaa")).title == "caf?"
    assert (await store.events())[0].message == "? \0 ü"
