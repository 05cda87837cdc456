"""Faults of the network and of SSH: whatever cannot be heard is neither lost nor free.

Each test ends in the checker. HOSTLER_CHAOS_ROUNDS makes them many; those marked `chaos` take long
to play out and run by `make chaos` alone.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from tests.chaos.checker import GIVEN_UP
from tests.chaos.trouble import (
    NO_ROUTE,
    RESET,
    condition,
    connects,
    counting_connects,
    cpu_s,
    created_on,
    host_row,
    kill_sessions,
    refusing,
    slow_and_lossy,
    sshd_killed,
    sshd_stopped,
    stage_on,
    stop_in_time,
    until_condition,
)
from tests.chaos.watch import Watch
from tests.chaos.work import LONG, ONE, STREAM, write
from tests.lab.layout import LabError
from tests.support.machines.desk import stage, wait_until

ROUNDS = max(1, int(os.environ.get("HOSTLER_CHAOS_ROUNDS", "0")))
AWAY_S = float(os.environ.get("HOSTLER_CHAOS_AWAY_S", "5"))
"""How long hosts are away whose connects are counted."""
SLOW = os.environ.get("HOSTLER_CHAOS_SLOW", "512kbit")
LOUD = int(os.environ.get("HOSTLER_CHAOS_LOUD", "1"))
"""Parts of 20,000 lines in the log that crosses the slow link; each takes ten seconds."""
OUTPUT_MIB = int(os.environ.get("HOSTLER_CHAOS_OUTPUT_MIB", "3"))

pytestmark = [
    pytest.mark.lab,
    pytest.mark.long,
    pytest.mark.timeout(300 + 100 * ROUNDS + 2 * AWAY_S),
]


def running(run: dict[str, object]) -> bool:
    """Whether its only stage runs."""
    return bool(stage(run, "only")["status"] == "running")


@pytest.mark.chaos
def test_the_daemons_machine_loses_its_power(watch: Watch) -> None:
    desk = watch.desk
    for _ in range(ROUNDS):
        watch.recover()
        for _ in range(2):
            run_id = watch.submit(write(desk.work, "long", LONG))
        assert run_id is not None
        desk.until(run_id, running)
        with watch.recorder.fault("power of the daemon's machine"), ExitStack() as links:
            for host in watch.lab.hosts:  # no packet says goodbye: agents still wait for it
                links.callback(host.heal)
                host.cut()
            desk.kill_daemon()
            (desk.state / "hostler.sock").unlink(missing_ok=True)
    watch.recover()
    assert watch.end() == []
    causes = {a["cause"] for r in desk.ok("runs", "--json").json["runs"]
              for s in desk.show(r["run_id"])["stages"] for a in s["attempts"]}  # fmt: skip
    assert causes == {"user error"}, "exit 5 of the stage, and nothing of ours"


def test_a_host_that_is_cut_for_ever_is_given_up_by_a_person(watch: Watch) -> None:
    desk, gpu1 = watch.desk, watch.lab.host("gpu1")
    run_id = watch.submit(write(desk.work, "kept", stage_on("gpu1", "sleep 600")))
    assert run_id is not None
    desk.until(run_id, running)
    with watch.recorder.fault("cut", "gpu1"):
        gpu1.cut()
        until_condition(desk, "gpu1", "unreachable", 12)
        assert desk.hostler("gpus", "--need", "1", "--host", "gpu1").code == 4
        desk.ok("cancel", run_id, "-y")
        assert running(desk.show(run_id)), "a wish is no proof: it may still compute there"
        stop_in_time(desk)
        config = desk.config.read_text()
        with watch.recorder.fault(GIVEN_UP, "gpu1"):
            desk.config.write_text(config.replace('[hosts.gpu1]\nuser = "ana"\n', ""))
            (given_up,) = desk.ended(run_id)["stages"]
        assert given_up["attempt"]["phase"] == "cancelled"
        assert "is not known" in given_up["attempt"]["detail"]
        desk.config.write_text(config)
        gpu1.heal()
    watch.recover()
    assert watch.end() == [], "it ran on, and was ended once it was seen again"


def test_cuts_at_the_instant_of_a_start_and_of_one_way_only(watch: Watch) -> None:
    """gpu1 loses both ways, gpu2 what it hears, gpu3 what it says."""
    ways = {"gpu1": "both", "gpu2": "in", "gpu3": "out"}

    def suffer(name: str) -> None:
        host = watch.lab.host(name)
        wait_until(lambda: created_on(watch, name), f"{name} makes a container", every=0.005)
        with watch.recorder.fault(f"cut {ways[name]}", name):
            host.cut(ways[name])
            until_condition(watch.desk, name, "unreachable", 12)
            host.heal()
        until_condition(watch.desk, name, "up", 15)

    watch.recover()
    with ThreadPoolExecutor(len(ways)) as pool:
        suffering = [pool.submit(suffer, name) for name in ways]
        for name in ways:
            watch.submit(write(watch.desk.work, name, stage_on(name, "sleep 2; exit 3")))
        for each in suffering:
            each.result()
    assert watch.end() == []


@pytest.mark.chaos
def test_hosts_that_refuse_are_asked_seldom_and_cost_others_nothing(watch: Watch) -> None:
    """sshd of gpu1 is killed, then there is no route to it; sshd of gpu2 never greets."""
    desk, (gpu1, gpu2, _) = watch.desk, watch.lab.hosts
    watch.recover()
    pid = desk.daemon_pid()
    with ExitStack() as troubles:
        for host in (gpu1, gpu2):
            troubles.enter_context(watch.recorder.fault("sshd", host.name))
        troubles.enter_context(sshd_killed(gpu1))
        troubles.enter_context(sshd_stopped(gpu2))
        for host in (gpu1, gpu2):
            until_condition(desk, host.name, "unreachable", 12)
        time.sleep(4.5)  # the first tries come sooner: after 1, 1 and 2 seconds, and by chance half
        for how in (RESET, NO_ROUTE):
            with refusing(gpu1, how), counting_connects(gpu1), counting_connects(gpu2):
                used, begun = cpu_s(pid), time.monotonic()
                run = desk.ended(watch.submit(write(desk.work, "one", ONE)) or "")
                assert stage(run, "only")["attempt"]["host"] == "gpu3"
                time.sleep(max(0.0, AWAY_S - (time.monotonic() - begun)))
                took = time.monotonic() - begun
                for host in (gpu1, gpu2):
                    assert connects(host) <= took / 5 + 1, (host.name, how)
                assert cpu_s(pid) - used < 0.3 + 0.05 * took, "busy while it waits"
    watch.recover()
    assert watch.end() == []


def test_a_key_that_is_revoked_is_tried_once_and_costs_no_work(watch: Watch) -> None:
    desk, gpu1 = watch.desk, watch.lab.host("gpu1")
    keys = gpu1.paths.share / "authorized_keys"
    text = keys.read_text()
    run_id = watch.submit(write(desk.work, "kept", stage_on("gpu1", "sleep 15; exit 5")))
    assert run_id is not None
    desk.until(run_id, running)
    with watch.recorder.fault("key revoked", "gpu1"):
        keys.write_text("")
        try:
            with counting_connects(gpu1):
                kill_sessions(gpu1)
                until_condition(desk, "gpu1", "refused", 12)
                time.sleep(6)  # longer than any pause between tries
                assert connects(gpu1) == 1
            problem = str(host_row(desk, "gpu1")["problem"])
            assert "ana" in problem
            assert running(desk.show(run_id)), "a refused login says nothing of what runs"
        finally:
            keys.write_text(text)
        assert condition(desk, "gpu1") == "refused", "it waits for a person"
        desk.ok("daemon", "stop")
    watch.recover()
    assert watch.end() == []
    assert stage(desk.show(run_id), "only")["attempt"]["exit_code"] == 5


@pytest.mark.chaos
def test_work_goes_on_over_a_slow_link_that_loses_packets(watch: Watch) -> None:
    desk, gpu1 = watch.desk, watch.lab.host("gpu1")
    watch.recover()
    loud = f"for i in $(seq {LOUD}); do seq 100000 120000; done; sleep 1"
    with ExitStack() as trouble, watch.recorder.fault("slow"):
        try:
            trouble.enter_context(slow_and_lossy(gpu1, SLOW, 0.005))
        except LabError as error:
            pytest.skip(f"this kernel shapes no traffic: {error}")
        run_id = watch.submit(write(desk.work, "loud", stage_on("gpu1", loud)))
        stream = watch.submit(write(desk.work, "stream", STREAM))
        assert run_id is not None
        assert stream is not None
        slowest = 0.0
        while desk.show(run_id)["outcome"] is None:
            begun = time.monotonic()
            assert condition(desk, "gpu1") == "up", "the log starved the looks"
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 5.0
        wait_until(partial(ended, watch, stream), "the stream of stages ends")
    assert watch.end() == []
    out = desk.ok("logs", run_id, "--raw").out
    assert out == "".join(f"{i}\n" for i in range(100000, 120001)) * LOUD


@pytest.mark.chaos
def test_an_output_crosses_a_slow_link_beside_looks(watch: Watch) -> None:
    desk, gpu1 = watch.desk, watch.lab.host("gpu1")
    watch.recover()
    make = f"mkdir out; head -c {OUTPUT_MIB}m /dev/urandom > out/made"
    file = write(
        desk.work, "output", stage_on("gpu1", make, more='outputs = { made = "out" }\n')
    )  # fmt: skip
    with ExitStack() as trouble, watch.recorder.fault("slow"):
        try:
            trouble.enter_context(slow_and_lossy(gpu1, "2mbit", 0.005))
        except LabError as error:
            pytest.skip(f"this kernel shapes no traffic: {error}")
        run_id = watch.submit(file)
        assert run_id is not None
        while not ended(watch, run_id):
            assert condition(desk, "gpu1") == "up", "the output starved the looks"
    assert desk.show(run_id)["outcome"] == "succeeded"
    assert watch.end() == []


def ended(watch: Watch, run_id: str) -> bool:
    """Whether a run has its outcome."""
    return watch.desk.show(run_id)["outcome"] is not None
