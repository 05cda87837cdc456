"""A long cut, ten minutes by `make chaos`: no run, no exit code and no line is lost."""

from __future__ import annotations

import os
import time

import pytest

from tests.chaos.figures import CUT, note
from tests.chaos.watch import Watch
from tests.chaos.work import write
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, stage, wait_until

CUT_S = float(os.environ.get("HOSTLER_CHAOS_CUT_S", "12"))

pytestmark = [pytest.mark.lab, pytest.mark.chaos, pytest.mark.timeout(200 + 2 * CUT_S)]

NOTICE_S = 12
GO = "/srv/chaos-go"
"""A folder of gpu1: the stages begin to count when there is a file `go` in it."""
CONFIG = f'[mounts.go]\npath = "{GO}"\ndefault = true\n'
WAIT = f"until [ -e {GO}/go ]; do sleep 0.05; done; "
ENDS = {"at-once": (0.05, 0), "early": (0.2, 3), "midway": (0.5, 4), "late": (0.8, 250)}
"""Stage -> the part of the cut after which it ends, and its exit code."""
BEYOND = {"beyond": (1.0, 5), "beyond-process": (1.0, 6)}
"""They end after the heal."""


def ticks(part: float) -> int:
    """Lines of a stage, five a second; those beyond the cut go on for some seconds."""
    return int(CUT_S * 5 * part) + (25 if part >= 1 else 0)


def pipeline() -> str:
    """Stages on gpu1 that tell numbered lines and end at their time with their own codes; one kills
    itself, one makes an output that another needs elsewhere."""
    text = f'name = "cut"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n'
    for name, (part, code) in (ENDS | BEYOND).items():
        gpus = ", gpus = 1" if name in ("early", "beyond") else ""
        process = 'runtime = "process"\n' if name.endswith("process") else ""
        text += (
            f"[stages.{name}]\n{process}"
            f'command = "{WAIT}i=0; while [ $i -lt {ticks(part)} ]; do echo line $i; i=$((i+1)); '
            f'sleep 0.2; done; exit {code}"\n'
            f'resources = {{ host = "gpu1", cpus = 0.1{gpus} }}\n'
        )
    return text + (
        "[stages.killed]\n"
        f'command = "{WAIT}echo before; sleep {CUT_S * 0.3:g}; kill -9 $$"\n'
        'resources = { host = "gpu1", cpus = 0.1 }\n'
        "[stages.made]\n"
        f'command = "{WAIT}sleep {CUT_S * 0.4:g}; mkdir out; seq 10000 > out/all"\n'
        'outputs = { out = "out" }\n'
        'resources = { host = "gpu1", cpus = 0.1 }\n'
        "[stages.used]\n"
        'command = "wc -l < inputs/of/all"\n'
        'inputs = { of = "made.out" }\n'
        'resources = { host = "gpu2", cpus = 0.1 }\n'
    )


def condition(desk: Desk, name: str) -> str:
    hosts = desk.ok("hosts", "--json").json["hosts"]
    return str(next(h["condition"] for h in hosts if h["name"] == name))


def on_gpu1(run: dict[str, object]) -> list[dict[str, object]]:
    stages = run["stages"]
    assert isinstance(stages, list)
    return [s for s in stages if s["name"] != "used"]


def test_a_long_cut_costs_no_run_no_exit_code_and_no_line(watch: Watch) -> None:
    desk, host = watch.desk, watch.lab.host("gpu1")
    for one in watch.lab.hosts:
        one.exec(["sh", "-c", f"mkdir -p {GO}; rm -f {GO}/go"])
    desk.config.write_text(CONFIG + desk.config.read_text())
    run_id = watch.submit(write(desk.work, "cut", pipeline()))
    assert run_id is not None
    desk.until(run_id, lambda r: all(s["status"] == "running" for s in on_gpu1(r)))
    host.exec(["touch", f"{GO}/go"])
    with watch.recorder.fault("cut", "gpu1"):
        begun = time.monotonic()
        host.cut()
        wait_until(lambda: condition(desk, "gpu1") == "unreachable", "the cut is seen", NOTICE_S)
        while time.monotonic() - begun < CUT_S:
            for each in on_gpu1(desk.show(run_id)):
                assert each["status"] == "running", "silence is not death"
            time.sleep(min(1.0, CUT_S / 20))
        healed = time.time()
        host.heal()
    wait_until(lambda: condition(desk, "gpu1") == "up", "the heal is seen", 15)
    run = desk.ended(run_id, timeout=90 + CUT_S / 2)  # on a busy machine each tick takes longer
    lines = 0
    for name, (part, code) in (ENDS | BEYOND).items():
        attempt = stage(run, name)["attempt"]
        assert (name, attempt["exit_code"], attempt["number"]) == (name, code, 1)
        told = desk.ok("logs", run_id, "--stage", name, "--raw").out
        assert told == "".join(f"line {i}\n" for i in range(ticks(part))), name
        lines += ticks(part)
        if part <= 0.5:  # the others may be late on a busy machine
            assert attempt["finished_at"] < healed, "it ended when it did, not when it was heard of"
    killed = stage(run, "killed")["attempt"]  # init in the container tells 137, a shim the signal
    assert killed["signal"] == 9 or killed["exit_code"] == 137
    assert desk.ok("logs", run_id, "--stage", "killed", "--raw").out == "before\n"
    assert desk.ok("logs", run_id, "--stage", "used", "--raw").out.strip() == "10000"
    assert watch.end() == []
    stages = len(run["stages"])
    note(
        CUT,
        f"{stages} of {stages} stages with their exit codes, {lines:,} of {lines:,} lines, "
        f"in a cut of {CUT_S:.0f} s",
        "pytest tests/chaos/test_long_cut.py",
    )
