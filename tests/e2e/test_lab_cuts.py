"""Hosts that cannot be heard for a while: nothing that runs there may suffer from it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.figures import CUT, note
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(500)]

CUT_S = float(os.environ.get("HOSTLER_TEST_CUT_S", "20"))
SHORT_CUT_S = 5.0
TICKS = "i=0; while [ ! -e /tmp/go ]; do echo $i; i=$((i+1)); sleep 0.1; done; echo end $i"
"""A command that counts until `let_end`."""
HEAD = f'name = "t"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n'


def test_a_cut_costs_no_exit_code_no_line_and_no_time(clean_lab: Lab, desk: Desk) -> None:
    run_id = desk.submit(
        HEAD
        + f"""
[stages.during]
command = "{TICKS}; exit 3"
resources = {{ host = "gpu1", gpus = 1 }}
[stages.beyond]
command = "{TICKS}; exit 4"
resources = {{ host = "gpu1" }}
"""
    )
    desk.until(run_id, lambda r: all(s["status"] == "running" for s in r["stages"]))
    host = clean_lab.host("gpu1")
    during, beyond = (containers_of(host, f"{run_id}-{name}-1") for name in ("during", "beyond"))
    assert (len(during), len(beyond)) == (1, 1)
    host.cut()
    begun = time.monotonic()

    def condition() -> str:
        return str(next(h["condition"] for h in desk.hosts() if h["name"] == "gpu1"))

    wait_until(lambda: condition() == "unreachable", "the cut is seen", 12)
    assert desk.hostler("gpus", "--need", "1", "--host", "gpu1").code == 4
    let_end(host, during)
    while time.monotonic() - begun < CUT_S:
        run = desk.show(run_id)
        assert all(s["status"] == "running" for s in run["stages"]), "silence is not death"
        time.sleep(0.5)
    assert containers_of(host, f"{run_id}-beyond-1") == beyond
    assert containers_of(host, f"{run_id}-during-1") == []
    healed_at = time.time()
    host.heal()
    healed = time.monotonic()
    wait_until(lambda: condition() == "up", "the heal is seen", 20)
    assert time.monotonic() - healed < 15
    let_end(host, beyond)
    run = desk.ended(run_id)
    assert [len(s["attempts"]) for s in run["stages"]] == [1, 1]
    assert started(host, run_id) == [f"{run_id}-beyond-1", f"{run_id}-during-1"]
    in_it, after = stage(run, "during")["attempt"], stage(run, "beyond")["attempt"]
    assert (in_it["exit_code"], after["exit_code"]) == (3, 4)
    assert in_it["finished_at"] < healed_at < after["finished_at"]
    assert abs(in_it["finished_at"] - in_it["started_at"] - in_it["duration"]) < 0.5
    lines = 0
    for name in ("during", "beyond"):
        *counted, end = desk.ok("logs", run_id, "--stage", name, "--raw").out.splitlines()
        assert [*counted, end] == [*(str(i) for i in range(len(counted))), f"end {len(counted)}"]
        lines += len(counted)
    told = f"2 of 2 stages with their exit codes, {lines:,} lines, in a cut of {CUT_S:.0f} s"
    note(CUT, told, "pytest tests/e2e/test_lab_cuts.py")


def test_a_short_cut_changes_nothing_and_leaves_no_gap_in_a_log(clean_lab: Lab, desk: Desk) -> None:
    """Neither the stages nor who follows their logs notice it, nor does the daemon's record."""
    loop = "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 3"
    common = f"command = '{loop}'\nresources = {{ host = 'gpu1', gpus = 1 }}\n"
    run_id = desk.submit(
        f'{HEAD}[stages.container]\n{common}[stages.process]\nruntime = "process"\n{common}'
    )
    before = desk.until(run_id, lambda r: all(s["status"] == "running" for s in r["stages"]))
    host, pid = clean_lab.host("gpu1"), desk.daemon_pid()
    with ThreadPoolExecutor(2) as people:
        follow = ("logs", "-f", "--raw", run_id, "--stage")
        followed = [people.submit(desk.hostler, *follow, name) for name in ("container", "process")]
        host.cut()
        begun = time.monotonic()
        while time.monotonic() - begun < SHORT_CUT_S:
            time.sleep(0.2)
            now = desk.show(run_id)
            assert [s["status"] for s in now["stages"]] == ["running", "running"]
            assert [s["attempts"] for s in now["stages"]] == [
                s["attempts"] for s in before["stages"]
            ]
        host.heal()
        run = desk.ended(run_id)
        whole = "".join(f"{i}\n" for i in range(100))
        assert [said.result().out for said in followed] == [whole, whole]
    assert desk.daemon_pid() == pid
    assert started(host, run_id) == [f"{run_id}-container-1"]
    for name in ("container", "process"):
        (attempt,) = stage(run, name)["attempts"]
        assert (attempt["exit_code"], attempt["cause"]) == (3, "user error")
        assert desk.ok("logs", run_id, "--stage", name, "--raw").out == whole


