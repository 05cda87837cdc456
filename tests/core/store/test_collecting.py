"""What the database knows of attempts whose files are being copied, and of those files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from hostler.base.errors import ConflictError
from hostler.model.files import Artifact
from hostler.model.pipelines import Cause
from hostler.model.records import AttemptFilter
from hostler.model.runs import Outcome, Phase
from hostler.store.database import Store
from hostler.store.migrations import STATE
from hostler.store.schema import Schema
from tests.support.values.stored import attempt, put_attempt, run, stage

COLLECTING = attempt(
    phase=Phase.COLLECTING, verdict=Phase.FAILED, cause=Cause.USER_ERROR, exit_code=1
)
FILES = Artifact(
    "raaaaaa", "train", "raaaaaa-train-1", "files", "a" * 64, 10, 200.0, 1,
    kind="files", partial=True, index="b" * 64,
)  # fmt: skip


async def collecting(store: Store) -> None:
    """An attempt that ran, and is collected."""
    await store.create_run(run(stages=(stage(), stage("other"))), "", [])
    await store.add_attempt(attempt())
    await put_attempt(store, attempt(phase=Phase.RUNNING))
    await put_attempt(store, COLLECTING)


async def test_its_gpus_are_free_and_its_verdict_reads_back(store: Store) -> None:
    await collecting(store)
    await store.add_attempt(attempt(stage_name="other"))
    assert (await store.get_run("raaaaaa")).attempts[0] == COLLECTING


async def test_it_is_open_until_it_is_over(store: Store) -> None:
    await collecting(store)
    with pytest.raises(ConflictError, match="has attempt raaaaaa-train-1"):
        await store.add_attempt(attempt(number=2))
    with pytest.raises(ConflictError, match="still open"):
        await store.end_run("raaaaaa", Outcome.FAILED, 300.0)
    assert await store.attempts(AttemptFilter(is_open=True)) == [COLLECTING]
    await put_attempt(store, replace(COLLECTING, phase=Phase.FAILED, verdict=None))
    await store.end_run("raaaaaa", Outcome.FAILED, 300.0)
    assert await store.attempts(AttemptFilter(is_open=True)) == []


async def test_it_never_runs_again(store: Store) -> None:
    await collecting(store)
    with pytest.raises(ConflictError, match="already collecting: it cannot become running"):
        await put_attempt(store, attempt(phase=Phase.RUNNING))


async def test_a_recovered_one_holds_nothing(store: Store) -> None:
    await store.create_run(run(stages=(stage(), stage("other"))), "", [])
    await store.add_attempt(attempt(stage_name="other"))
    await store.add_attempt(COLLECTING)
    assert len((await store.get_run("raaaaaa")).attempts) == 2


async def test_kept_files_stand_beside_an_output_of_their_name(store: Store) -> None:
    await collecting(store)
    output = replace(FILES, digest="c" * 64, kind="output", partial=False, index=None)
    await store.add_artifact(FILES)
    await store.add_artifact(output)
    assert await store.artifacts("raaaaaa") == [output, FILES]


async def test_the_list_of_its_files_is_needed_like_the_files(store: Store) -> None:
    await collecting(store)
    await store.add_artifact(FILES)
    (use,) = await store.run_uses(300.0, [], ["a" * 64, "b" * 64])
    assert use.outputs == ("a" * 64, "b" * 64)


async def test_artifacts_of_a_database_of_before_are_outputs(tmp_path: Path) -> None:
    before = Schema("hostler", STATE.steps[:5])
    file = tmp_path / "hostler.db"
    db = Database(file)
    before.apply(db)
    db.execute(
        "INSERT INTO runs (run_id, pipeline, owner, uid, submitted_at, params, source, priority,"
        " kept, env, title, stage_count, pipeline_text)"
        " VALUES ('raaaaaa', 'p', 'ana', 1, 1.0, '{}', '{}', 0, '{}', '{}', '', 0, '')"
    )
    db.execute(
        "INSERT INTO attempts (attempt_id, run_id, stage, number, phase, host, gpus, placed_at,"
        " runtime, detail, stop_detail, metrics, outputs, usage)"
        " VALUES ('raaaaaa-train-1', 'raaaaaa', 'train', 1, 'succeeded', 'gpu1', '[]', 1.0,"
        " 'docker', '', '', '{}', '{}', '{}')"
    )
    db.execute(
        "INSERT INTO artifacts VALUES ('raaaaaa-train-1', 'model', 'raaaaaa', 'train', ?, 10,"
        " 200.0, 1, NULL)",
        ["a" * 64],
    )
    db.conn.commit()
    db.conn.close()
    store = await Store.open(tmp_path)
    try:
        (found,) = await store.artifacts("raaaaaa")
        (kept,) = (await store.get_run("raaaaaa")).attempts
    finally:
        await store.close()
    assert found == Artifact("raaaaaa", "train", "raaaaaa-train-1", "model", "a" * 64, 10, 200.0, 1)
    assert (kept.phase, kept.verdict) == (Phase.SUCCEEDED, None)
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
