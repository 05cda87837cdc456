"""Keys of config.toml that steer the daemon, from the text of the file to what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.insight.gpu_states import fleet
from hostler.model.config import Config
from hostler.model.hosts import Gpu, GpuProcess, Host
from hostler.model.images import StoredImage
from hostler.model.pipelines import Stage
from hostler.model.plans import Reason
from hostler.model.runs import Source
from hostler.model.views.kept import FreedImages, GcView
from hostler.runtimes.docker.options import container_options
from hostler.sim.lab import SimLab
from hostler.sim.link import SimLink
from hostler.spec.config import read_config, read_configs
from tests.core.daemon.test_jobs import STAGE, job_of
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values import planning
from tests.support.values.planning import stage

_QUICK = """
[daemon]
look_interval = "0.05s"
look_timeout = "0.5s"
[policy]
fresh_for = "0.6s"
release_patience = "0.1s"
"""
QUICK = sim("seconds=0.02")


def said(text: str) -> Callable[[Config], Config]:
    """The lab's hosts, with what a file of this text says of them and of everything else."""
    read = read_configs([("quick.toml", _QUICK), ("config.toml", text)])

    def change(config: Config) -> Config:
        hosts = (replace(read.host(h.name) or h, transport="sim") for h in config.hosts)
        return replace(read, hosts=tuple(hosts))

    return change


def daemon(text: str, state: Path, lab: SimLab | None = None) -> SimDaemon:
    """A daemon of two hosts with that config."""
    return SimDaemon(lab or small_lab(2), state, change=said(text))


async def host_of(running: SimDaemon, asked: Stage) -> str:
    """Where a stage ran."""
    run = await running.finished(await running.submit(asked), timeout=30)
    assert run.attempts, run
    return run.attempts[-1].host


def waits(running: SimDaemon) -> list[Reason]:
    """Why anything waits now."""
    return list(running.daemon.controller.plan.reasons.values())


async def reason(running: SimDaemon, asked: Stage) -> str:
    """Why a stage waits."""
    run_id = await running.submit(asked)
    await running.until(lambda: bool(waits(running)), "nothing waits", timeout=30)
    told = " ".join(str(found) for found in waits(running))
    await running.cancel(run_id)
    return told


async def test_labels_send_a_stage_to_the_host_that_has_them(tmp_path: Path) -> None:
    text = '[hosts.gpu2]\nlabels = { room = "b12" }\n'
    async with daemon(text, tmp_path) as running:
        assert await host_of(running, stage(labels={"room": "b12"}, env=QUICK)) == "gpu2"
        assert "room" in await reason(running, stage(labels={"room": "c3"}, env=QUICK))


@pytest.mark.parametrize(
    ("key", "asked"),
    [("cpus = 2", {"cpus": 3}), ('ram = "8GiB"', {"ram": 9 * GIB})],
)
async def test_what_a_host_may_be_planned_with(
    tmp_path: Path, key: str, asked: dict[str, Any]
) -> None:
    async with daemon(f"[hosts.gpu1]\n{key}\n", tmp_path) as running:
        assert await host_of(running, stage(env=QUICK, **asked)) == "gpu2"
        only = stage(env=QUICK, hosts=("gpu1",), **asked)
        assert "gpu1" in await reason(running, only)


async def test_only_the_runtimes_named_are_used(tmp_path: Path) -> None:
    text = '[hosts.gpu1]\nruntimes = ["process"]\n[hosts.gpu2]\nruntimes = ["docker"]\n'
    async with daemon(text, tmp_path) as running:
        image: dict[str, Any] = {"runtime": "docker", "image": "x:1"}
        assert await host_of(running, stage(env=QUICK, **image)) == "gpu2"
        assert await host_of(running, stage(env=QUICK)) == "gpu1"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[env]\nSIM = "seconds=0.02 exit=3"\n', 3),
        ('[hosts.gpu1]\nenv = { SIM = "seconds=0.02 exit=4" }\n', 4),
        ('[env]\nSIM = "seconds=0.02 exit=3"\n[hosts.gpu1.env]\nSIM = "seconds=0.02 exit=4"\n', 4),
    ],
)
async def test_variables_of_the_lab_and_of_a_host_reach_a_stage(
    tmp_path: Path, text: str, code: int
) -> None:
    async with daemon(text, tmp_path, small_lab(1)) as running:
        run = await running.finished(await running.submit(stage()), timeout=30)
        assert run.attempts[-1].exit_code == code


