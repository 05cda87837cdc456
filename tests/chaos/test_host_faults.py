"""Faults of a host: its containerd, its agent, its disk, its clock, and all of it at a standstill.

Each test ends in the checker. Once each here; HOSTLER_CHAOS_ROUNDS makes them many (`make chaos`).
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.figures import HANGS, note
from tests.chaos.trouble import (
    agent_pids,
    condition,
    host_row,
    late_python,
    set_clock,
    stage_on,
    until_condition,
)
from tests.chaos.watch import Watch
from tests.chaos.work import write
from tests.lab.host import Host
from tests.support.machines.desk import stage, wait_until

ROUNDS = max(1, int(os.environ.get("HOSTLER_CHAOS_ROUNDS", "0")))
FROZEN_S = float(os.environ.get("HOSTLER_CHAOS_FROZEN_S", "4"))
"""How long a host stands still once that was seen."""
HERE = "make chaos"
RESTART_S = 10.0
"""Within which an agent is another one: 5 where the machine does nothing else."""

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900 + 60 * ROUNDS + 2 * FROZEN_S)]


def submit_on(watch: Watch, host: str, command: str, more: str = "") -> str:
    """A run of one stage on that host, which is under way."""
    run_id = watch.submit(write(watch.desk.work, host, stage_on(host, command, more=more)))
    assert run_id is not None
    watch.desk.until(run_id, lambda run: stage(run, "only")["status"] == "running")
    return run_id


def shim_of(host: Host) -> int:
    """The containerd-shim of the one container of Hostler's on the host."""
    name = host.docker("ps", "-q", "--no-trunc", "--filter", "label=hostler.attempt").strip()
    return int(host.exec(["pgrep", "-f", f"containerd-shim.*-id {name}"]).stdout)


def left_on(host: Host) -> str:
    """The ids of Hostler's containers on a host."""
    return host.docker("ps", "-aq", "--filter", "label=hostler.attempt").strip()


@pytest.mark.chaos
def test_a_containerd_and_a_shim_that_are_killed(watch: Watch) -> None:
    """Docker takes ten seconds to have a containerd again, and never learns what ended before."""
    desk, (gpu1, gpu2, _) = watch.desk, watch.lab.hosts
    for _ in range(ROUNDS):
        runs = [submit_on(watch, host.name, "sleep 4; exit 5") for host in (gpu1, gpu2)]
        watch.recover()
        with watch.recorder.fault("kill containerd", "gpu1"):
            gpu1.exec(["pkill", "-KILL", "-x", "containerd"])
        with watch.recorder.fault("kill shim", "gpu2"):
            gpu2.kill(shim_of(gpu2))
        for run_id in runs:
            (attempt,) = stage(desk.ended(run_id, timeout=60), "only")["attempts"]
            assert attempt["phase"] in ("failed", "lost"), attempt
            assert attempt["exit_code"] in (None, 5, 137), attempt
        # Docker itself takes twenty seconds to remove what it believes to run.
        wait_until(lambda: not left_on(gpu1), "nothing is left", 60, every=0.5)
    assert watch.end() == [], "an end is the true one, or it is said not to be known"


@pytest.mark.chaos
def test_an_agent_that_is_killed_or_stands_still_is_replaced_by_one(watch: Watch) -> None:
    desk, (gpu1, gpu2, _) = watch.desk, watch.lab.hosts
    for _ in range(ROUNDS):
        runs = [submit_on(watch, host.name, "sleep 6; exit 5") for host in (gpu1, gpu2)]
        watch.recover()
        for host, number in ((gpu1, signal.SIGKILL), (gpu2, signal.SIGSTOP)):
            (before,) = agent_pids(host, desk)
            begun = time.monotonic()
            with watch.recorder.fault("agent", host.name):
                host.kill(before, number)
                wait_until(lambda: agent_pids(host, desk) not in ([], [before]), "a new agent")  # noqa: B023
            assert not host.runs(before), "two agents of one daemon"
            if number == signal.SIGKILL:
                assert time.monotonic() - begun < RESTART_S
        for run_id in runs:
            (attempt,) = stage(desk.ended(run_id), "only")["attempts"]
            assert attempt["exit_code"] == 5, "what ran did not notice"
    assert watch.end() == []


@pytest.mark.chaos
def test_a_full_disk_and_a_host_that_stands_still_cost_others_nothing(watch: Watch) -> None:
    desk, (gpu1, gpu2, _) = watch.desk, watch.lab.hosts
    alone = short_runs(watch, FROZEN_S)
    kept = submit_on(watch, "gpu2", "sleep 15; exit 5")
    watch.recover()
    with ExitStack() as troubles:
        troubles.enter_context(watch.recorder.fault("disk full", "gpu1"))
        troubles.callback(gpu1.unfill_disk)
        gpu1.fill_disk()
        full = watch.submit(write(desk.work, "full", stage_on("gpu1", "echo some; exit 3")))
        troubles.enter_context(watch.recorder.fault("freeze", "gpu2"))
        troubles.callback(gpu2.thaw)
        gpu2.freeze()
        assert full is not None
        attempt = _host_faults(desk.until(full, lambda run: bool(_host_faults(run))))[0]
        # Docker itself does not always say so, but for its folders that are not there.
        said = str(attempt["detail"])
        assert "no space on gpu1" in said or "disk is full" in said, attempt
        until_condition(desk, "gpu2", "unreachable", 12)
        threads = thread_count(desk.daemon_pid())
        beside = short_runs(watch, FROZEN_S)
        assert stage(desk.show(kept), "only")["status"] == "running", "silence is not death"
        assert thread_count(desk.daemon_pid()) <= threads + 2, "threads pile up"
    note(HANGS, f"{_spread(beside)}; {_spread(alone)}", HERE)
    desk.ok("undrain", "gpu1")
    watch.recover()
    assert watch.end() == []
    ended = [stage(desk.show(run_id), "only")["attempt"]["exit_code"] for run_id in (full, kept)]
    assert ended == [3, 5], "a full disk costs no run"


