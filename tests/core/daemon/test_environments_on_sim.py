"""Modules and conda environments that stages name: which hosts have them, and which are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import InputError
from hostler.daemon.host_environments import HostEnvironments, WantedEnvironments
from hostler.daemon.submit import Submission
from hostler.model.calls import Caller
from hostler.model.config import DaemonConfig, Policy
from hostler.model.environments import Environment
from hostler.model.timings import Timings
from hostler.sim.lab import SimLab
from tests.support.daemons.simdaemon import ANA, FAST, OWNER, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values import planning as lab

QUICK = sim("seconds=0.02")
TIMINGS = replace(FAST, missing_paths_every=0.1, environment_again=0.1)
SUBT = Environment("subt", ("cuda/12.4",))


def lab_without(name: str, *hosts: str) -> SimLab:
    made = small_lab(2)
    for host in hosts:
        faults_on(made, host).no_environment(name)
    return made


def command(**fields: Any) -> Submission:
    asked = {"command": ["python", "t.py"], "code": "none", "env": {**QUICK}, **fields}
    return Submission(command=asked)


async def connected(running: SimDaemon) -> None:
    monitors = running.daemon.context.monitors.values()
    await running.until(lambda: all(k.is_connected for k in monitors), "not connected", timeout=30)


async def test_a_stage_runs_where_its_environment_is(tmp_path: Path) -> None:
    lab_of_two = lab_without("subt", "gpu1")
    async with SimDaemon(lab_of_two, tmp_path, timings=TIMINGS) as running:
        await connected(running)
        service = running.daemon.service
        run = await service.submit(command(conda="subt", modules=["cuda/12.4"]), ANA)
        ended = await running.finished(run.run_id, timeout=30)
        assert [attempt.host for attempt in ended.attempts] == ["gpu2"]
        told = "command needs conda environment subt: gpu1 has no conda environment called subt"
        with pytest.raises(InputError, match=told) as refused:
            await service.submit(command(conda="subt", host=["gpu1"]), ANA)
        assert "conda env create" in refused.value.remedy


async def test_what_others_need_on_a_host_only_operators_see(tmp_path: Path) -> None:
    bo, cleo = Caller(uid=1001, user="bo"), Caller(uid=1002, user="cleo")
    async with SimDaemon(small_lab(1), tmp_path, timings=TIMINGS) as running:
        context, service = running.daemon.context, running.daemon.service
        context.config = replace(context.config, daemon=DaemonConfig(operators=("cleo",)))
        context.config = replace(context.config, policy=Policy(processes="trusted"))
        await connected(running)
        for name, who in (("plans", ANA), ("own", bo)):
            await service.submit(command(conda=name, env={**sim("seconds=600")}), who)
        plans, own = "conda environment plans", "conda environment own"

        def seen(who: Caller) -> set[str]:
            return set(service.host("gpu1", who).environments)

        await running.until(lambda: seen(OWNER) == {plans, own}, "it was not asked")
        assert seen(cleo) == {plans, own}
        assert seen(bo) == {own}
        assert [set(host.environments) for host in service.hosts(ANA)] == [{plans}]


async def test_modules_that_no_host_has_are_refused_by_every_call(tmp_path: Path) -> None:
    async with SimDaemon(
        lab_without("cuda*", "gpu1", "gpu2"), tmp_path, timings=TIMINGS
    ) as running:
        await connected(running)
        service = running.daemon.service
        for call in (service.submit, service.check, service.preview):
            with pytest.raises(InputError, match="gpu2 has no module called cuda/13") as told:
                await call(command(modules=["gcc", "cuda/13"]), ANA)
            assert "module avail" in told.value.remedy
        text = 'name = "x"\n[stages.a]\ncommand = "t"\nmodules = "cuda/13"\ncode = "none"\n'
        with pytest.raises(InputError, match="stage a needs module cuda/13"):
            await service.submit(Submission(pipeline=text), ANA)
        own = 'env = { MODULEPATH = "/apps" }\n'
        run = await service.submit(Submission(pipeline=text + own), ANA)
        assert run.stages[0].environment is None, "only the stage knows where they are"


async def test_an_environment_that_is_made_later_is_found(tmp_path: Path) -> None:
    made = lab_without("subt", "gpu1")
    async with SimDaemon(made, tmp_path, timings=TIMINGS) as running:
        await connected(running)
        await running.daemon.service.drain("gpu2", "", OWNER)
        run = await running.daemon.service.submit(command(conda="subt"), ANA)

        def is_told() -> bool:
            reasons = running.daemon.controller.plan.reasons.values()
            said = [host.sentence for reason in reasons for host in reason.hosts]
            return any("has no conda environment called subt" in sentence for sentence in said)

        await running.until(is_told, "it is not told", timeout=30)
        await running.kill()
        await running.begin()
        made.hosts["gpu1"].trouble.no_environment.clear()
        ended = await running.finished(run.run_id, timeout=30)
        assert [attempt.host for attempt in ended.attempts] == ["gpu1"]


async def test_a_host_whose_shell_hangs_may_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_arguments: object) -> None:
        await asyncio.Event().wait()

    async with SimDaemon(lab_without("subt", "gpu1"), tmp_path, timings=TIMINGS) as running:
        running.set_timings(environment_check=0.1)
        await connected(running)
        monitor = running.daemon.context.monitors["gpu2"]
        monkeypatch.setattr(monitor.environments, "_ask", silent)
        run = await running.daemon.service.submit(command(conda="subt"), ANA)
        assert run.stages[0].conda == "subt"


class Link:
    """A host that answers as it is told."""

    host = "gpu1"

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.asked: list[Any] = []
        self._answer = answer

    async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> Any:
        self.asked.append((verb, payload))
        return self._answer()


async def test_what_a_host_says_is_one_short_line() -> None:
    told: list[Any] = []
    lies = Link(lambda: {"problem": "\x1b[2J" + "x" * 10_000 + "\nnot this"})
    asked = HostEnvironments(
        lies,  # type: ignore[arg-type]
        tuple,
        lambda: {"MODULEPATH": "/apps", "OTHER": "x"},
        told.append,
    )
    problem = await asked.problem(SUBT, 5.0)
    assert problem is not None
    assert len(problem) <= 300
    assert problem.isprintable()
    assert told == [{str(SUBT): problem}]
    sent = {"conda": "subt", "modules": ["cuda/12.4"], "env": {"MODULEPATH": "/apps"}}
    assert lies.asked == [("environment", sent)]


async def test_submissions_queue_up_so_many_questions_and_no_more() -> None:
    go = asyncio.Event()

    class Slow(Link):
        async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> Any:
            await go.wait()
            return await super().call(verb, payload, timeout)

    link = Slow(lambda: {"problem": ""})
    asked = HostEnvironments(link, tuple, dict, lambda _: None)  # type: ignore[arg-type]
    several = [Environment(f"e{n}") for n in range(300)]
    waiting = [asyncio.create_task(asked.problem(one, 60.0)) for one in several]
    done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 200
    assert {task.result() for task in done} == {None}, "not known: refused by nobody"
    go.set()
    assert set(await asyncio.gather(*others)) == {""}
    assert await asked.problem(several[-1], 5.0) == ""


async def test_what_a_host_has_is_asked_again_only_after_a_while() -> None:
    link = Link(lambda: {"problem": ""})
    asked = HostEnvironments(link, tuple, dict, lambda _: None)  # type: ignore[arg-type]
    for _ in range(3):
        assert await asked.problem(SUBT, 5.0) == ""
    assert len(link.asked) == 1
    asked.forget()
    assert await asked.problem(SUBT, 5.0) == ""
    assert len(link.asked) == 2
    at_once = replace(Timings(), environment_kept=0.0)
    eager = HostEnvironments(link, tuple, dict, lambda _: None, at_once)  # type: ignore[arg-type]
    for _ in range(3):
        await eager.problem(SUBT, 5.0)
    assert len(link.asked) == 5


def test_what_open_runs_need_is_asked_once_and_within_bounds() -> None:
    stages = (lab.stage("a", conda="x"), lab.stage("b", conda="x"), lab.stage("c"))
    many = [lab.run(f"r{n}", lab.stage(conda=f"e{n}")) for n in range(100)]
    runs = [lab.run("r", *stages)]
    wanted = WantedEnvironments(lambda: runs)
    assert wanted() == (Environment("x"),)
    runs += many
    assert len(wanted()) == 50
    greedy = lab.run("g", *(lab.stage(f"s{n}", conda=f"g{n}") for n in range(100)))
    runs[:] = [greedy, many[0]]
    assert wanted()[:3] == (Environment("e0"), Environment("g0"), Environment("g1"))
    runs[:] = [*many, replace(lab.run("o", lab.stage(conda="of-another")), uid=many[0].uid + 1)]
    assert Environment("of-another") in wanted(), "one person's runs leave some to others"
    runs.clear()
    assert wanted() == ()
