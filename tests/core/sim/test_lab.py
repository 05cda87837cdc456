"""The simulated lab alone: what it says, what it refuses, how it ends things."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, EngineError, Refused, Unreachable
from hostler.insight.gpu_states import fleet
from hostler.model.config import HostConfig
from hostler.model.host_reports import GpuFault
from hostler.model.hosts import Host, HostCondition, Look
from hostler.model.jobs import Claim, Job
from hostler.model.plans import Policy
from hostler.ports import ArchiveSource, Dropped, Exited, HostLink, Push, Runtime
from hostler.sim import SimLab, SimLink, SimRuntime, demo_lab, outside
from hostler.sim.behaviour import behaviour_of, log_text, metrics_text
from tests.support.daemons.simlab import faults_on, small_lab

CLAIM = Claim(
    gpus=(), attempt_id="r1-a-1", daemon_id="d1", owner="ana", memory_floor=2**30, ignore=("Xorg",)
)


@pytest.fixture
async def lab() -> AsyncIterator[SimLab]:
    made = small_lab(1, gpus=2)
    yield made
    await made.close()


@pytest.fixture
async def link(lab: SimLab) -> AsyncIterator[SimLink]:
    made = SimLink(lab, "gpu1", "d1")
    await made.connect()
    yield made
    await made.close()


def job(attempt_id: str = "r1-a-1", *, env: str = "seconds=0.05", **fields: Any) -> Job:
    values: dict[str, Any] = {
        "daemon_id": "d1", "run_id": "r1", "stage": "a", "owner": "ana", "host": "gpu1",
        "name": attempt_id, "command": ("true",), "shell": False, "gpus": (), **fields,
    }  # fmt: skip
    return Job(attempt_id=attempt_id, env={"SIM": env}, **values)


def silent(what: str, done: int, total: int | None) -> None:
    """Nobody looks at the progress."""


async def begin(link: SimLink, wanted: Job, runtime: str = "process") -> SimRuntime:
    made = SimRuntime(runtime, Path)
    await made.start(link, wanted, await made.create(link, wanted, silent))
    return made


async def next_push(pushes: AsyncIterator[Push]) -> Push:
    async with asyncio.timeout(30):
        return await anext(pushes)


def test_it_is_what_the_protocols_ask_for(lab: SimLab) -> None:
    def as_ports(link: HostLink, runtime: Runtime) -> tuple[str, str]:
        return link.host, runtime.name

    made = outside(lab)(Path)
    config = HostConfig("gpu1", transport="sim")
    assert as_ports(made.link(config, "d"), made.runtimes["docker"]) == ("gpu1", "docker")
    assert {host.transport for host in lab.config().hosts} == {"sim"}


async def test_a_look_shows_the_state_of_the_host(lab: SimLab, link: SimLink) -> None:
    gpus = [gpu.uuid for gpu in lab.host("gpu1").gpus]
    pid = faults_on(lab, "gpu1").start_by_hand(1, "bob", memory=10 * 2**30, image="torch:2")
    claimed = await link.claim(replace(CLAIM, gpus=(gpus[0],)))
    await begin(link, job(env="seconds=60 memory=0.5", gpus=(gpus[0],), image="i:1"), "docker")
    look = await link.look(5.0, 1.0)
    assert look.asked_at == 5.0
    assert [gpu.uuid for gpu in look.gpus] == gpus
    ours, theirs = look.gpus
    assert ours.memory_total == 80 * 2**30
    assert ours.memory_used == 40 * 2**30
    assert ours.processes[0].container_id == look.workloads[0].ref
    assert (theirs.processes[0].pid, theirs.processes[0].user) == (pid, "bob")
    assert [lease.lease_id for lease in look.leases] == list(claimed.lease_ids)
    assert look.foreign_containers[0].image == "torch:2"
    assert look.workloads[0].running
    again = await link.look(6.0, 1.0)
    assert again.workloads == look.workloads
    states = _states(look)
    assert states == ["leased", "foreign"]


def _states(look: Look) -> list[str]:
    host = Host("gpu1", "sim", HostCondition.UP, since=0.0, look=look)
    told = fleet([host], look.asked_at, Policy(), daemon_id="d1")
    return [gpu["state"] for gpu in told["hosts"][0]["gpus"]]


async def test_claims_are_refused_for_each_reason_and_repeatable(
    lab: SimLab, link: SimLink
) -> None:
    first, second = (gpu.uuid for gpu in lab.host("gpu1").gpus)
    faults = faults_on(lab, "gpu1")

    async def refusal(uuid: str, attempt: str = "r2-b-1") -> str:
        answer = await link.claim(replace(CLAIM, gpus=(uuid,), attempt_id=attempt))
        await link.release(answer.lease_ids)
        return answer.refused or ""

    mine = await link.claim(replace(CLAIM, gpus=(first,)))
    assert mine.refused is None
    assert await link.claim(replace(CLAIM, gpus=(first,))) == mine
    assert "leased to ana's r1-a-1" in await refusal(first)
    pid = faults.start_by_hand(1, "bob")
    assert "used by bob's python train.py" in await refusal(second)
    both = await link.claim(replace(CLAIM, gpus=(first, second)))
    assert both.refused is not None
    assert both.lease_ids == ()
    faults.end_by_hand(pid)
    lab.host("gpu1").gpus[1].kept = 2 * 2**30
    assert "in use by an unknown process" in await refusal(second)
    lab.host("gpu1").gpus[1].kept = 2**30
    assert await refusal(second) == ""
    faults.hang_gpu(1)
    assert "does not answer" in await refusal(second)
    assert "is not on gpu1" in await refusal("GPU-elsewhere")


async def test_a_reboot_makes_leases_stale_and_ends_what_ran(lab: SimLab, link: SimLink) -> None:
    uuid = lab.host("gpu1").gpus[0].uuid
    await link.claim(replace(CLAIM, gpus=(uuid,)))
    await begin(link, job(env="seconds=60", gpus=(uuid,)))
    before = await link.look(1.0, 1.0)
    faults_on(lab, "gpu1").reboot()
    dropped = link.pushes()
    while not isinstance(await next_push(dropped), Dropped):
        pass
    with pytest.raises(Unreachable):
        await link.look(2.0, 1.0)
    await link.connect()
    after = await link.look(3.0, 1.0)
    assert after.boot_id != before.boot_id
    assert [lease.stale for lease in after.leases] == [True]
    assert [(w.running, w.exit_code) for w in after.workloads] == [(False, None)]
    other = await link.claim(replace(CLAIM, gpus=(uuid,), attempt_id="r2-b-1"))
    assert other.refused is None


async def test_an_exit_is_pushed_with_its_code(lab: SimLab, link: SimLink) -> None:
    pushes = link.pushes()
    await begin(link, job(env="seconds=0.03 exit=7"))
    push = await next_push(pushes)
    assert isinstance(push, Exited)
    assert (push.workload.attempt_id, push.workload.exit_code) == ("r1-a-1", 7)
    faults_on(lab, "gpu1").lose_gpu(0)
    fault = await next_push(pushes)
    assert isinstance(fault, GpuFault)
    assert fault.xid == 79


async def test_a_cut_hangs_then_drops_and_a_short_one_only_delays(
    lab: SimLab, link: SimLink
) -> None:
    faults = faults_on(lab, "gpu1")
    faults.cut()
    waiting = asyncio.create_task(link.look(1.0, 2.0))
    await asyncio.sleep(0.02)
    faults.heal()
    assert (await waiting).asked_at == 1.0
    faults.cut()
    with pytest.raises(Unreachable, match="no data was received"):
        await link.look(2.0, 2.0)
    assert isinstance(await next_push(link.pushes()), Dropped)
    with pytest.raises(Unreachable, match="no route"):
        await link.connect()
    faults.heal()
    faults.refuse_login()
    with pytest.raises(Refused, match="Permission denied"):
        await link.connect()


async def test_what_was_asked_happens_though_the_asker_is_gone(lab: SimLab, link: SimLink) -> None:
    wanted, runtime = job(env="seconds=60"), SimRuntime("process", Path)
    ref = await runtime.create(link, wanted, silent)
    asking = asyncio.create_task(runtime.start(link, wanted, ref))
    await asyncio.sleep(0)  # it has sent its request, which is on its way
    assert lab.running() == []
    asking.cancel()
    await link.close()
    async with asyncio.timeout(30):
        while not lab.running():
            await asyncio.sleep(0.005)


async def test_nonsense_of_the_agent_is_an_error_and_ends_the_connection(
    lab: SimLab, link: SimLink
) -> None:
    faults_on(lab, "gpu1").garbage()
    with pytest.raises(AgentError, match="cannot be read"):
        await link.look(1.0, 1.0)
    with pytest.raises(Unreachable):
        await link.look(1.0, 1.0)


async def test_archives_are_continued_and_placed(
    lab: SimLab, link: SimLink, tmp_path: Path
) -> None:
    blob = tmp_path / "blob"
    with tarfile.open(blob, "w") as tar:
        entry = tarfile.TarInfo("big.bin")
        entry.size = 200_000
        tar.addfile(entry, io.BytesIO(bytes(200_000)))
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    runtime = SimRuntime("docker", Path)
    wanted = job(image="i:1")
    ref = await runtime.create(link, wanted, silent)
    await link.put_blob(digest, blob)
    await link.place_blob(digest, ArchiveSource("r1-a-1", "docker", ref, "inputs/x"))
    source = ArchiveSource("r1-a-1", "docker", ref, "inputs/x")
    whole = b"".join([piece async for piece in link.read_archive(source)])
    rest = b"".join([piece async for piece in link.read_archive(source, 100_000)])
    assert whole[100_000:] == rest
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == ["x", "x/big.bin"]
    with pytest.raises(AgentError, match="does not exist"):
        [piece async for piece in link.read_archive(source._replace(path="nowhere"))]
    with pytest.raises(AgentError, match="are not"):
        await link.put_blob("0" * 64, blob)


async def test_a_log_is_followed_to_its_end_and_from_any_byte(lab: SimLab, link: SimLink) -> None:
    await begin(link, job(env="seconds=0.1 lines=8"))
    text = b"".join([data async for _, data in link.read_log("r1-a-1", 0, follow=True)])
    assert text.decode().splitlines() == [f"r1-a-1: step {n}/8" for n in range(1, 9)]
    rest = [(at, data) async for at, data in link.read_log("r1-a-1", 10, follow=True)]
    assert rest == [(10, text[10:])]


async def test_start_is_once_and_another_daemons_name_is_refused(
    lab: SimLab, link: SimLink
) -> None:
    wanted = job(env="seconds=60")
    runtime = await begin(link, wanted)
    again = await runtime.start(link, wanted, "r1-a-1")
    assert again.running
    assert lab.referee.starts == {"r1-a-1": 1}
    with pytest.raises(EngineError, match="not of this daemon"):
        await runtime.create(link, replace(wanted, daemon_id="d2"), silent)
    await runtime.stop(link, again, 1.0)
    ended = await runtime.inspect(link, "r1-a-1")
    assert ended is not None
    assert (ended.running, ended.signal) == (False, 15)
    await runtime.remove(link, ended)
    assert await runtime.inspect(link, "r1-a-1") is None


def test_a_stage_does_what_it_is_told_or_what_its_name_says() -> None:
    told = behaviour_of("x", {"SIM": "seconds=3 exit=2 lines=4 metric.loss=0.5 oom=1"})
    assert (told.seconds, told.exit, told.lines, told.oom) == (3.0, 2, 4, True)
    assert behaviour_of("x", {}) == behaviour_of("x", {})
    assert behaviour_of("x", {}) != behaviour_of("y", {})
    with pytest.raises(ValueError, match="'mood=good': no such setting"):
        behaviour_of("x", {"SIM": "mood=good"})
    for early, late in ((0.0, 1.0), (1.0, 2.9), (2.9, 3.0)):
        assert log_text("x", told, late).startswith(log_text("x", told, early))
        assert metrics_text(told, late).startswith(metrics_text(told, early))
    assert metrics_text(told, 3.0).endswith('{"step": 4, "loss": 0.5}\n')


async def test_the_demo_lab_has_life_in_it() -> None:
    lab = demo_lab()
    assert len(lab.hosts) == 10
    assert len({gpu.name for host in lab.hosts.values() for gpu in host.gpus}) == 5
    now = lab.clock.now()
    busy, cut = set(), set()
    for minute in range(0, 3600, 20):
        for script in lab.scripts:
            script(now + minute)
        busy.add(sum(len(host.by_hand) for host in lab.hosts.values()))
        cut.add(lab.host("helene").trouble.cut_since is not None)
    assert min(busy) >= 1
    assert max(busy) < 48
    assert len(busy) > 3
    assert cut == {True, False}