async def test_look_interval_is_the_pause_between_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: dict[str, int] = {}
    look = SimLink.look

    async def counted(self: SimLink, asked_at: float, timeout: float) -> Any:
        looks[self.host] = looks.get(self.host, 0) + 1
        return await look(self, asked_at, timeout)

    monkeypatch.setattr(SimLink, "look", counted)
    async with daemon("", tmp_path / "often", small_lab(1)) as running:
        await running.until(lambda: looks.get("gpu1", 0) > 5, "it is not looked at", timeout=30)
    looks.clear()
    seldom = '[daemon]\nlook_interval = "1h"\n[policy]\nfresh_for = "2h"\n'
    async with daemon(seldom, tmp_path / "seldom", small_lab(1)) as running:
        await running.until(lambda: bool(looks), "it is not looked at", timeout=30)
        with pytest.raises(AssertionError, match="again"):
            await running.until(lambda: looks["gpu1"] > 1, "again", timeout=0.5)


async def test_a_look_that_takes_longer_than_look_timeout_is_given_up(tmp_path: Path) -> None:
    lab = small_lab(1)
    async with daemon('[daemon]\nlook_timeout = "0.2s"\n', tmp_path, lab) as running:
        monitor = running.daemon.context.monitors["gpu1"]
        await running.until(lambda: monitor.is_connected, "it does not connect", timeout=30)
        faults_on(lab, "gpu1").slow(60.0)
        await running.until(
            lambda: "0.2 s" in str(monitor.host.problem), "it is waited for", timeout=30
        )


async def test_a_host_that_was_seen_longer_ago_than_fresh_for_gets_nothing(tmp_path: Path) -> None:
    text = '[daemon]\nlook_interval = "1h"\n[policy]\nfresh_for = "{}"\n'
    async with daemon(text.format("2h"), tmp_path / "long", small_lab(1)) as running:
        assert await host_of(running, stage(env=QUICK)) == "gpu1"
    async with daemon(text.format("0.01s"), tmp_path / "short", small_lab(1)) as running:
        context = running.daemon.context
        monitor, now = context.monitors["gpu1"], context.clock.now
        await running.until(lambda: monitor.host.look is not None, "no look", timeout=30)
        seen = monitor.host.look
        assert seen is not None
        await running.until(lambda: now() - seen.asked_at > 0.1, "no time passes", timeout=30)
        shown = running.daemon.service.gpus()["hosts"][0]["gpus"]
        assert {gpu["state"] for gpu in shown} == {"unknown"}


def state_of(text: str, gpu: Gpu) -> str:
    """What is shown of a GPU on a host that is well."""
    host: Host = planning.host(cards=[gpu])
    shown = fleet([host], planning.NOW, read_config(text, file="f").policy, source="daemon")
    return shown["hosts"][0]["gpus"][0]["state"]


def test_memory_floor_is_what_a_free_gpu_may_have_in_use() -> None:
    gpu = planning.gpu("gpu1", 0, memory_used=2 * GIB)
    assert state_of("", gpu) != "free"
    assert state_of('[policy]\nmemory_floor = "3GiB"\n', gpu) == "free"


def test_programs_to_ignore_may_sit_on_a_free_gpu() -> None:
    desktop = GpuProcess(pid=7, kind="compute", memory=1, user="ana", command="/usr/bin/mydesk -x")
    gpu = planning.gpu("gpu1", 0, processes=(desktop,))
    assert state_of("", gpu) == "foreign"
    assert state_of('[policy]\nignore = ["mydesk"]\n', gpu) == "free"


