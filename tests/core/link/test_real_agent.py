"""The link and the real agent together, on this machine and over a real sshd."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import EngineError, HostlerError
from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import AgentProgram, agent_program
from hostler.link.once import look_once
from hostler.link.session import AgentSession
from hostler.local.door import LocalDoor
from hostler.model.timings import LinkTimings
from hostler.ports import ArchiveSource, Door, Exited, SentBlob
from hostler.ssh.connection import Dialler
from hostler.ssh.door import SshDoor
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run, target
from tests.support.programs.cache import cache

pytestmark = pytest.mark.slow
ATTEMPT = "r1-train-1"
SOURCE = ArchiveSource(ATTEMPT, "process", ATTEMPT, "out")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The agent's folder on this machine, where it lies unpacked and compiled."""
    (tmp_path / "b").mkdir(mode=0o700)
    (tmp_path / "b" / "agent").symlink_to(cache("hostler-test-agents"))
    monkeypatch.setenv("HOSTLER_FOLDER", str(tmp_path / "b"))
    monkeypatch.setenv("HOSTLER_LEASES", str(tmp_path / "l" / "leases"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    return tmp_path / "b"


@pytest.fixture(params=["local", "ssh"])
async def door(
    request: pytest.FixtureRequest, place: Path, home: Home, tmp_path: Path
) -> AsyncIterator[Door]:
    """Both ways onto this machine."""
    if request.param == "local":
        yield LocalDoor("here")
        return
    if not can_run():
        pytest.skip(WHY_NOT)
    server = Sshd(tmp_path / "d", options=(f"SetEnv HOSTLER_FOLDER={place}",)).start()
    home.know(server)
    yield SshDoor(target(server), Dialler(home.settings()))
    server.stop()


@pytest.mark.parametrize("told", ["DOCKER_HOST", None])
async def test_stages_start_at_the_docker_that_the_agent_sees(
    place: Path, home: Home, tmp_path: Path, told: str | None
) -> None:
    """A login whose DOCKER_HOST names another engine than the usual one."""
    if not can_run():
        pytest.skip(WHY_NOT)
    option = f"SetEnv HOSTLER_FOLDER={place} DOCKER_HOST=unix://{tmp_path}/rootless.sock"
    server = Sshd(tmp_path / "d", options=(option,)).start()
    home.know(server)
    where = target(server, docker_socket=None if told else f"{tmp_path}/config.sock")
    link = AgentLink(
        SshDoor(where, Dialler(home.settings())),
        agent_program().with_python(sys.executable).with_docker(where.docker_socket),
        "daemon-1",
    )
    try:
        await link.connect()
        wanted = "rootless" if told else "config"
        with pytest.raises(EngineError, match=rf"{wanted}\.sock"):
            await link.open_docker()
    finally:
        await link.close()
        server.stop()


@pytest.fixture
def real() -> AgentProgram:
    """The agent, under this very Python."""
    return agent_program().with_python(sys.executable)


@pytest.fixture
async def real_link(door: Door, real: AgentProgram) -> AsyncIterator[AgentLink]:
    """Connected."""
    made = AgentLink(door, real, "daemon-1")
    await made.connect()
    yield made
    with suppress(HostlerError):
        await made.call("job.remove", {"attempt_id": ATTEMPT})
    await made.close()


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


async def run_job(link: AgentLink, *command: str) -> dict[str, Any]:
    """Start a job that needs nothing."""
    await link.call(
        "job.create",
        {
            "attempt_id": ATTEMPT, "daemon_id": "daemon-1", "run_id": "r1", "stage": "train",
            "owner": "ana", "gpus": [], "checkpoint": None, "checkpoint_key": None,
            "log_cap": 1000000, "grace": 1.0,
        },
    )  # fmt: skip
    return await link.call(
        "job.start",
        {
            "attempt_id": ATTEMPT, "argv": list(command), "env": {}, "cwd": "", "venv": None,
            "gpu_indices": [],
        },
    )  # fmt: skip


async def test_is_uploaded_where_it_is_missing(door: Door, real: AgentProgram, place: Path) -> None:
    (place / "agent").unlink()
    link = AgentLink(door, real, "daemon-1")
    assert (await link.connect()).agent_version == real.hash
    assert (place / "agent" / real.hash / "hostler_agent").is_dir()
    await link.close()


async def test_greets_and_looks(real_link: AgentLink) -> None:
    assert real_link.hello is not None
    assert real_link.hello.facts.uid == os.getuid()
    for number in range(3):
        look = await real_link.look(float(number), 30.0)
        assert look.boot_id == real_link.hello.boot_id
        assert look.asked_at == number
        assert look.machine.memory_total
        assert look.wall
        assert look.up


async def test_look_once(door: Door, real: AgentProgram) -> None:
    seen = await look_once(door, real)
    assert seen.look.boot_id == seen.hello.boot_id
    assert seen.hello.facts.python


async def test_blob_is_put_resumed_and_placed(
    real_link: AgentLink, place: Path, tmp_path: Path
) -> None:
    data = tar_of(a=os.urandom(3_000_000))
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "blob").write_bytes(data)
    (place / "blobs").mkdir(exist_ok=True)
    (place / "blobs" / f"{digest}.part").write_bytes(data[:1_234_567])
    await real_link.put_blob(digest, tmp_path / "blob")
    assert (place / "blobs" / digest).read_bytes() == data
    await real_link.put_blob(digest, tmp_path / "blob")
    await real_link.call("job.create", {
        "attempt_id": ATTEMPT, "daemon_id": "d", "run_id": "r1", "stage": "s", "owner": "o",
        "gpus": [], "log_cap": 1000, "grace": 1.0,
    })  # fmt: skip
    await real_link.place_blob(digest, SOURCE)
    assert (place / "jobs" / ATTEMPT / "work" / "out" / "a").stat().st_size == 3_000_000


async def test_blobs_of_an_image_go_on_where_they_were_cut_in_one_session(
    real_link: AgentLink, place: Path, tmp_path: Path
) -> None:
    (place / "blobs").mkdir(exist_ok=True)
    seen: list[int] = []
    blobs: list[SentBlob] = []
    for size, there, ending in ((3_000_000, 1_234_567, ".part"), (70_000, 70_000, ""), (9, 0, "")):
        data = os.urandom(size)
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / digest).write_bytes(data)
        if there:
            (place / "blobs" / f"{digest}{ending}").write_bytes(data[:there])
        done = partial(seen.append, 0)
        blobs.append(SentBlob(digest, tmp_path / digest, size, seen.append, done))
    with pytest.raises(EngineError):  # there is no Docker, which the blobs need not
        await real_link.load_image([], blobs)
    for blob in blobs:
        assert (place / "blobs" / blob.digest).read_bytes() == blob.path.read_bytes()
    assert seen[0] > 1_234_567
    assert seen[-5:] == [3_000_000, 0, 0, 9, 0]


