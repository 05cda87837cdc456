"""A run's code is what its submitter has sent: digests are no keys to what others have there."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons.served import Served, served
from tests.support.machines.callers import ask, open_to_all
from tests.support.values import stored
from tests.support.values.kept import ended_run, keep

ANA, BO = 65534, 1
"""nobody and daemon, members both."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
PIPELINE = 'name = "x"\n[stages.a]\ncommand = "true"\ncode = "snapshot"\n'


@pytest.fixture
def daemon(open_path: Path) -> Iterator[Served]:
    with served(open_path / "s", allow=("nobody", "daemon")) as running:
        open_to_all(running.socket_path)
        yield running


def tree(name: str = "a.txt") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        made.addfile(tarfile.TarInfo(name))
    return out.getvalue()


def upload(daemon: Served, data: bytes, uid: int) -> str:
    async def pieces() -> AsyncIterator[bytes]:
        yield data

    digest = hashlib.sha256(data).hexdigest()
    taking = daemon.service.sources.take_in(digest, pieces(), uid)
    asyncio.run_coroutine_threadsafe(taking, daemon.loop).result(60)
    return digest


def act(daemon: Served, uid: int | None, call: str, digest: str, **more: Any) -> tuple[int, Any]:
    body = json.dumps({**more, "source": {"digest": digest}})
    return ask(daemon.socket_path, uid, call, body)


@pytest.mark.parametrize("call", ["check", "plan", "runs"])
def test_nobody_takes_the_files_of_another_user_as_code(
    daemon: Served, tmp_path: Path, call: str
) -> None:
    """Everybody sees the digests of all outputs, and a submission names its code by one."""
    ended_run(daemon, stored.run(owner="nobody", uid=ANA))
    keep(daemon, tmp_path, {"log.csv": b"mine"})
    told: Any = ask(daemon.socket_path, BO, "GET /v1/runs/raaaaaa/artifacts")[1]
    (artifact,) = told["artifacts"]
    for digest in (artifact["digest"], upload(daemon, tree(), ANA)):
        status, answer = act(daemon, BO, f"POST /v1/{call}", digest, pipeline=PIPELINE)
        assert (status, answer["error"]["kind"]) == (404, "NotFoundError"), answer
        assert "was not uploaded" in answer["error"]["message"]


def test_a_retry_or_rerun_is_no_way_around(daemon: Served) -> None:
    """A run of one's own with such code would make it one's own."""
    theirs, mine = upload(daemon, tree("theirs"), ANA), upload(daemon, tree("mine"), BO)
    status, run = act(daemon, BO, "POST /v1/runs", mine, pipeline=PIPELINE.replace("a]", "b]"))
    assert status == 201, run
    assert ask(daemon.socket_path, BO, f"POST /v1/runs/{run['run_id']}/cancel")[0] == 200
    end(daemon, run["run_id"])
    for verb in ("retry", "rerun", "retry/plan"):
        call = f"POST /v1/runs/{run['run_id']}/{verb}"
        status, answer = act(daemon, BO, call, theirs)
        assert (status, answer["error"]["kind"]) == (404, "NotFoundError"), (verb, answer)
        status, answer = act(daemon, BO, call, mine)
        assert status in (200, 201), (verb, answer)


def end(daemon: Served, run: str) -> None:
    async def over() -> None:
        while (await daemon.service.run(run)).outcome is None:
            await asyncio.sleep(0.02)

    asyncio.run_coroutine_threadsafe(over(), daemon.loop).result(60)


def test_who_has_the_same_code_sends_it_too_and_then_uses_it(daemon: Served) -> None:
    sources = daemon.service.sources
    digest = upload(daemon, tree(), ANA)
    assert may_use(daemon, digest, ANA)
    assert not may_use(daemon, digest, BO)
    assert upload(daemon, tree(), BO) == digest
    for uid in (ANA, BO):
        status, run = act(daemon, uid, "POST /v1/runs", digest, pipeline=PIPELINE)
        assert status == 201, run
    sources._sent.clear()  # as after a restart: then the own runs tell
    for uid in (ANA, BO, 0, os.getuid()):
        assert may_use(daemon, digest, uid)
    assert not may_use(daemon, digest, 2)
    assert act(daemon, ANA, "POST /v1/check", digest, pipeline=PIPELINE)[0] == 200


def may_use(daemon: Served, digest: str, uid: int) -> bool:
    asking = daemon.service.sources.may_use(digest, uid)
    return asyncio.run_coroutine_threadsafe(asking, daemon.loop).result(60)


def test_what_one_user_has_sent_is_remembered_up_to_a_number(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostler.daemon.sources._MOST_SENT", 2)
    sent = [upload(daemon, tree(f"{n}"), ANA) for n in range(3)]
    assert [may_use(daemon, digest, ANA) for digest in sent] == [False, True, True]
    other = upload(daemon, tree("other"), BO)
    assert may_use(daemon, other, BO)