def let_end(host: Host, containers: list[str]) -> None:
    """End the counting of `TICKS`."""
    for container in containers:
        host.docker("exec", container, "touch", "/tmp/go")


def containers_of(host: Host, attempt_id: str) -> list[str]:
    """The ids of the containers of an attempt that run on the host."""
    label = f"label=hostler.attempt={attempt_id}"
    return host.docker("ps", "-q", "--no-trunc", "--filter", label).split()


def started(host: Host, run_id: str) -> list[str]:
    """The attempts of a run whose containers its Docker started, each as often as it did."""
    form = '{{index .Actor.Attributes "hostler.attempt"}}'
    filters = ("--filter", "event=start", "--filter", f"label=hostler.run={run_id}")
    said = host.docker("events", "--since", "1h", "--until", "0s", *filters, "--format", form)
    return sorted(said.split())


def test_very_many_lines_come_whole_across_a_cut_and_kills(clean_lab: Lab, desk: Desk) -> None:
    loop = "for k in $(seq 0 99); do seq $((k*3000+1)) $((k*3000+3000)); sleep 0.1; done"
    common = f"command = '{loop}'\nshell = true\nresources = {{ host = 'gpu1' }}\n"
    run_id = desk.submit(
        f'name = "m"\n[stages.container]\nimage = "{BUSYBOX}"\n{common}[stages.process]\n{common}'
    )
    desk.until(run_id, lambda r: all(s["status"] == "running" for s in r["stages"]))
    host = clean_lab.host("gpu1")
    host.cut()
    desk.kill_daemon()
    assert all(s["status"] == "running" for s in desk.show(run_id)["stages"])
    host.heal()
    desk.kill_daemon()
    run = desk.ended(run_id, timeout=200)
    assert run["outcome"] == "succeeded"
    whole = "".join(f"{i}\n" for i in range(1, 300_001)).encode()
    for name in ("container", "process"):
        came = desk.ok("logs", run_id, "--stage", name, "--raw").out.encode()
        assert hashlib.sha256(came).digest() == hashlib.sha256(whole).digest(), name
        assert len(stage(run, name)["attempts"]) == 1


def test_a_large_output_that_was_cut_goes_on_where_it_stopped(clean_lab: Lab, desk: Desk) -> None:
    size = int(os.environ.get("HOSTLER_TEST_OUTPUT_MIB", "128")) * 1024**2
    run_id = desk.submit(
        HEAD
        + f"""
[stages.make]
command = '''
mkdir out
yes some text that is not all zeros | head -c {size} > out/big
sha256sum < out/big
'''
outputs = {{ big = "out" }}
resources = {{ host = "gpu1" }}
[stages.read]
command = "sha256sum < inputs/i/big"
inputs = {{ i = "make.big" }}
resources = {{ host = "gpu2" }}
"""
    )
    host = clean_lab.host("gpu1")
    partial = desk.state / "partial"

    def received() -> int:
        return max((f.stat().st_size for f in partial.glob("output-*")), default=0)

    wait_until(lambda: received() > size // 2, "half of it is here", 200, every=0.01)
    host.cut()
    at_cut = _settled(received)
    assert at_cut < size, "the transfer was over before the cut"
    sent_before = _sent(clean_lab)
    host.heal()
    run = desk.ended(run_id, timeout=180)
    assert run["outcome"] == "succeeded"
    sent = _sent(clean_lab) - sent_before
    assert sent < (size - at_cut) * 1.2 + size // 8, "it started over"
    sums = [desk.ok("logs", run_id, "--stage", s).out for s in ("make", "read")]
    assert sums[0] == sums[1]
    assert len(sums[0].split()[0]) == len(hashlib.sha256().hexdigest())


def _settled(size: Callable[[], int]) -> int:
    """The size once it does not grow any more."""
    last = -1
    while (now := size()) != last:
        last = now
        time.sleep(0.5)
    return last


def _sent(lab: Lab) -> int:
    """Bytes that gpu1 has sent on its network card."""
    said = lab.host("gpu1").exec(["cat", "/proc/net/dev"]).stdout
    line = next(x for x in str(said).splitlines() if "eth0" in x or "hlab" in x)
    return int(line.split(":")[1].split()[8])