@pytest.mark.parametrize(("patience", "quarantined"), [("0.1s", True), ("1h", False)])
async def test_release_patience_is_how_long_memory_may_stay(
    tmp_path: Path, patience: str, quarantined: bool
) -> None:
    lab = small_lab(1, gpus=1)
    faults_on(lab, "gpu1").keep_memory(0)
    async with daemon(f'[policy]\nrelease_patience = "{patience}"\n', tmp_path, lab) as running:
        await running.finished(await running.submit(stage(gpus=1, env=QUICK)), timeout=30)

        def told() -> bool:
            gpu = running.daemon.service.gpus()["hosts"][0]["gpus"][0]
            return gpu["state"] == "unhealthy"

        if quarantined:
            await running.until(told, "it is not quarantined", timeout=30)
        else:
            with pytest.raises(AssertionError, match="quarantined after all"):
                await running.until(told, "quarantined after all", timeout=0.5)
        faults_on(lab, "gpu1").give_memory_back(0)


async def test_a_log_keeps_its_newest_part_up_to_log_size(tmp_path: Path) -> None:
    async with daemon('[limits]\nlog_size = "4KiB"\n', tmp_path, small_lab(1)) as running:
        run_id = await running.submit(stage(env=sim("seconds=0.1 lines=2000")))
        run = await running.finished(run_id, timeout=30)
        size = running.daemon.context.store.logs.sizes([run_id])[run_id]
        assert size <= 3 * 4096, "its files have a part of their own beside the cap"
        raw = running.daemon.context.store.logs.tail(run_id, run.attempts[-1].attempt_id, 5)
        assert raw


async def test_an_output_beyond_output_size_fails_its_stage(tmp_path: Path) -> None:
    async with daemon('[limits]\noutput_size = "1B"\n', tmp_path, small_lab(1)) as running:
        asked = stage(env=QUICK, outputs={"model": "model.bin"})
        run = await running.finished(await running.submit(asked), timeout=30)
        assert "limits.output_size" in run.attempts[-1].detail or "1 B" in run.attempts[-1].detail


