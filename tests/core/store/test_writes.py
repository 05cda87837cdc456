"""What each change of the store refuses, answers and leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.errors import ConflictError, NotFoundError
from hostler.model.calls import AuditEntry
from hostler.model.events import EventKind
from hostler.model.files import Artifact
from hostler.model.pipelines import Cause
from hostler.model.records import Acknowledged, AuditFilter, Drain, Keep, SubmissionKey
from hostler.model.runs import Outcome, Phase, Source
from hostler.model.service_wishes import ServiceWish, WishChange
from hostler.model.services import HealthCheck, Service
from hostler.store.database import Store
from hostler.store.writes import SubmittedBefore
from tests.support.values.stored import attempt, event, put_attempt, run, stage

KEY = SubmissionKey(1000, "k1", "d1")
ASKED = AuditEntry(200.0, 1000, "ana", "x", {"run": "raaaaaa"})


async def kinds(store: Store) -> list[str]:
    return [each.kind for each in await store.events()]


async def test_a_submission_of_a_key_has_one_run(store: Store) -> None:
    await store.create_run(run(), "text", [event()], KEY)
    assert await store.find_submission(1000, "k1") == ("d1", "raaaaaa")
    assert await store.find_submission(1001, "k1") is None
    with pytest.raises(SubmittedBefore):
        await store.create_run(run("rbbbbbb"), "text", [event()], KEY)
    other = replace(KEY, uid=1001)
    await store.create_run(run("rcccccc"), "text", [event()], other)
    assert [made.run_id for made in await store.open_runs()] == ["raaaaaa", "rcccccc"]
    assert len(await store.events()) == 2


async def test_a_new_run_notes_who_asked_for_it_once(store: Store) -> None:
    for _ in range(2):
        await store.create_run(run(), "text", [event()], None, ASKED)
    assert await store.audit() == [ASKED]


@pytest.mark.parametrize(
    ("other", "text"),
    [(run(uid=1001), "text"), (run(submitted_at=1.0), "text"), (run(pipeline="x"), "text"),
     (run(), "another text")],
)  # fmt: skip
async def test_another_run_of_an_id_is_refused(store: Store, other: Any, text: str) -> None:
    await store.create_run(run(), "text", [])
    with pytest.raises(ConflictError, match="raaaaaa is used by another run") as refused:
        await store.create_run(other, text, [])
    assert refused.value.remedy == "submit it again"


async def test_an_attempt_is_refused_where_its_run_is_gone_or_over(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no run raaaaaa") as unknown:
        await store.add_attempt(attempt())
    assert unknown.value.remedy == "list them: hostler runs"
    await store.create_run(run(), "", [])
    await store.end_run("raaaaaa", Outcome.CANCELLED, 120.0)
    with pytest.raises(ConflictError, match="run raaaaaa has ended: train cannot start"):
        await store.add_attempt(attempt())


@pytest.mark.parametrize(
    ("number", "phase", "fits"),
    [
        (1, Phase.FAILED, True),
        (1, Phase.STARTING, False),
        (3, Phase.STARTING, False),
        (3, Phase.FAILED, False),
    ],
)
async def test_beside_an_open_attempt_only_an_earlier_one_that_ended_may_be(
    store: Store, number: int, phase: Phase, fits: bool
) -> None:
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt(number=2))
    other = attempt(number=number, phase=phase, gpus=("GPU-9",))
    if fits:
        await store.add_attempt(other)
        return
    with pytest.raises(
        ConflictError, match="stage train of run raaaaaa has attempt raaaaaa-train-2"
    ):
        await store.add_attempt(other)


async def test_a_number_is_given_once_for_each_stage(store: Store) -> None:
    await store.create_run(run(stages=(stage("a"), stage("b"))), "", [])
    await store.add_attempt(attempt(stage_name="a", phase=Phase.FAILED))
    again = replace(attempt(stage_name="a", phase=Phase.FAILED), attempt_id="other")
    with pytest.raises(ConflictError, match="has attempt raaaaaa-a-1"):
        await store.add_attempt(again)
    await store.add_attempt(attempt(stage_name="b"))
    await store.add_attempt(attempt(stage_name="a", number=2, gpus=("GPU-2",)))


async def test_what_has_ended_or_is_collected_holds_no_gpus(store: Store) -> None:
    await store.create_run(run(stages=(stage("a"), stage("b"), stage("c"))), "", [])
    await store.add_attempt(attempt(stage_name="a", phase=Phase.FAILED))
    first = attempt(stage_name="b")
    await store.add_attempt(first)
    await put_attempt(store, replace(first, phase=Phase.RUNNING))
    with pytest.raises(ConflictError, match="GPU-1 of gpu1 is held by attempt raaaaaa-b-1"):
        await store.add_attempt(attempt(stage_name="c"))
    await put_attempt(store, replace(first, phase=Phase.COLLECTING, verdict=Phase.SUCCEEDED))
    await store.add_attempt(attempt(stage_name="c"))


@pytest.mark.parametrize("field", ["host", "gpus", "placed_at", "number"])
async def test_an_intent_cannot_be_repeated_otherwise(store: Store, field: str) -> None:
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt())
    values: dict[str, Any] = {"host": "gpu2", "gpus": ("GPU-2",), "placed_at": 111.0, "number": 2}
    other = replace(attempt(), **{field: values[field]})
    with pytest.raises(ConflictError, match=f"attempt raaaaaa-train-1 has {field} "):
        await store.add_attempt(other)


@pytest.mark.parametrize(
    ("before", "after", "fits"),
    [
        (Phase.STARTING, Phase.RUNNING, True),
        (Phase.RUNNING, Phase.COLLECTING, True),
        (Phase.COLLECTING, Phase.SUCCEEDED, True),
        (Phase.COLLECTING, Phase.RUNNING, False),
        (Phase.FAILED, Phase.FAILED, True),
        (Phase.FAILED, Phase.LOST, False),
        (Phase.FAILED, Phase.RUNNING, False),
        (Phase.FAILED, Phase.COLLECTING, False),
    ],
)
async def test_phases_go_one_way(store: Store, before: Phase, after: Phase, fits: bool) -> None:
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt(phase=before))
    if fits:
        await store.change_attempt("raaaaaa-train-1", phase=after)
        assert (await store.get_run("raaaaaa")).attempts[0].phase is after
        return
    said = f"raaaaaa-train-1 already {before.value}: it cannot become {after.value}"
    with pytest.raises(ConflictError, match=said):
        await store.change_attempt("raaaaaa-train-1", phase=after)


async def test_a_change_of_no_field_is_none(store: Store) -> None:
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt(phase=Phase.RUNNING))
    before = await store.get_run("raaaaaa")
    await store.change_attempt("raaaaaa-train-1")
    assert await store.get_run("raaaaaa") == before


async def test_a_change_without_an_intent_says_so(store: Store) -> None:
    with pytest.raises(NotFoundError, match="attempt x is not known"):
        await store.change_attempt("x", phase=Phase.RUNNING)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RUNNING, Phase.COLLECTING])
async def test_a_run_does_not_end_while_an_attempt_is_open(store: Store, phase: Phase) -> None:
    await store.create_run(run(), "", [])
    await store.create_run(run("rbbbbbb"), "", [])
    await store.add_attempt(attempt(phase=phase))
    with pytest.raises(ConflictError, match="raaaaaa cannot end: raaaaaa-train-1 is still open"):
        await store.end_run("raaaaaa", Outcome.FAILED, 120.0)
    await store.end_run("rbbbbbb", Outcome.FAILED, 120.0)


async def test_a_cancel_answers_who_asked_first_and_is_told_once(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.request_cancel("raaaaaa", "ana")
    await store.create_run(run(), "", [])
    cancel = event("run.cancelling")
    assert await store.request_cancel("raaaaaa", "ana", cancel) == {"cancelled_by": "ana"}
    assert await store.request_cancel("raaaaaa", "ben", cancel) == {"cancelled_by": "ana"}
    assert await kinds(store) == ["run.cancelling"]
    await store.end_run("raaaaaa", Outcome.CANCELLED, 120.0)
    with pytest.raises(ConflictError, match="raaaaaa already cancelled: nothing to cancel"):
        await store.request_cancel("raaaaaa", "ben")


async def test_a_priority_is_only_lowered(store: Store) -> None:
    await store.create_run(run(priority=-1), "", [])
    lowered = event("run.priority_lowered")
    for asked, now, told in ((-1, -1, 0), (0, -1, 0), (-3, -3, 1), (-2, -3, 1)):
        assert await store.lower_priority("raaaaaa", asked, lowered) == {"priority": now}
        assert (await store.get_run("raaaaaa")).priority == now
        assert len(await store.events()) == told
    assert await store.lower_priority("raaaaaa", -4) == {"priority": -4}
    await store.end_run("raaaaaa", Outcome.CANCELLED, 120.0)
    with pytest.raises(ConflictError, match="raaaaaa already cancelled: it cannot be changed"):
        await store.lower_priority("raaaaaa", -5)


async def test_a_run_that_is_forgotten_takes_its_events_and_leaves_those_of_others(
    store: Store,
) -> None:
    for run_id in ("raaaaaa", "rbbbbbb"):
        await store.create_run(run(run_id), "", [event(run_id=run_id)])
        await store.add_attempt(attempt(run_id, host=run_id, phase=Phase.FAILED))
        with pytest.raises(ConflictError) as refused:
            await store.delete_run(run_id)
        assert refused.value.remedy == f"cancel it first: hostler cancel {run_id}"
        await store.end_run(run_id, Outcome.FAILED, 120.0)
    await store.delete_run("raaaaaa", event("run.removed", actor="ana"))
    assert await kinds(store) == ["run.submitted", "run.removed"]
    assert [made.run_id for made in await store.attempts()] == ["rbbbbbb"]
    await store.delete_run("rbbbbbb")
    assert await kinds(store) == ["run.removed"]


@pytest.mark.parametrize(("now", "gone"), [(149.0, False), (150.0, True)])
async def test_a_run_that_a_person_keeps_goes_when_that_is_over(
    store: Store, now: float, gone: bool
) -> None:
    await store.create_run(run(), "", [])
    await store.end_run("raaaaaa", Outcome.FAILED, 120.0)
    await store.keep_run(Keep("raaaaaa", "ana", 130.0, 150.0))
    if gone:
        await store.delete_run("raaaaaa", now=now)
        return
    with pytest.raises(ConflictError):
        await store.delete_run("raaaaaa", now=now)


async def test_who_removes_a_run_does_so_at_the_time_of_the_event(store: Store) -> None:
    await store.create_run(run(), "", [])
    await store.end_run("raaaaaa", Outcome.FAILED, 120.0)
    await store.keep_run(Keep("raaaaaa", "ana", 130.0, 150.0))
    with pytest.raises(ConflictError):
        await store.delete_run("raaaaaa", event("run.removed", actor="ana", at=149.0), now=200.0)
    await store.delete_run("raaaaaa", event("run.removed", actor="ana", at=150.0), now=100.0)


OUTPUT = Artifact("raaaaaa", "train", "raaaaaa-train-1", "model", "a" * 64, 10, 200.0, 1)


async def test_only_outputs_are_called_partial(store: Store) -> None:
    await store.create_run(run(stages=(stage(), stage("b"))), "", [])
    await store.add_attempt(attempt())
    await store.add_attempt(attempt(stage_name="b", gpus=()))
    kept = replace(OUTPUT, name="files", kind="files", digest="b" * 64)
    other = replace(OUTPUT, stage="b", attempt_id="raaaaaa-b-1", digest="c" * 64)
    for each in (OUTPUT, kept, other):
        await store.add_artifact(each)
    await store.call_partial("raaaaaa-train-1")
    found = {each.digest[0]: each.partial for each in await store.artifacts("raaaaaa")}
    assert found == {"a": True, "b": False, "c": False}


async def test_an_artifact_of_an_unknown_attempt_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError, match="attempt raaaaaa-train-1 is not known"):
        await store.add_artifact(OUTPUT)


async def test_a_drain_is_told_each_time_and_its_end_once(store: Store) -> None:
    drain = Drain("gpu1", "fans\udc80", "ana", 100.0)
    for _ in range(2):
        told = await store.set_drain(drain, event("host.drained", host="gpu1"))
        assert told is not None
    assert (await store.drains())["gpu1"].reason == "fans?"
    assert await store.set_drain(drain) is None
    assert await store.clear_drain("gpu2", event("host.undrained")) is None
    assert await store.clear_drain("gpu1") is None
    assert await store.clear_drain("gpu1", event("host.undrained")) is None
    assert await kinds(store) == ["host.drained", "host.drained"]


async def test_an_event_is_stored_with_all_of_its_parts(store: Store) -> None:
    told = event(
        "gpu.fault", run_id="raaaaaa", stage="train", attempt_id="raaaaaa-train-1", host="gpu1",
        actor="ana", gpu="GPU-1", severity="error",
    )  # fmt: skip
    await store.create_run(run(), "", [])
    made = await store.add_event(told)
    (found,) = await store.events()
    for name in ("at", "message", "severity", "run_id", "stage", "attempt_id", "host", "actor"):
        assert getattr(made, name) == getattr(found, name) == getattr(told, name)
    assert (found.kind, found.gpu, found.seq, made.seq) == ("gpu.fault", "GPU-1", 1, 1)


async def test_the_newest_of_the_audit_are_found_by_every_part(store: Store) -> None:
    made = AuditEntry(100.0, 1000, "ana", "submit", {"run": "ra"})
    entries = [
        made,
        replace(made, at=300.0, user="bo", uid=1001),
        replace(made, at=200.0, call="refused", arguments={"call": "cancel", "run": "rb"}),
    ]
    for entry in entries:
        await store.add_audit(entry)
    assert await store.audit() == entries[::-1]
    assert await store.audit(limit=1) == entries[2:]
    assert await store.audit(AuditFilter(user="bo")) == [entries[1]]
    assert await store.audit(AuditFilter(uid=1000)) == [entries[2], entries[0]]
    assert await store.audit(AuditFilter(since=200.0)) == [entries[1], entries[2]]
    assert await store.audit(AuditFilter(call="cancel")) == [entries[2]]
    assert await store.audit(AuditFilter(call="submit", run="ra", since=101.0)) == [entries[1]]


async def test_events_that_alerts_are_made_of_come_in_pieces(store: Store) -> None:
    for kind in ("host.refused", "run.submitted", "stop.failed", "gpu.fault", "run.submitted"):
        await store.add_event(event(kind))
    wanted = ["host.refused", "gpu.fault"]
    found, upto = await store.telling_events(0, wanted, 10)
    assert ([each.seq for each in found], upto) == ([1, 3, 4], 5)
    found, upto = await store.telling_events(0, wanted, 2)
    assert ([each.seq for each in found], upto) == ([1, 3], 3)
    found, upto = await store.telling_events(3, wanted, 2)
    assert ([each.seq for each in found], upto) == ([4], 5)
    found, upto = await store.telling_events(0, wanted, 3)
    assert ([each.seq for each in found], upto) == ([1, 3, 4], 4)
    assert await store.telling_events(9, wanted, 2) == ([], 9)


async def test_the_last_word_on_a_gpu_counts(store: Store) -> None:
    def told(kind: str, gpu: str, host: str = "gpu1") -> Any:
        return event(kind, host=host, gpu=gpu, message=f"{host}: {gpu}: lost")

    for each in (
        told("gpu.fault", "GPU-1"),
        told("gpu.fault", "GPU-2"),
        told("gpu.healthy", "GPU-2"),
        told("gpu.healthy", "GPU-3"),
        told("gpu.fault", "GPU-3"),
        told("gpu.fault", "GPU-2", "gpu2"),
    ):
        await store.add_event(each)
    assert await store.gpu_faults() == {
        ("gpu1", "GPU-1"): "lost",
        ("gpu1", "GPU-3"): "lost",
        ("gpu2", "GPU-2"): "lost",
    }


async def test_who_has_seen_an_alert_is_known_until_that_is_taken_back(store: Store) -> None:
    seen = event(EventKind.ALERT_ACKNOWLEDGED.value)
    await store.acknowledge(Acknowledged(3, "ana", 1.0), seen)
    await store.acknowledge(Acknowledged(3, "bo", 2.0))
    await store.acknowledge(Acknowledged(4, "cy", 3.0))
    assert await store.acknowledged() == {
        3: Acknowledged(3, "bo", 2.0),
        4: Acknowledged(4, "cy", 3.0),
    }
    await store.unacknowledge(3)
    assert list(await store.acknowledged()) == [4]
    assert len(await store.events()) == 1


async def test_what_runs_need_is_told_of_what_is_asked_for(store: Store) -> None:
    digests = {name: name * 64 for name in "abcde"}
    for run_id, source, ended in (("rold", "a", 100.0), ("rnew", "b", 300.0), ("ropen", "c", None)):
        made = run(run_id, source=Source(digest=digests[source]))
        await store.create_run(made, "", [])
        await store.add_attempt(attempt(run_id, host=run_id, phase=Phase.SUCCEEDED))
        blob = digests[{"rold": "d", "rnew": "e", "ropen": "e"}[run_id]]
        await store.add_artifact(
            replace(OUTPUT, run_id=run_id, attempt_id=f"{run_id}-train-1", digest=blob)
        )
        if ended is not None:
            await store.end_run(run_id, Outcome.SUCCEEDED, ended)
    assert await store.ended_before(300.0) == ["rold"]
    assert await store.ended_before(301.0) == ["rold", "rnew"]
    assert await store.has_run_of(digests["a"], 1000)
    assert not await store.has_run_of(digests["a"], 1001)
    assert not await store.has_run_of(digests["d"], 1000)
    assert await store.old_logs(["rold", "rnew", "ropen", "gone"], 100.0) == {"rold", "gone"}
    assert await store.old_logs(["rold", "rnew", "ropen"], 99.0) == set()
    every = list(digests.values())
    assert await store.old_blobs(every, 100.0, 101.0) == {digests["a"], digests["d"]}
    assert await store.old_blobs(every, 99.0, 100.0) == set()
    assert await store.old_blobs(every, 300.0, 301.0) == {digests[n] for n in "abd"}


async def test_a_run_counts_as_kept_as_long_as_a_person_keeps_it(store: Store) -> None:
    await store.create_run(run(), "", [])
    await store.end_run("raaaaaa", Outcome.SUCCEEDED, 120.0)
    await store.keep_run(Keep("raaaaaa", "ana", 130.0, 150.0))
    for now, kept in ((149.0, True), (150.0, False)):
        (use,) = await store.run_uses(now, ["raaaaaa"], [])
        assert (use.is_kept, use.finished_at, use.outputs) == (kept, 120.0, ())


async def test_every_part_of_an_attempt_comes_back(store: Store) -> None:
    full = attempt(
        phase=Phase.FAILED, cause=Cause.USER_ERROR, launched_at=1.0, ref="r", boot_id="b",
        started_at=2.0, finished_at=3.0, duration=1.5, exit_code=7, signal=9, detail="d",
        stop_reason=Cause.STOPPED, stop_detail="s", metrics={"x": 1.0}, outputs={"o": "a" * 64},
        image_digest="i", usage={"u": 2.0}, verdict=Phase.FAILED, warned_at=2.5, warning="w",
    )  # fmt: skip
    await store.create_run(run(), "", [])
    await store.add_attempt(full)
    assert (await store.get_run("raaaaaa")).attempts == (full,)
    bare = attempt("rbbbbbb", host="gpu2")
    await store.create_run(run("rbbbbbb", outcome=None), "", [])
    await store.add_attempt(bare)
    assert (await store.get_run("rbbbbbb")).attempts == (bare,)


async def test_what_is_wanted_of_a_service_is_stored_and_told(store: Store) -> None:
    serve = stage("serve.0", base="serve", kind="service", service=Service(HealthCheck("/")))
    await store.create_run(run(stages=(serve,)), "", [])
    wish = WishChange(replicas=3)
    assert await store.wish_service("raaaaaa", "serve", wish, event("service.scaled")) == {
        "services": {"serve": ServiceWish(replicas=3)}
    }
    more = await store.wish_service(
        "raaaaaa", "serve", WishChange(stopped="by ana"), event("service.scaled")
    )
    assert more == {"services": {"serve": ServiceWish(replicas=3, stopped="by ana")}}
    found = await store.get_run("raaaaaa")
    assert found.services == more["services"]
    assert [each.name for each in found.stages] == ["serve.0", "serve.1", "serve.2"]
    assert await kinds(store) == ["service.scaled"] * 2
    await store.end_run("raaaaaa", Outcome.CANCELLED, 120.0)
    with pytest.raises(ConflictError, match="raaaaaa has ended: its services cannot be changed"):
        await store.wish_service("raaaaaa", "serve", wish, event("service.scaled"))
