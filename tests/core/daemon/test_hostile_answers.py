"""Whatever an agent answers, whoever reads it raises an error of that host, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from hostler.base.errors import AgentError, HostError, InputError, NotFoundError, Unreachable
from hostler.cli.checks import check_host
from hostler.daemon.copy_format import Signer
from hostler.daemon.copy_reading import read_copies
from hostler.daemon.host_copies import HostCopies
from hostler.link.agent_link import AgentLink, stat_paths
from hostler.link.answers import answer_error, may_refuse
from hostler.link.lines import Hostile
from hostler.link.logs import follow_log
from hostler.local.door import LocalDoor
from hostler.model.config import HostConfig, MountConfig
from hostler.model.hosts import HostFacts, Workload
from hostler.model.jobs import Claim, Job, Placement
from hostler.ports import Hello
from hostler.runtimes.process.logs import follow_shortly
from hostler.runtimes.process.runtime import ProcessRuntime
from tests.support.programs import scripted_agent
from tests.support.values.metricsfile import read_metrics

ENOUGH = 6
"""Answers, after which the host is gone: some are asked for until it says that there is no more."""
DAEMON = "d" * 32
WORK = Workload("a-a-1", DAEMON, "process", "a-a-1", running=True)
JOB = Job(
    attempt_id="a-a-1", daemon_id=DAEMON, run_id="a", stage="a", owner="ana", host="gpu1",
    name="hostler-a", command=("true",), shell=False, env={}, gpus=(), code_path="/data",
    placements=(Placement("0" * 64, 5, ""),),
)  # fmt: skip


class Liar(AgentLink):
    """A link to a host that answers everything with these values in turn."""

    def __init__(self, *answers: Any) -> None:
        super().__init__(LocalDoor("gpu1"), None, DAEMON)  # type: ignore[arg-type]
        self._answers, self._asked = answers, 0

    async def connect(self) -> Hello:
        return Hello(HostFacts(), "boot", "v")

    async def _ask(self, *_how: Any) -> Any:
        self._asked += 1
        if self._asked > ENOUGH:
            raise Unreachable(self.host, "gone")
        return self._answers[(self._asked - 1) % len(self._answers)]

    async def put_blob(
        self, digest: str, path: Path, sent: Callable[[int], None] = lambda _there: None
    ) -> None:
        await self.call("blob.has", {"digest": digest})


class Sink:
    """Takes output."""

    position: Mapping[str, Any] = {}

    def append(self, data: bytes, position: Mapping[str, Any]) -> None:
        self.position = position


class Store:
    """Had a person forget every run."""

    async def get_run(self, run_id: str) -> Any:
        raise NotFoundError(run_id)

    async def is_over(self, run_id: str) -> bool | None:
        return True


async def _sweep(link: Liar) -> None:
    run_cache = SimpleNamespace(find=lambda _run: None)
    store, clock = Store(), SimpleNamespace(now=lambda: 5.0)
    context: Any = SimpleNamespace(
        daemon_id=DAEMON, link=lambda _host: link, run_cache=run_cache,
        store=store, is_over=store.is_over,
        clock=clock, signer=Signer(DAEMON, b"k" * 32),
    )  # fmt: skip
    await HostCopies(context).sweep("gpu1")


async def _doctor(link: Liar) -> None:
    doors: Any = SimpleNamespace(link=lambda _config, _id: link)
    mounts = [MountConfig("data", "/data")]
    await check_host(HostConfig("gpu1"), doors, mounts)


async def _log(link: Liar) -> None:
    async for _at, _data in follow_log("gpu1", link.call, "a-a-1", 0):
        pass


PROCESS = ProcessRuntime(lambda _digest: Path("/nowhere"))
READERS: dict[str, Callable[[Liar], Any]] = {
    "copies": lambda link: read_copies(link, Signer(DAEMON, b"k" * 32)),
    "sweep": _sweep,
    "doctor": _doctor,
    "stat": lambda link: stat_paths(link, ["/data"]),
    "log": _log,
    "short log": lambda link: follow_shortly(link, "a-a-1", Sink()),
    "metrics": lambda link: read_metrics(link, "a-a-1", "process", "a-a-1"),
    "container metrics": lambda link: read_metrics(link, "a-a-1", "docker", "aa"),
    "claim": lambda link: link.claim(Claim((), "a-a-1", DAEMON, "ana", 0, ())),
    "create": lambda link: PROCESS.create(link, JOB, lambda *_told: None),
    "start": lambda link: PROCESS.start(link, JOB, "a-a-1"),
    "stop": lambda link: PROCESS.stop(link, WORK, 1.0),
    "remove": lambda link: PROCESS.remove(link, WORK),
    "inspect": lambda link: PROCESS.inspect(link, "a-a-1"),
    "sweep checkpoints": lambda link: PROCESS.sweep(link, DAEMON, []),
    "has": lambda link: link.call("blob.has", {}),
    "gc": lambda link: link.call("gc", {}),
    "keep": lambda link: link.call("run.keep", {}),
}

odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([10**400, -1, 0, 2**63, 1e300, "/data", "\ud800", "eA==", "a-a-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)  # fmt: skip
KEYS = (
    "runs", "spec", "lines", "next", "checks", "at", "paths", "offset", "data", "end", "text",
    "mtime", "workload", "removed", "freed", "size", "complete", "lease_ids", "refused",
)  # fmt: skip
packed = odd.map(lambda value: base64.b64encode(zlib.compress(json.dumps(value).encode())).decode())
entries = st.dictionaries(st.sampled_from(["path", "check", "state", "real", "remedy"]), odd)
answers = odd | st.dictionaries(
    st.sampled_from(KEYS), odd | packed | st.lists(entries | st.just("a"), max_size=2)
)
pages = st.fixed_dictionaries(
    {"spec": packed, "lines": st.text(max_size=9), "next": st.integers(0, 9)}
)


def read(name: str, *told: Any) -> Any:
    async def ask() -> Any:
        try:
            return await READERS[name](Liar(*told))
        except HostError as error:
            return error

    return asyncio.run(ask())


@settings(max_examples=60)
@given(told=st.lists(answers, min_size=1, max_size=3))
def test_no_answer_raises_anything_but_an_error_of_its_host(told: list[Any]) -> None:
    """All readers read the same answers: to make them up takes longer than to read them."""
    for name in READERS:
        note(name)  # the last one is that which fails
        read(name, *told)


@given(pages, pages)
def test_no_copy_of_a_run_is_more_than_a_problem(first: Any, second: Any) -> None:
    answer = read("copies", {"runs": ["a"]}, first, second)
    assert isinstance(answer, HostError) or answer[1]


@pytest.mark.parametrize(
    ("name", "told", "said"),
    [
        ("copies", {"runs": 5}, "run.list cannot be read"),
        ("sweep", {"runs": 5}, "run.list cannot be read"),
        ("inspect", {"workload": 5}, "job.inspect cannot be read"),
        ("gc", {"freed": "much"}, "gc cannot be read"),
        ("stat", {"paths": [5]}, "stat cannot be read"),
        ("short log", {"offset": 0, "data": "\u00e9", "end": True}, "job.log cannot be read"),
    ],
)
def test_what_does_not_fit_is_told_of_the_host(name: str, told: Any, said: str) -> None:
    error = read(name, told)
    assert isinstance(error, AgentError)
    assert error.host == "gpu1"
    assert said in error.message


@pytest.mark.parametrize("told", [{"checks": ["x"]}, {"checks": [], "at": 10**400}, 5])
def test_a_doctor_that_makes_no_sense_is_a_failed_check(told: Any) -> None:
    async def ask() -> list[str]:
        doors: Any = SimpleNamespace(link=lambda _config, _id: Liar(told))
        return [check.name for check in await check_host(HostConfig("gpu1"), doors) if
                check.state == "fail"]  # fmt: skip

    assert asyncio.run(ask()) == ["host.checks"]


def test_lines_without_an_end_are_a_problem() -> None:
    spec = base64.b64encode(zlib.compress(b"{}")).decode()
    run: Any = {"spec": spec, "lines": "x\n", "next": 2}
    found, (problem,) = read("copies", {"runs": ["a"]}, run, run)
    assert not found
    assert "the copy of run a on gpu1 cannot be read" in problem


@pytest.mark.parametrize("kind", ["InputError", "NotFoundError", "ConflictError"])
def test_only_what_is_asked_of_a_job_may_be_our_own_fault(kind: str) -> None:
    error = {"kind": kind, "message": "no"}
    assert isinstance(answer_error("gpu1", error, may_refuse=may_refuse("job.start")), InputError)
    for verb in ("run.list", "run.forget", "doctor", "gc", "stat"):
        assert isinstance(answer_error("gpu1", error, may_refuse=may_refuse(verb)), AgentError)


@given(
    st.dictionaries(st.sampled_from(["kind", "message", "remedy", "status"]), odd), st.booleans()
)
def test_an_error_is_of_the_host_whatever_it_is_called(error: Any, may: bool) -> None:
    kinds = (
        "HostlerError", "ConfigError", "PipelineError", "ForbiddenError", "Refused", "StateError",
        "DaemonBusy", "SchemaTooNew", "NoDaemonError", "Unkillable",
    )  # fmt: skip
    for named in (error, *({**error, "kind": kind} for kind in kinds)):
        try:
            found = answer_error("gpu1", named, may_refuse=may)
        except Hostile:
            continue
        assert isinstance(found, HostError) or (may and isinstance(found, InputError))
    assert isinstance(answer_error("gpu1", {"kind": "StateError"}, may_refuse=may), AgentError)


@pytest.mark.programs
def test_a_scripted_agent_is_read_by_its_link_in_the_same_way(tmp_path: Path) -> None:
    from hostler.link.agent_start import AgentProgram

    async def ask() -> None:
        folder = tmp_path / "agent"
        scripted_agent.script(folder, answers={"run.list": {"ok": {"runs": 5}}})
        program = AgentProgram(scripted_agent.HASH, b"", scripted_agent.command(folder))
        link = AgentLink(LocalDoor("gpu1"), program, DAEMON)
        await link.connect()
        try:
            with pytest.raises(AgentError, match=r"run\.list cannot be read"):
                await link.call("run.list", {})
        finally:
            await link.close()

    asyncio.run(ask())