async def test_damaged_blob_is_refused(real_link: AgentLink, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"something else")
    with pytest.raises(HostlerError, match="was damaged"):
        await real_link.put_blob("ab" * 32, tmp_path / "blob")


async def test_job_its_log_its_exit_and_its_archive(real_link: AgentLink) -> None:
    pushes = real_link.pushes()
    script = "mkdir out; head -c 2000000 /dev/zero > out/big; for i in 1 2 3; do echo $i; done"
    await run_job(real_link, "sh", "-c", script)
    async with asyncio.timeout(60):
        exited = await anext(pushes)
    assert isinstance(exited, Exited)
    assert exited.workload.exit_code == 0
    followed = [item async for item in real_link.read_log(ATTEMPT, 0, follow=True)]
    assert b"".join(data for _, data in followed) == b"1\n2\n3\n"
    assert [item async for item in real_link.read_log(ATTEMPT, 2, follow=False)] == [(2, b"2\n3\n")]
    archive = real_link.read_archive(SOURCE)
    whole = b"".join([chunk async for chunk in archive])
    assert archive.sha256 == hashlib.sha256(whole).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        sizes = {os.path.basename(member.name): member.size for member in tar}
    assert sizes["big"] == 2_000_000
    rest = [chunk async for chunk in real_link.read_archive(SOURCE, 1_000_000)]
    assert b"".join(rest) == whole[1_000_000:]


async def test_errors_keep_their_kind(real_link: AgentLink) -> None:
    with pytest.raises(HostlerError, match=r"does not exist|no such|no job"):
        async for _ in real_link.read_archive(SOURCE):
            pass
    with pytest.raises(HostlerError, match="know"):
        await real_link.call("no.such.verb", {})


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_agent_that_is_killed_or_stopped_is_replaced(
    door: Door, real: AgentProgram, place: Path, how: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real_link = AgentLink(door, real, "daemon-1", timings=LinkTimings(hung_after=30.0))
    await real_link.connect()
    await run_job(real_link, "sleep", "60")
    before = serving_pid(place)
    os.kill(before, how)
    looking = asyncio.create_task(real_link.look(1.0, 90.0))
    if how is signal.SIGSTOP:
        await let_time_pass(real_link, monkeypatch)
    look = await looking
    (workload,) = look.workloads
    assert workload.running
    assert workload.attempt_id == ATTEMPT
    async with asyncio.timeout(60):
        while Path(f"/proc/{before}").exists() and not is_zombie(before):
            await asyncio.sleep(0.02)
    await real_link.call("job.stop", {"attempt_id": ATTEMPT, "grace": 1.0})
    await real_link.call("job.remove", {"attempt_id": ATTEMPT})
    await real_link.close()


async def test_closing_leaves_the_job_alone(door: Door, real: AgentProgram, place: Path) -> None:
    link = AgentLink(door, real, "daemon-1")
    await link.connect()
    await run_job(link, "sleep", "60")
    await link.close()
    await link.connect()
    (workload,) = (await link.look(1.0, 30.0)).workloads
    assert workload.running
    stopped = await link.call("job.stop", {"attempt_id": ATTEMPT, "grace": 1.0})
    assert stopped["running"] is False
    await link.call("job.remove", {"attempt_id": ATTEMPT})
    await link.close()


async def let_time_pass(link: AgentLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is asked something, it has said nothing for a hundred seconds. To wait that long with
    a shorter deadline would find an agent hung that has only no processor yet."""
    loop = asyncio.get_running_loop()
    session = link._session
    assert session is not None
    while not session._pending:
        await asyncio.sleep(0.01)
    monkeypatch.setattr(AgentSession, "_now", staticmethod(lambda: loop.time() + 100.0))


def serving_pid(place: Path) -> int:
    """The agent that serves: its lock file holds its process id."""
    for path in place.rglob("*"):
        if path.is_file() and "serve" in path.name:
            with suppress(ValueError):
                return int(path.read_text().split()[0])
    raise AssertionError(sorted(str(path) for path in place.rglob("*") if path.is_file()))


def is_zombie(pid: int) -> bool:
    """It has ended, and nobody has asked how."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
