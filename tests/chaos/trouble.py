"""Trouble that a lab host can be put into for as long as a block lasts, and what is seen of it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.watch import Watch
from tests.lab.host import Host
from tests.lab.layout import BUSYBOX, LabError
from tests.support.machines.desk import Desk, wait_until

RESET = "tcp-reset"
NO_ROUTE = "icmp-host-unreachable"
_TO_SSHD = ["INPUT", "-p", "tcp", "--dport", "22"]
_GREETS = ["INPUT", "-p", "tcp", "--dport", "22", "--syn"]
_TICKS = os.sysconf("SC_CLK_TCK")


def stage_on(host: str, command: str, *, name: str = "only", more: str = "") -> str:
    """A pipeline of one stage that has to run on that host, with one GPU."""
    return (
        f'name = "chaos"\n[stages.{name}]\nimage = "{BUSYBOX}"\nshell = true\n'
        f'command = "{command}"\nresources = {{ host = "{host}", gpus = 1 }}\n{more}'
    )


def condition(desk: Desk, host: str) -> str:
    """What Hostler says of a host, in one word."""
    return str(host_row(desk, host)["condition"])


def host_row(desk: Desk, host: str) -> dict[str, Any]:
    """All that `hostler hosts` says of a host."""
    return next(dict(row) for row in desk.hosts() if row["name"] == host)


def until_condition(desk: Desk, host: str, wanted: str, timeout: float = 30) -> None:
    """Wait until Hostler says that word of the host."""
    wait_until(lambda: condition(desk, host) == wanted, f"{host} is {wanted}", timeout, every=0.2)


def stop_in_time(desk: Desk, limit: float = 5.0) -> None:
    """Stop the daemon, and see that it ends within its limit though hosts do not answer."""
    pid, begun = desk.daemon_pid(), time.monotonic()
    desk.ok("daemon", "stop")
    desk.wait_death(pid, limit)
    assert time.monotonic() - begun < limit + 1.0  # one for the command's own start


def created_on(watch: Watch, host: str) -> bool:
    """Whether the host's Docker has made a container of Hostler's, by the recording proxy."""
    record = watch.lab.paths.referee / "docker.jsonl"
    entries = map(json.loads, record.read_text().splitlines() if record.exists() else ())
    return any(e["what"] == "create" and e["host"] == host and "only" in e["name"] for e in entries)


def kill_sessions(host: Host) -> None:
    """Every SSH session of the host ends as by the kernel's hand; sshd itself goes on."""
    host.exec(["pkill", "-KILL", "-f", "^sshd(-session)?: ana"], check=False)


@contextmanager
def sshd_killed(host: Host) -> Iterator[None]:
    """No sshd, no sessions: who connects is refused by the kernel."""
    host.exec(["pkill", "-KILL", "sshd"])
    try:
        yield
    finally:
        host.exec(["/usr/sbin/sshd", "-f", "/run/hostler-lab/sshd_config"])


@contextmanager
def sshd_stopped(host: Host) -> Iterator[None]:
    """sshd takes connections, by the kernel, and never greets; sessions are gone."""
    pid = int((host.root / "run/sshd.pid").read_text())
    host.kill(pid, signal.SIGSTOP)
    kill_sessions(host)
    try:
        yield
    finally:
        host.kill(pid, signal.SIGCONT)


@contextmanager
def refusing(host: Host, how: str) -> Iterator[None]:
    """Every packet to sshd is answered at once by RESET or NO_ROUTE."""
    iptables = ["iptables", "-w"]
    rule = [*_TO_SSHD, "-j", "REJECT", "--reject-with", how]
    host.exec([*iptables, "-I", *rule])
    try:
        yield
    finally:
        host.exec([*iptables, "-D", *rule])


@contextmanager
def counting_connects(host: Host) -> Iterator[None]:
    """Count the connects that reach the host, for `connects`."""
    host.exec(["iptables", "-w", "-I", *_GREETS])
    try:
        yield
    finally:
        host.exec(["iptables", "-w", "-D", *_GREETS])


def connects(host: Host) -> int:
    """Connects since `counting_connects` began. Put its rule before those that refuse."""
    listed = str(host.exec(["iptables", "-w", "-vnxL", "INPUT"]).stdout).splitlines()[2:]
    return next(int(line.split()[0]) for line in listed if "REJECT" not in line)


@contextmanager
def slow_and_lossy(host: Host, rate: str, loss: float) -> Iterator[None]:
    """So many bits a second out of the host, and that part of the packets to it lost.

    Raises LabError where this kernel has no token buckets.
    """
    drop = ["PREROUTING", "-i", "eth0", "-m", "statistic", "--mode", "random",
            "--probability", str(loss), "-j", "DROP"]  # fmt: skip
    shape = ["tbf", "rate", rate, "burst", "16kb", "latency", "400ms"]
    host.exec(["tc", "qdisc", "add", "dev", "eth0", "root", *shape])
    host.exec(["iptables", "-w", "-t", "mangle", "-I", *drop])
    try:
        yield
    finally:
        host.exec(["tc", "qdisc", "del", "dev", "eth0", "root"])
        host.exec(["iptables", "-w", "-t", "mangle", "-D", *drop])


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process of this machine has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def agent_pids(host: Host, desk: Desk, user_id: int = 2001) -> list[int]:
    """The agent of this desk's daemon that lives on the host, by its lock; or none."""
    daemon_id = (desk.state / "id").read_text().strip()
    lock = f"/var/tmp/hostler-{user_id}/serve-{daemon_id}.lock"
    try:
        said = str(host.exec(["cat", lock]).stdout).split()
    except LabError:
        return []
    return [int(pid) for pid in said if host.runs(int(pid))]


_LATE = """#!/usr/bin/python3 -IS
import runpy, sys, time
real = time.time
def late():
    with open("/run/clock") as file:
        return real() + float(file.read() or 0)
time.time = late
sys.executable = "/usr/local/bin/late-python"
words = sys.argv[1:]
while words[0] in ("-I", "-S"):
    words.pop(0)
if words[0] == "-c":
    sys.argv = ["-c", *words[2:]]
    exec(words[1], {"__name__": "__main__"})
else:
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
"""


def late_python(host: Host) -> str:
    """A Python on the host whose clock is wrong by what `set_clock` says; its path."""
    path = "/usr/local/bin/late-python"
    host.exec(["sh", "-c", f"cat >{path}; chmod 755 {path}"], text=_LATE)
    return path


def set_clock(host: Host, seconds: float) -> None:
    """Let the late Python's clock be wrong by so much from now on: a jump, for what runs."""
    host.exec(["sh", "-c", "cat >/run/clock.new; mv /run/clock.new /run/clock"], text=str(seconds))