class Later:
    """The lab's clock, some time ahead."""

    def __init__(self, clock: Any, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def now(self) -> float:
        return float(self._clock.now()) + self._seconds


DAY = 86_400.0


@pytest.mark.parametrize(
    ("key", "freed"),
    [
        ("keep_logs", lambda told: bool(told.logs.runs)),
        ("keep_outputs", lambda told: told.content.blobs > 0),
        ("keep_history", lambda told: bool(told.runs)),
    ],
)
async def test_how_long_things_of_a_run_are_kept(
    tmp_path: Path, key: str, freed: Callable[[GcView], bool]
) -> None:
    others = {"keep_logs": "90d", "keep_outputs": "90d", "keep_sources": "90d"}
    lines = "".join(f'{k} = "{v}"\n' for k, v in (others | {key: "2d"}).items())
    async with daemon(f"[limits]\n{lines}", tmp_path, small_lab(1)) as running:
        asked = stage(env=sim("seconds=0.1 lines=20"), outputs={"model": "model.bin"})
        await running.finished(await running.submit(asked), timeout=30)
        context = running.daemon.context
        clock = context.clock
        garbage = running.daemon.service.garbage
        for days, expected in ((1, False), (3, True)):
            context.clock = Later(clock, days * DAY)
            assert freed(await garbage.collect(dry_run=True)) is expected, days
        context.clock = clock


async def test_sources_go_after_keep_sources(tmp_path: Path) -> None:
    async with daemon('[limits]\nkeep_sources = "2d"\n', tmp_path, small_lab(1)) as running:
        context = running.daemon.context
        source = tmp_path / "source.tar"
        source.write_bytes(b"x" * 1000)
        digest = context.content.adopt(source)
        run_id = await running.submit(
            stage(env=QUICK, code="none"), source=Source(digest=digest, path="/x")
        )
        await running.finished(run_id, timeout=30)
        clock = context.clock
        for days, blobs in ((1, 0), (3, 1)):
            context.clock = Later(clock, days * DAY)
            told = await running.daemon.service.garbage.collect(dry_run=True)
            assert told.content.blobs == blobs, days
        context.clock = clock


async def test_hosts_are_told_how_large_their_cache_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    call = SimLink.call

    async def seen(self: SimLink, verb: str, payload: Any, timeout: float = 10.0) -> Any:
        if verb == "gc":
            asked.append(payload["max_bytes"])
        return await call(self, verb, payload, timeout)

    monkeypatch.setattr(SimLink, "call", seen)
    async with daemon('[limits]\nhost_cache = "3GiB"\n', tmp_path, small_lab(1)) as running:
        monitor = running.daemon.context.monitors["gpu1"]
        await running.until(lambda: monitor.is_connected, "it does not connect", timeout=30)
        await running.daemon.service.garbage.collect(dry_run=False)
        assert set(asked) == {3 * GIB}


async def test_images_beyond_the_limit_go_the_least_recently_used_first(tmp_path: Path) -> None:
    async with daemon('[limits]\nimages = "1KiB"\n', tmp_path, small_lab(1)) as running:
        images = running.daemon.context.store.images
        for name, used_at in (("b", 2.0), ("a", 1.0)):
            await images.put(
                StoredImage(name * 64, name, "gpu1", frozenset(), {name: 1000}, 0.0, used_at)
            )
        garbage = running.daemon.service.garbage
        assert (await garbage.collect(dry_run=True)).images == FreedImages(images=1, bytes=1000)
        assert len(await images.all()) == 2
        assert (await garbage.collect(dry_run=False)).images.images == 1
        assert [image.name for image in await images.all()] == ["b"]


async def test_a_folder_that_hosts_share_is_used_in_place_where_it_is_shared(
    tmp_path: Path,
) -> None:
    here = stage(env=QUICK, code="here")
    source = Source(path="/nfs/lab/ana")
    async with daemon('[shared]\npaths = ["/nfs/lab"]\n', tmp_path / "a", small_lab(1)) as running:
        run = await running.finished(await running.submit(here, source=source), timeout=30)
        assert run.attempts[-1].host == "gpu1"
    async with daemon("", tmp_path / "b", small_lab(1)) as running:
        await running.submit(here, source=source)
        await running.until(lambda: bool(waits(running)), "it does not wait", timeout=30)


MOUNTS = """
[mounts.data]
path = "/data"
[mounts.scratch]
path = "/scratch"
mode = "rw"
[mounts.cache]
path = "/cache"
default = true
"""


def test_mounts_have_their_path_and_mode_and_default() -> None:
    job = job_of(replace(STAGE, mounts=("data", "scratch")), config=read_config(MOUNTS, file="f"))
    assert {(mount.path, mount.read_only) for mount in job.mounts} == {
        ("/data", True), ("/scratch", False), ("/cache", True),
    }  # fmt: skip
    plain = job_of(STAGE, config=read_config(MOUNTS, file="f"))
    assert [mount.path for mount in plain.mounts] == ["/cache"]


def test_containers_are_made_in_the_docker_network() -> None:
    docker = replace(STAGE, runtime="docker", image="x:1")
    for text, network in (("", None), ('[docker]\nnetwork = "host"\n', "host")):
        job = job_of(docker, config=read_config(text, file="f"))
        assert container_options(job)["HostConfig"].get("NetworkMode") == network


def test_containers_get_the_shared_memory_of_the_config() -> None:
    """A stage's own wins."""
    docker = replace(STAGE, runtime="docker", image="x:1")
    own = replace(docker, resources=replace(docker.resources, shm=GIB))
    config = read_config('[docker]\nshm = "16GiB"\n', file="f")
    for made, shm in ((docker, 16 * GIB), (own, GIB)):
        options = container_options(job_of(made, config=config))
        assert options["HostConfig"]["ShmSize"] == shm
