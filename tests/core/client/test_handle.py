"""A run from Python: submitted with its folder, waited for, read."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import InputError, NoDaemonError, NotFoundError
from hostler.client import AsyncClient, AsyncRun, Client, Run, daemon_start, handle_work
from hostler.client.methods import CommandOptions
from hostler.model.pipeline_file import command_keys
from hostler.packing import PackedSource, pack_source
from hostler.quick.socket import Found
from tests.support.daemons.scripted_daemon import (
    Answer,
    Asked,
    ScriptedDaemon,
    json_lines,
    scripted_daemon,
)
from tests.support.values.api_hosts import api_host
from tests.support.values.run_objects import attempt, run, stage


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    monkeypatch.setattr(handle_work, "PAUSE_S", 0.0)
    with scripted_daemon() as running:
        running.on("GET", "/v1/hosts", {"hosts": [api_host("gpu1", "ssh")]})
        running.on("POST", "/v1/check", {"source_size": 1 << 20, "source_file": 1 << 20})
        running.on("HEAD", "/v1/snapshots/*", Answer(status=404))
        running.on("PUT", "/v1/snapshots/*", {})
        running.on("POST", "/v1/runs", {"run_id": "r7", "no_host": "no host has 9 GPUs"})
        yield running


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a program and a pipeline."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text("print(1)")
    (folder / "pipeline.toml").write_text('[params]\nlr = 0.3\n[stages.a]\ncommand = "x"\n')
    monkeypatch.chdir(folder)
    return folder


def submitted(daemon: ScriptedDaemon) -> dict[str, Any]:
    """The last submission that came."""
    body: dict[str, Any] = daemon.requests("POST", "/v1/runs")[-1].json
    return body


def test_a_pipeline_goes_with_its_parameters_and_its_folder(
    daemon: ScriptedDaemon, work: Path
) -> None:
    said: list[str] = []
    more: dict[str, float | str] = {"title": "x"}
    handle = Client(daemon.path).run(
        work / "pipeline.toml", lr=0.1, deep=True, params=more, title="try", say=said.append
    )
    assert isinstance(handle, Run)
    assert handle.id == "r7"
    body = submitted(daemon)
    assert body["params"] == {"lr": "0.1", "deep": "true", "title": "x"}
    assert (body["title"], body["source"]["path"]) == ("try", str(work))
    assert b"print(1)" in next(asked.body for asked in daemon.asked if asked.method == "PUT")
    assert said[0].startswith("sending 2 files (")
    assert said[-1] == "no host has 9 GPUs"


def test_a_command_goes_with_what_it_needs(daemon: ScriptedDaemon, work: Path) -> None:
    async def main() -> AsyncRun:
        return await AsyncClient(daemon.path).run(
            ["python", "train.py"], gpus=1, keep="*.pt", env={"A": "1"}, folder=work
        )

    Client(daemon.path).run(["python", "train.py"], gpus=1, keep=["*.pt"], env={"A": "1"})
    first = submitted(daemon)
    assert asyncio.run(main()).id == "r7"
    assert submitted(daemon) == first
    assert first["command"] == {
        "command": ["python", "train.py"], "gpus": 1, "keep": ["*.pt"], "env": {"A": "1"},
        "code": "snapshot",
    }  # fmt: skip


def test_a_command_takes_every_key_of_a_stage_that_a_command_may_have() -> None:
    beside = {"each", "array", "max_parallel", "name"}
    assert set(CommandOptions.__annotations__) == {*command_keys()} | beside


def test_a_mistake_is_told_before_anything_is_sent(daemon: ScriptedDaemon, work: Path) -> None:
    client = Client(daemon.path)
    with pytest.raises(NotFoundError, match=r"client\.find\('r7'\)"):
        client.run("r7")
    with pytest.raises(InputError, match="is a Python program"):
        client.run("train.py")
    assert daemon.requests("POST", "/v1/runs") == []


def test_a_run_waits_for_others_and_its_commands_take_words(
    daemon: ScriptedDaemon, work: Path
) -> None:
    Client(daemon.path).run("pipeline.toml", after="r1", after_any=["r2", "r3"], args=["--lr", "1"])
    first = submitted(daemon)
    assert (first["after"], first["after_any"]) == (["r1"], ["r2", "r3"])
    assert first["args"] == ["--lr", "1"]

    async def main() -> AsyncRun:
        return await AsyncClient(daemon.path).run(["true"], after=["r1"])

    asyncio.run(main())
    assert submitted(daemon)["after"] == ["r1"]
    Client(daemon.path).run("pipeline.toml", after=())
    assert not {"after", "after_any", "args"} & submitted(daemon).keys()


def test_a_priority_is_only_lowered(daemon: ScriptedDaemon) -> None:
    with pytest.raises(InputError, match="can only be lowered"):
        Client(daemon.path).run(["true"], priority=1)


def test_what_is_packed_for_nobody_is_removed(
    daemon: ScriptedDaemon, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[Path] = []

    def slow(*args: Any, **options: Any) -> PackedSource:
        begun.set()
        go_on.wait(30)
        packed = pack_source(*args, **options)
        made.append(packed.path)
        return packed

    monkeypatch.setattr("hostler.packing.pack_source", slow)

    async def main() -> None:
        task = asyncio.create_task(AsyncClient(daemon.path).run("pipeline.toml"))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(main())  # its end waits for the thread
    assert [path.exists() for path in made] == [False]
    assert daemon.requests("POST", "/v1/runs") == []


def test_a_daemon_that_is_named_is_not_started() -> None:
    with pytest.raises(NoDaemonError, match=r"/nowhere/x\.sock"):
        Client("/nowhere/x.sock").run(["true"])


def test_a_client_alone_says_how_to_get_a_daemon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(daemon_start, "_PACKAGES", ("no_such_package",))
    client = Client(found=Found(str(tmp_path / "x.sock"), "personal"))
    with pytest.raises(NoDaemonError, match="no_such_package is missing") as caught:
        client.run(["true"])
    assert "hostler daemon start" in caught.value.remedy


def lines_of(daemon: ScriptedDaemon, name: str | None, **options: Any) -> list[str]:
    """The log of r7, the same from both clients."""

    async def main() -> list[str]:
        handle = await AsyncClient(daemon.path).find("r7")
        return [line async for line in handle.logs(name, **options)]

    lines = list(Client(daemon.path).find("r7").logs(name, **options))
    assert asyncio.run(main()) == lines
    return lines


def test_logs_come_as_lines_of_one_stage_after_the_other(daemon: ScriptedDaemon) -> None:
    ended = run(
        stage("a", status="succeeded", attempt=attempt()),
        stage("b", status="skipped"),
        stage("c", status="failed", attempt=attempt(phase="failed")),
        outcome="failed", run_id="r7",
    )  # fmt: skip
    daemon.on("GET", "/v1/runs/r7", ended)
    daemon.on("GET", "/v1/runs/r7/logs/a", Answer(parts=[b"one\r\ntw", b"o\n\xff"]))
    daemon.on("GET", "/v1/runs/r7/logs/c", Answer(parts=[b"three\n"]))
    assert lines_of(daemon, None) == ["one", "two", "\ufffd", "three"]
    assert lines_of(daemon, "c", follow=False) == ["three"]
    with pytest.raises(NotFoundError, match=r"no stage 'd'\. It has: a, b, c"):
        lines_of(daemon, "d")


def test_logs_of_a_stage_are_those_of_all_its_cells(daemon: ScriptedDaemon) -> None:
    cells = [
        stage(f"a.{n}", status="succeeded", attempt=attempt(phase="succeeded")) for n in (0, 1)
    ]
    daemon.on("GET", "/v1/runs/r7", run(*cells, outcome="succeeded", run_id="r7"))
    for n in (0, 1):
        daemon.on("GET", f"/v1/runs/r7/logs/a.{n}", Answer(parts=[b"cell %d\n" % n]))
    assert lines_of(daemon, "a") == ["cell 0", "cell 1"]


def test_logs_go_on_through_a_restart_and_a_retry(daemon: ScriptedDaemon) -> None:
    first, second = attempt(number=1, phase="failed"), attempt(number=2, phase="running")
    waits = run(stage("a", status="waiting"), run_id="r7")
    ends = run(
        stage("a", status="succeeded", attempt=second, attempts=[first, second]),
        outcome="succeeded", run_id="r7",
    )  # fmt: skip
    daemon.on("GET", "/v1/runs/r7", waits)
    parts = json_lines({"run": waits}, {}, {"run": ends})
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=parts))

    def log(asked: Asked) -> Answer:
        if asked.query["attempt"] == "1":
            return Answer(parts=[b"lost\n"])
        whole = b"first\nsecond\n"
        if "offset" not in asked.query or asked.query["offset"] == "0":
            return Answer(parts=[whole[:8]], cut=True)
        return Answer(parts=[whole[int(asked.query["offset"]) :]])

    daemon.on("GET", "/v1/runs/r7/logs/a", log)
    assert lines_of(daemon, None) == ["lost", "first", "second"]


def test_waiting_goes_on_through_a_restart(daemon: ScriptedDaemon) -> None:
    answers = [json_lines({"run": run(run_id="r7")})]
    ended = json_lines({"run": run(run_id="r7", outcome="succeeded")})
    take: Callable[[Asked], Answer] = lambda _: Answer(  # noqa: E731
        parts=answers.pop() if answers else ended
    )
    daemon.on("GET", "/v1/runs/r7/events", take)
    assert Run(Client(daemon.path), "r7").wait(timeout=30).outcome == "succeeded"
    answers.append(json_lines({"run": run(run_id="r7")}))
    waiting = AsyncRun(AsyncClient(daemon.path), "r7").wait()
    assert asyncio.run(waiting).outcome == "succeeded"


def test_waiting_has_an_end(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=json_lines({"run": run(run_id="r7")})))
    with pytest.raises(TimeoutError, match=r"r7 has not ended after 0\.05 s"):
        Run(Client(daemon.path), "r7").wait(timeout=0.05)


def test_metrics_are_numbers_and_curves(daemon: ScriptedDaemon) -> None:
    rows = [
        {"attempt_id": "r7-a-1", "name": "loss", "value": 0.5, "at": 1.0, "step": 0},
        {"attempt_id": "r7-a-1", "name": "acc", "value": 0.1, "at": 1.0, "step": None},
        {"attempt_id": "r7-a-1", "name": "loss", "value": None, "at": 2.0, "step": 1},
    ]
    daemon.on("GET", "/v1/runs/r7/metrics/a", {"metrics": rows, "next": None})
    daemon.on("GET", "/v1/runs/r7/metrics/b", {"metrics": rows[:1], "next": None})
    tried = [stage(name, attempt=attempt()) for name in ("a", "b")]
    daemon.on("GET", "/v1/runs/r7", run(*tried, stage("c"), run_id="r7"))
    handle = Client(daemon.path).find("r7")
    found = handle.metrics("a")
    assert found["acc"] == 0.1
    assert math.isnan(found["loss"])
    assert found.curves["loss"].steps == (0, 1)
    assert found.curves["loss"].times == (1.0, 2.0)
    assert dict(handle.metrics()) == pytest.approx(
        {"a/loss": math.nan, "a/acc": 0.1, "b/loss": 0.5}, nan_ok=True
    )


def test_the_rest_of_a_handle_asks_for_its_run(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs/r7", run(run_id="r7", state="running"))
    daemon.on("POST", "/v1/runs/r7/cancel", run(run_id="r7"))
    handle = Client(daemon.path).find("r7")
    assert (repr(handle), handle.status) == ("Run('r7')", "running")
    handle.cancel()

    async def main() -> str:
        found = await AsyncClient(daemon.path).find("r7")
        await found.cancel()
        return await found.status

    assert asyncio.run(main()) == "running"
    assert len(daemon.requests("POST", "/v1/runs/r7/cancel")) == 2
