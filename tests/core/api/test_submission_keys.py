"""A submission that is sent again with its key is one run; with another body it is refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ConflictError, InputError
from hostler.client import Client
from hostler.daemon.submit import Submission, renamed
from hostler.model.calls import Caller
from hostler.model.runs import Run, Source
from hostler.store.database import Store
from hostler.store.migrations import STATE
from hostler.store.opening import open_for_writing
from hostler.store.schema import Schema
from tests.support.daemons.served import Served, served
from tests.support.values import stored

ANA, BO = Caller(1000, "ana"), Caller(1001, "bo")
LIST = Submission(command={"command": ["ls"]})
PIPELINE = 'name = "x"\n[stages.a]\ncommand = "true"\n'


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "s") as running:
        yield running


def do(daemon: Served, work: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(work, daemon.loop).result(60)


def submit(daemon: Served, submission: Submission, who: Caller, key: str | None) -> Run:
    run: Run = do(daemon, daemon.service.submit(submission, who, key))
    return run


def test_the_same_again_is_the_same_run_for_each_user(daemon: Served) -> None:
    first = submit(daemon, LIST, ANA, "k1")
    assert submit(daemon, LIST, ANA, "k1").run_id == first.run_id
    others = [submit(daemon, LIST, ANA, "k2"), submit(daemon, LIST, BO, "k1")]
    others.append(submit(daemon, LIST, ANA, None))
    assert len({first.run_id, *(run.run_id for run in others)}) == 4
    other = Submission(command={"command": ["ls", "-l"]})
    with pytest.raises(ConflictError, match=f"another submission, run {first.run_id}"):
        submit(daemon, other, ANA, "k1")


def test_only_a_command_of_a_few_lines_is_read_without_a_thread() -> None:
    assert LIST.is_short
    code = Source(digest="sha256:" + "0" * 64)
    for other in (
        Submission(pipeline=PIPELINE),
        Submission(command={"command": ["ls"], "each": ["a", "b"]}),
        Submission(command={"command": ["ls", "x" * 5000]}),
        Submission(command={"command": ["ls"]}, source=code),
        Submission(command={"command": ["ls"]}, files=("a.py",)),
    ):
        assert not other.is_short


def test_the_same_twice_at_once_is_one_run(daemon: Served) -> None:
    async def both() -> list[Run]:
        return await asyncio.gather(*(daemon.service.submit(LIST, ANA, "k1") for _ in range(5)))

    assert len({run.run_id for run in do(daemon, both())}) == 1
    assert len(do(daemon, daemon.service.context.store.open_runs())) == 1


def test_a_key_goes_with_its_run(daemon: Served) -> None:
    client = Client(daemon.socket_path)
    body = {"command": {"command": ["ls"]}}
    run = client.submit(body, key="mine")
    assert client.submit(body, key="mine").run_id == run.run_id
    client.cancel(run.run_id)
    assert client.wait(run.run_id, timeout=60).outcome == "cancelled"
    assert client.submit(body, key="mine").run_id == run.run_id
    client.remove(run.run_id)
    assert client.submit(body, key="mine").run_id != run.run_id


@pytest.mark.parametrize("verb", ["retry", "rerun"])
def test_a_run_made_of_the_last_one_is_the_same_again(daemon: Served, verb: str) -> None:
    client = Client(daemon.socket_path)
    first = client.submit({"command": {"command": ["ls"]}}).run_id
    client.cancel(first)
    client.wait(first, timeout=60)
    made = getattr(client, verb)("last", key="mine").run_id
    client.remove(first)
    assert getattr(client, verb)("last", key="mine").run_id == made != first


def test_a_key_that_is_none_is_refused(daemon: Served) -> None:
    with pytest.raises(InputError, match="not valid"):
        Client(daemon.socket_path).submit({"command": {"command": ["ls"]}}, key="a b")


async def test_a_database_of_before_takes_keys(tmp_path: Path) -> None:
    old = Schema(STATE.name, STATE.steps[:3])
    open_for_writing(tmp_path / "hostler.db", old, synchronous="FULL", backups=False).close()
    store = await Store.open(tmp_path)
    try:
        await store.create_run(stored.run(), "", [])
        assert await store.find_submission(1000, "k") is None
    finally:
        await store.close()


async def test_runs_of_before_have_the_usual_name_of_a_pipeline_file(tmp_path: Path) -> None:
    old = Schema(STATE.name, STATE.steps[:7])
    open_for_writing(tmp_path / "hostler.db", old, synchronous="FULL", backups=False).close()
    columns = "pipeline, owner, uid, submitted_at, params, source, priority, kept, env, title"
    with closing(sqlite3.connect(tmp_path / "hostler.db")) as database:
        for run_id, text in (("raaaaaa", PIPELINE), ("rbbbbbb", "")):
            database.execute(
                f"INSERT INTO runs (run_id, pipeline_text, stage_count, {columns}) VALUES "
                "(?, ?, 0, 'x', 'ana', 1000, 1.0, '{}', '{}', 0, '{}', '{}', '')",
                (run_id, text),
            )
        database.commit()
    store = await Store.open(tmp_path)
    try:
        files = [(await store.get_run(run_id)).file for run_id in ("raaaaaa", "rbbbbbb")]
    finally:
        await store.close()
    assert files == ["pipeline.toml", ""]


def test_a_retry_with_another_change_needs_another_key(daemon: Served) -> None:
    client = Client(daemon.socket_path)
    text = 'name = "x"\n[params]\nlr = 1\n[stages.a]\ncommand = "echo {params.lr}"\n'
    first = client.submit({"pipeline": text}).run_id
    client.cancel(first)
    client.wait(first, timeout=60)
    change = {"params": {"lr": "2"}}
    made = client.retry(first, change=change, key="mine")
    assert (made.params, made.retry_of) == ({"lr": 2}, first)
    assert client.retry(first, change=change, key="mine").run_id == made.run_id
    with pytest.raises(ConflictError, match="another submission"):
        client.retry(first, change={"params": {"lr": "3"}}, key="mine")


def test_a_checkpoint_that_begins_in_a_run_follows_its_id() -> None:
    run = stored.run("raaaaaa", checkpoints={"a": "raaaaaa", "b": "rbbbbbb"})
    assert renamed(run, "rcccccc").checkpoints == {"a": "rcccccc", "b": "rbbbbbb"}


@pytest.mark.parametrize(
    "submission",
    [
        Submission(command={"command": ["ls"], "code": "snapshot"}),
        Submission(pipeline=PIPELINE + 'code = "snapshot"\n'),
        Submission(pipeline=PIPELINE + '[defaults]\ncode = "snapshot"\n'),
        Submission(pipeline=PIPELINE + 'code = "snapshot"\n', source=Source(path="/somewhere")),
    ],
)
def test_code_that_was_to_be_copied_and_was_not_sent_is_refused(
    daemon: Served, submission: Submission
) -> None:
    with pytest.raises(InputError, match='has code = "snapshot", but no code was sent'):
        submit(daemon, submission, ANA, None)
    do(daemon, daemon.service.check(submission, ANA))  # which comes before the upload
