"""What hosts have on their disks decides where stages go: mounts, environments of submitters."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import InputError
from hostler.daemon.environments import dropped_environment, needed_program
from hostler.daemon.submit import Submission
from hostler.model.config import Config, MountConfig
from hostler.model.hosts import HostMount
from hostler.model.runs import Run
from hostler.sim.lab import SimLab
from tests.support.daemons.simdaemon import ANA, FAST, OWNER, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

DATA = MountConfig("data", "/data")
QUICK = sim("seconds=0.02")
PREFIX = "/home/ana/envs/x"
PYTHON = f"{PREFIX}/bin/python"


TIMINGS = replace(FAST, paths_every=0.1)


def with_mounts(*mounts: MountConfig) -> Any:
    def change(config: Config) -> Config:
        return replace(config, mounts=mounts)

    return change


def lab_without(path: str, *hosts: str) -> SimLab:
    lab = small_lab(2)
    for name in hosts:
        faults_on(lab, name).no_path(path)
    return lab


def reasons(running: SimDaemon) -> str:
    return " ".join(map(str, running.daemon.controller.plan.reasons.values()))


@pytest.mark.parametrize("runtime", ["process", "docker"])
async def test_a_stage_runs_where_its_mount_is(tmp_path: Path, runtime: str) -> None:
    image = "img:1" if runtime == "docker" else None
    asked = stage(env=QUICK, mounts=("data",), runtime=runtime, image=image)
    lab = lab_without("/data", "gpu1")
    async with SimDaemon(lab, tmp_path, change=with_mounts(DATA), timings=TIMINGS) as running:
        run = await running.finished(await running.submit(asked), timeout=30)
        assert [attempt.host for attempt in run.attempts] == ["gpu2"]


async def test_a_mount_that_is_nowhere_is_told_and_waited_for(tmp_path: Path) -> None:
    lab = lab_without("/data", "gpu1", "gpu2")
    async with SimDaemon(lab, tmp_path, change=with_mounts(DATA), timings=TIMINGS) as running:
        run_id = await running.submit(stage(env=QUICK, mounts=("data",)))
        why = "the mount data (/data) does not exist there"
        await running.until(lambda: why in reasons(running), "it is not told", timeout=30)
        lab.hosts["gpu2"].trouble.no_path.clear()  # somebody mounts it
        run = await running.finished(run_id, timeout=30)
        assert [attempt.host for attempt in run.attempts] == ["gpu2"]


async def test_a_mount_of_a_changed_config_is_asked_for(tmp_path: Path) -> None:
    async with SimDaemon(lab_without("/new", "gpu1"), tmp_path, timings=TIMINGS) as running:
        context = running.daemon.context
        await running.daemon.fleet.apply(
            replace(context.config, mounts=(MountConfig("new", "/new"),))
        )
        asked = stage(env=QUICK, mounts=("new",))
        run = await running.finished(await running.submit(asked), timeout=30)
        assert [attempt.host for attempt in run.attempts] == ["gpu2"]


async def test_a_host_that_comes_back_is_asked_anew(tmp_path: Path) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path, change=with_mounts(DATA), timings=TIMINGS) as running:
        monitor = running.daemon.context.monitors["gpu1"]
        await running.until(lambda: monitor.host.mounts[0].problem == "", "not asked", timeout=30)
        monitor.paths.forget()
        assert monitor.host.mounts == (HostMount("data", "/data"),)


# Environments of submitters.


def command(*words: str, **fields: Any) -> Submission:
    env = {"VIRTUAL_ENV": PREFIX, "PATH": f"{PREFIX}/bin:/usr/bin"}
    return Submission(
        command={"command": list(words), "code": "none", "env": {**QUICK}, **fields},
        env=env,
        programs={"python": PYTHON},
    )


async def connected(running: SimDaemon) -> None:
    monitors = running.daemon.context.monitors.values()
    await running.until(lambda: all(k.is_connected for k in monitors), "not connected", timeout=30)


async def test_an_environment_that_no_host_sees_is_refused(tmp_path: Path) -> None:
    async with SimDaemon(
        lab_without(f"{PREFIX}*", "gpu1", "gpu2"), tmp_path, timings=TIMINGS
    ) as running:
        await connected(running)
        service = running.daemon.service
        for call in (service.submit, service.check, service.preview):
            with pytest.raises(InputError, match=f"{PYTHON}, of your shell's environment") as told:
                await call(command("python", "train.py"), ANA)
            for remedy in ("--venv", "--image", "--no-env"):
                assert remedy in told.value.remedy
        text = 'name = "x"\n[stages.a]\ncommand = "cd x && python t.py"\nshell = true\n'
        text += 'code = "none"\n'
        with pytest.raises(InputError, match="stage a runs"):
            await service.submit(Submission(pipeline=text, programs={"python": PYTHON}), ANA)
        assert running.daemon.context.run_cache.runs() == ()


async def test_an_environment_that_some_hosts_see_binds_the_stage_to_them(tmp_path: Path) -> None:
    async with SimDaemon(lab_without(f"{PREFIX}*", "gpu1"), tmp_path, timings=TIMINGS) as running:
        await connected(running)
        service = running.daemon.service
        for _ in range(3):
            run = await service.submit(command("python", "train.py"), ANA)
            ended = await running.finished(run.run_id, timeout=30)
            assert [attempt.host for attempt in ended.attempts] == ["gpu2"]
        with pytest.raises(InputError, match="not on gpu1"):
            await service.submit(command("python", "t.py", host=["gpu1"]), ANA)


async def test_a_restarted_daemon_asks_again(tmp_path: Path) -> None:
    lab = lab_without(f"{PREFIX}*", "gpu1")
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as running:
        await connected(running)
        await running.daemon.service.drain("gpu2", "", OWNER)
        run = await running.daemon.service.submit(command("python", "train.py"), ANA)
        await running.kill()
        await running.begin()
        await running.daemon.service.undrain("gpu2", OWNER)
        ended = await running.finished(run.run_id, timeout=30)
        assert [attempt.host for attempt in ended.attempts] == ["gpu2"]


async def test_an_environment_that_is_not_used_is_dropped_and_told(tmp_path: Path) -> None:
    async with SimDaemon(lab_without(f"{PREFIX}*", "gpu1"), tmp_path, timings=TIMINGS) as running:
        await connected(running)
        service, context = running.daemon.service, running.daemon.context
        run = await service.submit(command("./train.sh"), ANA)
        told = await dropped_environment(context, run)
        assert told is not None
        assert told.startswith(f"your environment {PREFIX} is not on gpu1: ")
        assert await dropped_environment(context, replace(run, env={})) is None
        on_gpu2 = await service.submit(command("./train.sh", host=["gpu2"]), ANA)
        assert await dropped_environment(context, on_gpu2) is None


async def test_a_host_that_hangs_is_no_reason_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_arguments: object) -> None:
        await asyncio.Event().wait()

    async with SimDaemon(lab_without(f"{PREFIX}*", "gpu1"), tmp_path, timings=TIMINGS) as running:
        running.set_timings(program_answer=0.1)
        await connected(running)
        monkeypatch.setattr(running.daemon.context.monitors["gpu2"].paths, "_stat", silent)
        run: Run = await running.daemon.service.submit(command("python", "t.py"), ANA)
        assert run.stages[0].program == PYTHON


@pytest.mark.parametrize(
    ("fields", "used"),
    [
        ({"command": ("python", "x.py")}, True),
        ({"command": ("bash", "-c", "cd a; python x.py | tee log")}, True),
        ({"command": ("env", "A=1", "python", "x.py")}, True),
        ({"command": ("cd a && python x.py",), "shell": True}, True),
        ({"command": ("cat", "python")}, False),
        ({"command": ("./python",)}, False),
        ({"command": ("echo pythons",), "shell": True}, False),
        ({"command": ("python", "x.py"), "venv": "r.txt"}, False),
        ({"command": ("python", "x.py"), "runtime": "docker", "image": "i"}, False),
        ({"command": ("python", "x.py"), "env": {"PATH": "/opt/bin"}}, False),
    ],
)
def test_which_stages_use_the_environment(fields: dict[str, Any], used: bool) -> None:
    asked = stage(**fields)
    assert needed_program(asked, {"python": PYTHON}) == (PYTHON if used else None)
