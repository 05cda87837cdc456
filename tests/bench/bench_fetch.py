"""Fetching files: against scp of the same bytes over a link of 1 Gbit/s, and through a cut.

    python -m tests.bench.bench_fetch [MIB]

Bars (ratios of the same run, worst of three): `hostler get` of a running process's file and of a
saved one >= 0.8x scp, whole processes; 1 GiB with the daemon killed and the host cut off in the
middle arrives whole; a daemon that sends it grows by <= 32 MiB. Root: a host of namespaces whose
network tc slows down.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hostler.base.paths import SOCKET_NAME
from hostler.client import Client
from tests.bench.measure import ROUNDS, verdict, worst
from tests.lab import preflight
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.system import run
from tests.support.machines.desk import Desk, desk_folder, wait_until
from tests.support.machines.labfixture import own_name

MIB = 1024 * 1024
_BARS = {"running / scp": 0.8, "saved / scp": 0.8}
_GROWTH = 32
_RUNNING = """
name = "f"
[stages.a]
shell = true
command = "head -c %d /dev/urandom > data.bin; echo made; while [ ! -e ../go ]; do sleep 0.1; done"
outputs = { data = "data.bin" }
"""


def main(size: int) -> int:
    """Measure, print, and say by the exit code whether the bars held."""
    reason = preflight.problem()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    with _desk() as (lab, desk):
        run_id, path = _start(lab, desk, size)
        rounds = [_round(lab, desk, run_id, path, size) for _ in range(ROUNDS)]
        _finish(lab, desk, run_id)
        for number, each in enumerate(rounds):
            each["saved / scp"] = each.pop("scp") / _timed(
                partial(_get, desk, run_id, f"s{number}")
            )
        missed = worst(rounds, _BARS, at_least=frozenset(_BARS))
        return max(missed, _cut(lab, desk))


@contextmanager
def _desk() -> Iterator[tuple[Lab, Desk]]:
    lab = Lab.up(1, name=own_name("f"), owned=True)
    try:
        _slow_down(lab, lab.hosts[0])
        with desk_folder() as folder:
            desk = Desk.at_lab(lab, folder)
            desk.ok("daemon", "start")
            try:
                yield lab, desk
            finally:
                desk.close()
    finally:
        lab.down()


def _slow_down(lab: Lab, host: Host) -> None:
    """1 Gbit/s both ways."""
    slow = ["root", "tbf", "rate", "1gbit", "burst", "1mb", "latency", "50ms"]
    run(["tc", "qdisc", "add", "dev", lab.net.veth(host.state.index), *slow])
    inside = ["nsenter", f"--net=/proc/{host.state.pid}/ns/net"]
    run([*inside, "tc", "qdisc", "add", "dev", "eth0", *slow])


def _start(lab: Lab, desk: Desk, size: int) -> tuple[str, str]:
    """A stage that has written its file and runs on; its run, and the file's path on the host."""
    run_id = desk.submit(_RUNNING % size)
    wait_until(lambda: "made" in desk.hostler("logs", run_id).out, "the file is made", 120)
    uid = lab.hosts[0].exec(["id", "-u", "ana"]).stdout.strip()
    return run_id, f"/var/tmp/hostler-{uid}/jobs/{run_id}-a-1/work/data.bin"


def _finish(lab: Lab, desk: Desk, run_id: str) -> None:
    lab.hosts[0].exec(["sh", "-c", f"touch /var/tmp/hostler-$(id -u ana)/jobs/{run_id}-a-1/go"])
    desk.ended(run_id, timeout=300)


def _round(lab: Lab, desk: Desk, run_id: str, path: str, size: int) -> dict[str, float]:
    peer = _timed(lambda: _scp(lab, desk, path))
    ours = _timed(lambda: _get(desk, f"{run_id}/a", "running"))
    print(f"scp {size / MIB / peer:.0f} MiB/s, running {size / MIB / ours:.0f}", flush=True)
    return {"running / scp": peer / ours, "scp": peer}


def _timed(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _scp(lab: Lab, desk: Desk, path: str) -> None:
    words = ["scp", "-q", "-F", str(lab.ssh_config), f"ana@gpu1:{path}", str(desk.work / "scp.bin")]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, timeout=600)
    (desk.work / "scp.bin").unlink()


def _get(desk: Desk, name: str, folder: str) -> None:
    said = desk.hostler("get", name, "data.bin", "-o", folder, timeout=600)
    assert said.code == 0, said
    shutil.rmtree(desk.work / folder)


def _cut(lab: Lab, desk: Desk) -> int:
    """1 GiB from a running stage, with the daemon killed at a third, and its host cut off at two
    thirds; then from the store, where the daemon's memory is watched."""
    size = 1024 * MIB
    run_id, path = _start(lab, desk, size)
    told = lab.hosts[0].exec(["sha256sum", path], timeout=120).stdout.split()[0]
    done: list[str] = []

    def disturb(_to: str, there: int, _size: int) -> None:
        if there > size // 3 and not done:
            done.append("killed")
            desk.kill_daemon()
        elif there > 2 * size // 3 and len(done) == 1:
            done.append("cut")
            lab.hosts[0].cut()
            threading.Timer(3.0, lab.hosts[0].heal).start()

    client = Client(desk.state / SOCKET_NAME, revive=lambda: desk.ok("daemon", "start"))
    (file,) = client.download(run_id, ["data.bin"], desk.work / "cut", stage="a", progress=disturb)
    print(f"1 GiB after {done}: {'whole' if file.sha256 == told else 'BROKEN'}")
    whole = done == ["killed", "cut"] and file.sha256 == told == _digest(desk.work / "cut/data.bin")
    shutil.rmtree(desk.work / "cut")
    grown = _growth(desk, lambda: client.download(run_id, [], desk.work / "again", stage="a"))
    _finish(lab, desk, run_id)
    more = _growth(desk, lambda: client.download(run_id, [], desk.work / "saved"))
    held = verdict("daemon grows, MiB", max(grown, more) / MIB, _GROWTH)
    return int(not (held and whole))


def _growth(desk: Desk, work: Callable[[], object]) -> int:
    """Bytes that the daemon holds more at its most, while something is done."""
    pid = desk.daemon_pid()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from now on
    before = _status(pid, "VmRSS:")
    work()
    return _status(pid, "VmHWM:") - before


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    assert os.getuid() == 0 or preflight.problem() is not None
    sys.exit(main(int(sys.argv[1] if len(sys.argv) > 1 else 1024) * MIB))
