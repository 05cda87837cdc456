"""The process runtime: what it asks of the agent, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, EngineError, InputError, Unreachable
from hostler.model.codec import to_json
from hostler.model.hosts import Workload
from hostler.model.jobs import Job, Mount, Placement
from hostler.runtimes.process.jobs import process_env, working_folder
from hostler.runtimes.process.logs import take, take_rest
from hostler.runtimes.process.runtime import ProcessRuntime
from tests.core.runtimes.support import MemorySink, make_job, silent
from tests.support.machines.direct_link import DirectLink
from tests.support.values.tars import tar_of

FOLDER = "/var/tmp/hostler-1234/jobs/a/work"


class Agent(DirectLink):
    """Keeps jobs as the agent does, in memory."""

    def __init__(self) -> None:
        super().__init__(None, "gpu1")  # type: ignore[arg-type]
        self.jobs: dict[str, Workload | None] = {}
        self.cached: dict[str, int] = {}
        self.log = b""
        self.kept_from = 0
        self.cut_at: int | None = None
        self.hangs = False
        self.short = False
        self.transfers = 0

    def asked(self, verb: str) -> list[dict[str, Any]]:
        return [payload for name, payload in self.calls if name == verb]

    async def call(
        self, verb: str, payload: Mapping[str, Any], timeout: float = 10.0
    ) -> dict[str, Any]:
        self.calls.append((verb, dict(payload)))
        attempt = payload.get("attempt_id", "")
        match verb:
            case "job.create":
                self.jobs.setdefault(attempt, None)
                return {"ref": attempt, "folder": FOLDER}
            case "blob.has":
                return {"size": self.cached.get(payload["digest"], 0)}
            case "job.start":
                workload = Workload(attempt, "d", "process", attempt, running=True)
                self.jobs[attempt] = self.jobs.get(attempt) or workload
                return self._told(attempt)
            case "job.stop":
                ended = dataclasses.replace(
                    self.jobs[attempt] or Workload(attempt, "d", "process", attempt, False),
                    running=self.hangs, exit_code=143, signal=15,
                )  # fmt: skip
                self.jobs[attempt] = ended
                return self._told(attempt)
            case "job.inspect":
                found = self.jobs.get(attempt)
                return {"workload": None if found is None else to_json(found)}
            case "job.log":
                # Two bytes by request, then a transfer has to take over.
                at = max(payload["offset"], self.kept_from)
                data = self.log[at : at + 2] if payload["offset"] == 0 else b""
                end = self.short and at + len(data) >= len(self.log)
                if not data and not end:
                    await asyncio.sleep(payload.get("wait", 0.0))  # for more, as the agent does
                return {"offset": at, "data": base64.b64encode(data).decode(), "end": end}
            case "stat":
                return {"paths": [{"path": path, "exists": False} for path in payload["paths"]]}
        return {}

    async def put_blob(self, digest: str, path: Path) -> None:
        self.blobs[digest] = path
        self.cached[digest] = 3

    async def read_log(
        self, attempt_id: str, offset: int, follow: bool
    ) -> AsyncIterator[tuple[int, bytes]]:
        self.transfers += 1
        at = max(offset, self.kept_from)
        while at < len(self.log):
            if self.cut_at is not None and at >= self.cut_at:
                self.cut_at = None
                raise Unreachable(self.host, "cut")
            yield at, self.log[at : at + 3]
            at += 3

    def _told(self, attempt: str) -> dict[str, Any]:
        told: dict[str, Any] = to_json(self.jobs[attempt])
        return told


@pytest.fixture
def runtime() -> ProcessRuntime:
    return ProcessRuntime(lambda digest: Path("/content", digest))


def _job(**changes: Any) -> Job:
    return make_job("echo $HOME", image=None, host="gpu1", **changes)


async def test_a_job_from_create_to_remove(runtime: ProcessRuntime) -> None:
    agent, job = Agent(), _job(workdir="sub", checkpoint="ckpt/", checkpoint_key="k")
    ref = await runtime.create(agent, job, silent)
    assert await runtime.inspect(agent, ref) is None
    workload = await runtime.start(agent, job, ref)
    assert workload.running
    assert await runtime.inspect(agent, ref) == workload
    await runtime.stop(agent, workload, 2.0)
    ended = await runtime.inspect(agent, ref)
    assert ended is not None
    assert (ended.running, ended.signal) == (False, 15)
    await runtime.remove(agent, ended)
    assert [verb for verb, _ in agent.calls if verb != "job.inspect"] == [
        "job.start", "job.stop", "job.remove",
    ]  # fmt: skip
    (started,) = agent.asked("job.start")
    assert started["create"] == {
        "attempt_id": job.attempt_id, "daemon_id": job.daemon_id, "run_id": "run",
        "stage": "stage", "owner": "anna", "gpus": [], "checkpoint": "ckpt",
        "checkpoint_key": "k", "log_cap": job.log_cap, "grace": 1.0, "make": [], "here": None,
    }  # fmt: skip
    assert (started["argv"][:2], started["argv"][-1]) == (["sh", "-c"], "echo $HOME")
    assert started["cwd"] == "sub"
    assert await runtime.image_digest(agent, ref) is None


async def test_a_start_after_a_restart_makes_what_is_missing(runtime: ProcessRuntime) -> None:
    agent, job = Agent(), _job()
    ref = await runtime.create(agent, job, silent)
    other = ProcessRuntime(Path)
    assert (await other.start(agent, job, ref)).running
    assert agent.asked("job.start")[0]["create"]["attempt_id"] == job.attempt_id


async def test_only_what_the_host_lacks_is_sent(tmp_path: Path) -> None:
    agent, told = Agent(), list[tuple[str, int, int | None]]()
    runtime = ProcessRuntime(lambda digest: tmp_path / digest)
    for letter in "ab":
        (tmp_path / (letter * 64)).write_bytes(tar_of({"f": b""}))
    job = _job(placements=(Placement("a" * 64, 3, ""), Placement("b" * 64, 3, "inputs/x/")))
    agent.cached["a" * 64] = 3
    await runtime.create(agent, job, lambda *step: told.append(step))
    assert agent.blobs == {"b" * 64: tmp_path / ("b" * 64)}
    assert told == [("placing inputs/x/", 0, 3), ("placing inputs/x/", 3, 3)]
    placed = [(p["digest"], p["target"]) for p in agent.asked("job.place")]
    assert placed == [("a" * 64, ""), ("b" * 64, "inputs/x")]


@pytest.mark.parametrize("special", [{"type": tarfile.SYMTYPE, "linkname": "x"}, {}])
async def test_a_source_has_a_folder_or_nothing_where_inputs_go(
    tmp_path: Path, special: dict[str, Any]
) -> None:
    agent = Agent()
    runtime = ProcessRuntime(lambda digest: tmp_path / digest)
    (tmp_path / ("a" * 64)).write_bytes(tar_of({"x/f": b""}, inputs=special))
    (tmp_path / ("b" * 64)).write_bytes(tar_of({"f": b""}))
    job = _job(placements=(Placement("a" * 64, 3, ""), Placement("b" * 64, 3, "inputs/x/")))
    with pytest.raises(InputError, match="of the stage belongs"):
        await runtime.create(agent, job, silent)
    assert agent.calls == []


async def test_a_process_that_cannot_be_killed_is_told(runtime: ProcessRuntime) -> None:
    agent, job = Agent(), _job()
    agent.hangs = True
    ref = await runtime.create(agent, job, silent)
    workload = await runtime.start(agent, job, ref)
    with pytest.raises(EngineError, match="does not end after SIGKILL"):
        await runtime.stop(agent, workload, 0.0)


async def test_the_log_goes_on_where_it_was_cut(runtime: ProcessRuntime) -> None:
    agent, sink = Agent(), MemorySink()
    agent.log, agent.cut_at = b"0123456789", 6
    workload = Workload("a", "d", "process", "a", running=True)
    with pytest.raises(Unreachable):
        await runtime.follow(agent, workload, sink)
    assert sink.position == {"offset": 8}
    await runtime.follow(agent, workload, sink)
    await runtime.follow(agent, workload, sink)
    assert sink.data == b"0123456789"


async def test_a_short_job_needs_no_transfer(runtime: ProcessRuntime) -> None:
    agent, sink = Agent(), MemorySink()
    agent.log, agent.short = b"hi", True
    workload = Workload("a", "d", "process", "a", running=True)
    await runtime.follow(agent, workload, sink)
    await runtime.follow(agent, workload, sink)
    assert sink.data == b"hi"
    assert agent.transfers == 0


def test_a_whole_output_is_added_to_what_is_there() -> None:
    sink = MemorySink()
    take_rest(sink, b"")
    assert sink.position == {}
    take(sink, 0, b"one ")
    take_rest(sink, b"one two")
    take_rest(sink, b"one two")
    assert sink.data == b"one two"
    assert sink.position == {"offset": 7}


async def test_what_the_log_lost_is_noted(runtime: ProcessRuntime) -> None:
    agent, sink = Agent(), MemorySink()
    agent.log, agent.kept_from = b"0123456789", 4
    await runtime.follow(agent, Workload("a", "d", "process", "a", running=False), sink)
    assert sink.data == b"[hostler: 4 bytes are missing: over the log's limit]\n456789"
    assert sink.position == {"offset": 10}


async def test_code_here_needs_the_folder_on_the_host(runtime: ProcessRuntime) -> None:
    with pytest.raises(EngineError, match="/home/anna/x is not a folder on gpu1"):
        await runtime.create(Agent(), _job(code_path="/home/anna/x"), silent)


async def test_a_process_is_not_started_without_its_mounts(runtime: ProcessRuntime) -> None:
    agent = Agent()
    with pytest.raises(EngineError, match="/no/data does not exist on gpu1"):
        await runtime.create(agent, _job(mounts=(Mount("/no/data"),)), silent)
    assert agent.asked("job.create") == []


async def test_an_odd_answer_is_the_agents_fault(runtime: ProcessRuntime) -> None:
    class Odd(Agent):
        async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> dict[str, Any]:
            return {"workload": {"attempt_id": 5}, "running": "yes"}

    with pytest.raises(AgentError):
        await runtime.inspect(Odd(), "a")
    with pytest.raises(AgentError):
        await runtime.start(Odd(), _job(), "a")


def test_the_environment() -> None:
    given_env = {"PATH": "/conda/bin:/bin", "CONDA_PREFIX": "/conda", "HOSTLER_RUN": "forged"}
    env = process_env(_job(env=given_env))
    assert env["PATH"] == "/conda/bin:/bin"
    assert env["CONDA_PREFIX"] == "/conda"
    assert env["HOSTLER_RUN"] == "run"
    assert not {"HOSTLER_WORK", "HOSTLER_METRICS"} & set(env)  # the agent's to say
    assert (env["CUDA_VISIBLE_DEVICES"], env["NVIDIA_VISIBLE_DEVICES"]) == ("", "void")
    assert not {"PATH", "HOME", "USER"} & set(process_env(_job()))


def test_what_was_granted_is_said() -> None:
    asked = _job(gpus=("GPU-b",), gpu_indices=(3,), cpus=12.0, ram=2**34)
    env = process_env(asked)
    granted = [env[f"HOSTLER_{name}"] for name in ("GPU_COUNT", "CPUS", "RAM_BYTES")]
    assert granted == ["1", "12", str(2**34)]
    # A process has the memory that it asked for, and no limit of its own without that.
    assert "HOSTLER_RAM_BYTES" not in process_env(_job())


def test_gpus_go_by_number_in_nvmls_order() -> None:
    env = process_env(_job(gpus=("GPU-b", "GPU-a"), gpu_indices=(3, 0)))
    assert env["CUDA_VISIBLE_DEVICES"] == "3,0"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert env["HOSTLER_GPUS"] == "GPU-b,GPU-a"
    with pytest.raises(InputError, match="are unknown"):
        process_env(_job(gpus=("GPU-b", "GPU-a"), gpu_indices=(3,)))


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({}, ""),
        ({"workdir": "a/../b"}, "b"),
        ({"workdir": "/opt"}, "/opt"),
        ({"code_path": "/home/anna/x"}, "/home/anna/x"),
        ({"code_path": "/home/anna/x", "workdir": "src"}, "/home/anna/x/src"),
    ],
)
def test_where_it_starts(changes: dict[str, Any], folder: str) -> None:
    assert working_folder(_job(**changes)) == folder
