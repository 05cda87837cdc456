"""What a retry keeps of a run stays the retry's where that run is removed."""

from __future__ import annotations

from dataclasses import replace

from hostler.model.files import Artifact
from hostler.model.runs import Attempt, Outcome, Phase
from hostler.store.database import Store
from tests.support.values.stored import attempt, event, put_attempt, run

MODEL, FILES, INDEX = "d1", "d2", "d3"


async def _made(store: Store) -> Attempt:
    """A run whose one stage has succeeded, with an output and other files."""
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt())
    done = replace(attempt(phase=Phase.SUCCEEDED), outputs={"model": MODEL})
    await put_attempt(store, done)
    made = Artifact("raaaaaa", "train", done.attempt_id, "model", MODEL, 5, 110.0)
    await store.add_artifact(made)
    await store.add_artifact(replace(made, name="files", digest=FILES, kind="files", index=INDEX))
    await store.end_run("raaaaaa", Outcome.FAILED, 120.0)
    return done


async def _retry(store: Store, run_id: str, done: Attempt) -> None:
    await store.create_run(run(run_id, kept={"train": done}, retry_of="raaaaaa"), "", [])
    await store.end_run(run_id, Outcome.SUCCEEDED, 130.0)


async def _needed(store: Store) -> dict[str, tuple[str, ...]]:
    uses = await store.run_uses(200.0, [], {MODEL, FILES, INDEX})
    return {use.run_id: use.outputs for use in uses if use.outputs}


async def test_files_of_kept_stages_are_needed_by_the_retry(store: Store) -> None:
    await _retry(store, "rbbbbbb", await _made(store))
    assert await _needed(store) == dict.fromkeys(["raaaaaa", "rbbbbbb"], (MODEL, FILES, INDEX))
    assert await store.inherited("rbbbbbb") == []


async def test_they_are_handed_over_where_their_run_is_removed(store: Store) -> None:
    done = await _made(store)
    made = {*await store.artifacts("raaaaaa")}
    await _retry(store, "rbbbbbb", done)
    await _retry(store, "rcccccc", done)
    await store.delete_run("raaaaaa", event("run.removed"))
    for monitor in ("rbbbbbb", "rcccccc"):
        assert {*await store.inherited(monitor)} == made
    await _retry(store, "rdddddd", done)  # of the run that is there
    await store.delete_run("rbbbbbb", event("run.removed"))
    assert await _needed(store) == dict.fromkeys(["rcccccc", "rdddddd"], (MODEL, FILES, INDEX))
    await store.delete_run("rcccccc", event("run.removed"))
    assert {*await store.inherited("rdddddd")} == made
    await store.delete_run("rdddddd", event("run.removed"))
    assert await _needed(store) == {}