def _host_faults(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The attempts that ended for their host's fault."""
    return [each for each in stage(run, "only")["attempts"] if each["cause"] == "host fault"]


def short_runs(watch: Watch, seconds: float) -> list[float]:
    """How long runs of `true` on gpu3 take, one after the other for so many seconds; one at least.
    From the daemon's own times: from the submission to the end."""
    took, end = list[float](), time.monotonic() + seconds
    while not took or time.monotonic() < end:
        run_id = watch.submit(write(watch.desk.work, "other", stage_on("gpu3", "true")))
        run = watch.desk.ended(run_id or "")
        assert run["outcome"] == "succeeded", run
        took.append(run["finished_at"] - run["submitted_at"])
    return took


def _spread(seconds: list[float]) -> str:
    middle, worst = statistics.median(seconds), max(seconds)
    return f"median {middle:.2f} s, worst {worst:.2f} s of {len(seconds)}"


def thread_count(pid: int) -> int:
    """How many threads a process of this machine has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.mark.chaos
@pytest.mark.skipif(
    not Path("/sys/fs/cgroup/freezer").exists(), reason="cgroup 2 lets what is frozen be killed"
)
def test_a_container_that_cannot_be_killed_is_told_and_closes_its_host(watch: Watch) -> None:
    """Frozen, it takes no signal: as with a driver that hangs. Its GPU is never offered meanwhile,
    what runs beside it goes on, and a person opens the host again."""
    desk, gpu1 = watch.desk, watch.lab.host("gpu1")
    run_id = submit_on(watch, "gpu1", "sleep 600", 'grace = "1s"\n')
    beside = submit_on(watch, "gpu1", "sleep 450; exit 5")
    (held,) = stage(desk.show(run_id), "only")["attempt"]["gpus"]
    watch.recover()
    with watch.recorder.fault("unkillable", "gpu1"), ExitStack() as thaw:
        thaw.callback(freeze_container(gpu1, run_id))
        desk.ok("cancel", run_id, "--yes")
        wait_until(lambda: host_row(desk, "gpu1")["drained"] is not None, "it is closed", 500)
        said = str(host_row(desk, "gpu1")["drained"])
        assert "does not end after SIGKILL" in said
        assert "hostler undrain gpu1" in said
        found = desk.ok("gpus", "--json", "--host", "gpu1").json["hosts"][0]["gpus"]
        assert next(g["state"] for g in found if g["uuid"] == held) == "leased"
        assert stage(desk.show(run_id), "only")["status"] == "running", "it is not called ended"
        assert stage(desk.show(beside), "only")["status"] == "running"
    assert desk.ended(run_id)["outcome"] == "cancelled"
    assert stage(desk.ended(beside, timeout=400), "only")["attempt"]["exit_code"] == 5
    desk.ok("undrain", "gpu1")
    after = submit_on(watch, "gpu1", "sleep 3")
    assert desk.ended(after)["outcome"] == "succeeded"
    assert watch.end() == []


def freeze_container(host: Host, run_id: str) -> Callable[[], object]:
    """Stop a run's container where it stands, past Docker; what thaws it. In a group below its own,
    which runc does not thaw before it kills."""
    ref = host.docker("ps", "-q", "--no-trunc", "--filter", f"label=hostler.run={run_id}").strip()
    group = f"/sys/fs/cgroup/freezer/docker/{ref}"
    script = (
        f"mkdir {group}/held && for pid in $(cat {group}/cgroup.procs); do"
        f" echo $pid >{group}/held/cgroup.procs; done && echo FROZEN >{group}/held/freezer.state"
    )
    host.exec(["sh", "-c", script])
    return lambda: host.exec(["sh", "-c", f"echo THAWED >{group}/held/freezer.state"])


@pytest.mark.chaos
def test_a_hosts_clock_that_is_wrong_and_jumps_changes_no_time_that_is_told(watch: Watch) -> None:
    """gpu1's agent and shims live two hours ahead, and then a day behind."""
    desk, gpu1 = watch.desk, watch.lab.host("gpu1")
    path = late_python(gpu1)
    set_clock(gpu1, 7200)
    text = desk.config.read_text()
    desk.config.write_text(text.replace("[hosts.gpu1]\n", f'[hosts.gpu1]\npython = "{path}"\n'))
    file = write(
        desk.work, "timed",
        'name = "t"\n[stages.only]\ncommand = "sh -c \'sleep 4; exit 5\'"\ntimeout = "60s"\n'
        'resources = { host = "gpu1", gpus = 1 }\n',
    )  # fmt: skip
    begun = time.time()
    run_id = watch.submit(file)
    assert run_id is not None
    desk.until(run_id, lambda run: stage(run, "only")["status"] == "running")
    with watch.recorder.fault("clock", "gpu1"):
        set_clock(gpu1, -86400)
    (attempt,) = stage(desk.ended(run_id), "only")["attempts"]
    ended = time.time()
    assert (attempt["exit_code"], attempt["cause"]) == (5, "user error")
    assert begun <= attempt["started_at"] <= attempt["finished_at"] <= ended + 1, attempt
    assert 3.5 <= attempt["duration"] <= ended - begun, attempt
    assert condition(desk, "gpu1") == "up", host_row(desk, "gpu1")
    assert watch.end() == []
