"""Whose processes may run where on a shared daemon, and what they get."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.base.json_types import JsonTable
from hostler.base.secret import Secret
from hostler.daemon.submit import Submission
from hostler.daemon.trust import (
    check_nested_of,
    check_places,
    check_secrets_of,
    guarded,
    is_guarded,
)
from hostler.decide.requests import request_of, takes_processes_of
from hostler.model.calls import Caller
from hostler.model.config import Config, DaemonConfig, Policy
from hostler.model.hosts import Host, HostCondition
from hostler.model.runs import Outcome
from tests.support.daemons.simdaemon import ANA, OWNER, SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values import planning
from tests.support.values.planning import stage

SHARED = Config(daemon=DaemonConfig(allow=("ana",)))
TRUSTED = replace(SHARED, policy=Policy(processes="trusted"))
ROOT = Caller(0, "root")
PROCESS = stage("a", secrets=("A",))
CONTAINER = stage("a", secrets=("A",), runtime="docker", image="x")
HERE = Host("here", "local", HostCondition.UP, 0.0)
THERE = replace(HERE, name="there", transport="ssh")


def shared(config: Config) -> Config:
    """The lab's config, of a daemon that others may use."""
    return replace(config, daemon=replace(config.daemon, allow=("ana",)))


def test_only_a_shared_daemon_has_members() -> None:
    assert not is_guarded(Config())
    assert is_guarded(SHARED)
    assert not is_guarded(TRUSTED)
    for settings in (DaemonConfig(group="lab"), DaemonConfig(operators=("bo",))):
        assert is_guarded(Config(daemon=settings))


def test_processes_take_secrets_only_among_people_who_trust_each_other() -> None:
    for config in (Config(), TRUSTED):
        check_secrets_of(config, PROCESS)
    for one in (CONTAINER, stage("a")):
        check_secrets_of(SHARED, one)
    for one in (PROCESS, stage("a", secret_files=("A",))):
        with pytest.raises(InputError, match="each could read those of the others") as caught:
            check_secrets_of(SHARED, one)
        assert 'processes = "trusted"' in caught.value.remedy


def test_stages_submit_others_only_among_people_who_trust_each_other() -> None:
    for nested in (stage("a", nested=True), stage("a", nested=True, runtime="docker", image="x")):
        for config in (Config(), TRUSTED):
            check_nested_of(config, nested)
        with pytest.raises(InputError, match="could submit them in your name") as caught:
            check_nested_of(SHARED, nested)
        assert 'processes = "trusted"' in caught.value.remedy
    check_nested_of(SHARED, stage("a"))


async def test_a_run_that_may_submit_others_is_refused_at_submission(tmp_path: Path) -> None:
    command: JsonTable = {"command": ["true"], "nested": True}
    async with SimDaemon(small_lab(1), tmp_path, change=shared) as daemon:
        with pytest.raises(InputError, match="could submit them in your name"):
            await daemon.daemon.service.submit(Submission(command=command), ANA)


def test_the_daemons_own_machine_is_its_owners() -> None:
    assert guarded(HERE, Config(), OWNER).processes_of is None
    assert guarded(HERE, TRUSTED, OWNER).processes_of is None
    assert guarded(THERE, SHARED, OWNER).processes_of is None
    assert guarded(HERE, SHARED, OWNER).processes_of == frozenset({0, OWNER.uid})
    # By SSH it is the same machine.
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    by_ssh = planning.with_look(planning.host(), boot_id=boot_id)
    assert guarded(by_ssh, SHARED, OWNER).processes_of == frozenset({0, OWNER.uid})
    other = planning.with_look(by_ssh, boot_id="another")
    assert guarded(other, SHARED, OWNER).processes_of is None


def test_a_member_is_told_at_once_that_a_process_runs_nowhere() -> None:
    hosts = [guarded(host, SHARED, Caller(500, "hostler")) for host in (HERE, THERE)]
    here = replace(stage("a").resources, hosts=("h*",))
    asks = replace(stage("a"), resources=here)
    check_places(hosts, ANA, [stage("a")])
    check_places(hosts, Caller(500, "hostler"), [asks])
    check_places(hosts, ROOT, [asks])
    check_places(hosts, ANA, [replace(asks, runtime="docker", image="x")])
    check_places([], ANA, [asks])
    for found, one in ((hosts, asks), (hosts[:1], stage("a"))):
        with pytest.raises(
            InputError, match=r"never run on the daemon's or the gateway's machine \(here\)"
        ):
            check_places(found, ANA, [one])


def test_a_container_in_a_folder_of_the_login_counts_as_a_process() -> None:
    here = guarded(HERE, SHARED, Caller(500, "hostler"))
    one = stage("a", code="here", runtime="docker", image="x")
    with pytest.raises(InputError, match=r'has code = "here", and containers of members never'):
        check_places([here], ANA, [one])
    check_places([here], Caller(500, "hostler"), [one])
    check_places([here, THERE], ANA, [one])
    run = planning.run("r-1", one, uid=ANA.uid)
    assert not takes_processes_of(here, request_of(run, run.stages[0]))
    assert takes_processes_of(THERE, request_of(run, run.stages[0]))


async def test_processes_of_members_take_no_secrets(tmp_path: Path) -> None:
    text = 'name = "x"\n[stages.a]\ncommand = "true"\nsecrets = ["A"]\n'
    submission = Submission(pipeline=text, secrets={"A": Secret("value of A")})
    async with SimDaemon(small_lab(), tmp_path / "state", change=shared) as daemon:
        with pytest.raises(InputError, match="members of a shared daemon have one login"):
            await daemon.daemon.service.submit(submission, ANA)
        # One that was submitted while nobody else could use the daemon does not start either.
        run_id = await daemon.submit(stage("a", secrets=("A",)), uid=ANA.uid)
        run = await daemon.finished(run_id)
        assert "each could read those of the others" in (run.attempts[0].detail or "")
        context = daemon.daemon.context
        context.config = replace(context.config, policy=replace(
            context.config.policy, processes="trusted"))  # fmt: skip
        await daemon.daemon.service.submit(submission, ANA)


async def test_processes_of_members_do_not_run_on_the_daemons_machine(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path / "state", change=shared) as daemon:
        context = daemon.daemon.context
        monitor = context.monitors["gpu1"]
        await daemon.until(lambda: monitor.is_connected, "it is not connected")
        monitor.host = replace(monitor.host, transport="local")
        quick = stage("a", env=sim("seconds=0.05"))
        member = await daemon.submit(quick, uid=ANA.uid + 1)
        owner = await daemon.submit(quick, uid=OWNER.uid)
        assert (await daemon.finished(owner)).outcome is Outcome.SUCCEEDED
        await daemon.next_plan()
        reason = daemon.daemon.controller.plan.reasons[member, "a"]
        said = reason.hosts[0].sentence
        assert (
            said == "is the daemon's or the gateway's machine, where processes of members never run"
        )
        assert reason.hosts[0].remedies == ()
        told = daemon.daemon.service.no_host(await daemon.run(member))
        assert told is not None
        assert "no host can take a as requested" in told
        context.config = replace(context.config, policy=replace(
            context.config.policy, processes="trusted"))  # fmt: skip
        context.wake()
        assert (await daemon.finished(member)).outcome is Outcome.SUCCEEDED
