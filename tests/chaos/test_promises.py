"""Promises with a number of their own, measured at a lab: the figures go to the report.

A busy machine may take three times what is promised before a test fails; what the report tells is
what was measured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.figures import BAD_GPU, CONNECTIONS, LEFT, LOGINS, PORTS, STOP, note
from tests.chaos.watch import Watch
from tests.chaos.work import write
from tests.lab.gpus import GpuPanel
from tests.lab.host import Host
from tests.lab.layout import BUSYBOX, USERS
from tests.support.machines.desk import Desk, desk_folder, wait_until
from tests.support.programs.signals import hears_ctrl_c

pytestmark = [pytest.mark.lab, pytest.mark.chaos, pytest.mark.timeout(300)]

BUSY = 3.0
HERE = "pytest tests/chaos/test_promises.py"
LISTENS, CONNECTED = "0A", "01"
TWO = f"""name = "two"
[defaults]
shell = true
resources = {{ host = "gpu1", cpus = 0.1, gpus = 1 }}
[stages.container]
image = "{BUSYBOX}"
command = "sleep 600"
[stages.process]
runtime = "process"
command = "sleep 600"
"""
ONE = f"""name = "one"
[stages.only]
image = "{BUSYBOX}"
command = "true"
resources = {{ gpus = 1, host = "gpu2" }}
"""
BREAKS: dict[str, Callable[[GpuPanel, int], None]] = {
    "lost": lambda panel, index: panel.lose(index),
    "XID 79": lambda panel, index: panel.xid(index, 79),
    "NVML error": lambda panel, index: panel.set(index, error=999),
}


def running(watch: Watch, pipeline: str) -> str:
    """A run whose every stage runs."""
    run_id = watch.submit(write(watch.desk.work, "run", pipeline))
    assert run_id is not None
    watch.desk.until(run_id, lambda r: all(s["status"] == "running" for s in r["stages"]))
    return run_id


def state(desk: Desk, uuid: str) -> str:
    hosts = desk.ok("gpus", "--json").json["hosts"]
    return next(str(g["state"]) for h in hosts for g in h["gpus"] if g["uuid"] == uuid)


def is_out(desk: Desk, uuid: str) -> bool:
    return state(desk, uuid) != "free"


def test_a_gpu_that_breaks_is_out_of_placement_at_once(watch: Watch) -> None:
    watch.recover()
    panel = watch.lab.host("gpu2").gpus
    took: dict[str, float] = {}
    for index, (name, make_bad) in enumerate(BREAKS.items()):
        uuid = panel.uuids[index]
        assert state(watch.desk, uuid) == "free"
        with watch.recorder.fault(f"gpu {name}", "gpu2"):
            begun = time.monotonic()
            make_bad(panel, index)
            wait_until(partial(is_out, watch.desk, uuid), name, 5 * BUSY)
            took[name] = time.monotonic() - begun
    waits = watch.submit(write(watch.desk.work, "one", ONE))
    assert waits is not None
    watch.desk.until(waits, lambda r: r["stages"][0]["reason"] is not None)
    watch.desk.ok("cancel", waits, "-y")
    assert watch.end() == []
    note(BAD_GPU, ", ".join(f"{name} {s:.1f} s" for name, s in took.items()), HERE)


def interrupted(desk: Desk, talks: Callable[[int], bool], *words: str) -> float:
    """Seconds from Ctrl-C to the end of a command that has begun to talk."""
    command = subprocess.Popen(
        [sys.executable, "-m", "hostler", *words], env=desk.env, cwd=desk.work,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    try:
        wait_until(
            lambda: talks(command.pid) or command.poll() is not None,
            f"{words} talks",
            30,
            every=0.01,
        )
        assert command.poll() is None, (words, command.stderr and command.stderr.read())
        begun = time.monotonic()
        command.send_signal(signal.SIGINT)
        said = command.communicate(timeout=2 * BUSY)[1]
        assert b"Traceback" not in said, said
        return time.monotonic() - begun
    finally:
        command.kill()
        command.communicate()


def test_stop_and_interrupt_take_two_seconds_though_a_host_hangs(watch: Watch) -> None:
    desk, gpu1 = watch.desk, watch.lab.host("gpu1")
    run_id = running(watch, TWO)
    took: dict[str, float] = {}
    with ExitStack() as stopped:
        with watch.recorder.fault("freeze", "gpu1"):
            gpu1.freeze()
            try:
                for words in (
                    ["logs", "-f", f"{run_id}/container"],
                    ["wait", run_id],
                    ["gpus", "--watch"],
                ):
                    took[f"Ctrl-C of {words[0]}"] = interrupted(desk, talks_unix, *words)
                stopped.enter_context(watch.recorder.fault("stop daemon"))
                begun, pid = time.monotonic(), desk.daemon_pid()
                os.kill(pid, signal.SIGTERM)
                desk.wait_death(pid, 2 * BUSY)
                stop = "stop by its deadline" if "something hangs" in desk.log() else "stop"
                took[stop] = time.monotonic() - begun
                took["Ctrl-C of gpus without a daemon"] = interrupted(desk, talks_tcp, "gpus")
            finally:
                gpu1.thaw()
        watch.recover()
    assert max(took.values()) < 2 * BUSY, took
    desk.ok("cancel", run_id, "-y")
    assert watch.end() == []
    note(STOP, ", ".join(f"{name} {s:.1f} s" for name, s in took.items()), HERE)


def talks_unix(pid: int) -> bool:
    """Whether it has a Unix socket open, here that of the daemon."""
    rows = Path("/proc/net/unix").read_text().splitlines()[1:]
    return not {row.split()[6] for row in rows}.isdisjoint(sockets(pid))


def talks_tcp(pid: int) -> bool:
    """Whether it is connected to a host."""
    rows = tcp(Path("/proc/net/tcp").read_text())
    return not {row[9] for row in rows if row[3] == CONNECTED}.isdisjoint(sockets(pid))


def sockets(pid: int) -> Iterator[str]:
    """Inodes of the sockets that a process has open."""
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def tcp(text: str) -> Iterator[list[str]]:
    """Rows of /proc/net/tcp: number, own address, the other's, state, ..., uid [7], inode [9]."""
    return (
        line.split() for line in text.splitlines() if ":" in line and "local_address" not in line
    )


def tcp_of_daemon(desk: Desk) -> list[list[str]]:
    """The TCP sockets of a daemon and of all that it started."""
    parents = {
        int(path.parent.name): int(path.read_text().rpartition(")")[2].split()[1])
        for path in Path("/proc").glob("[0-9]*/stat")
    }
    family = [desk.daemon_pid()]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    own = {inode for pid in family for inode in sockets(pid)}
    text = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    return [row for row in tcp(text) if row[9] in own]


def listeners_of_ana(host: Host) -> list[str]:
    """Addresses on which anything that ana started listens there."""
    text = host.exec(["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout
    return [row[1] for row in tcp(text) if row[3] == LISTENS and int(row[7]) == USERS["ana"]]


def left(host: Host) -> list[str]:
    """What ana has on a host: processes, and files other than those that the documents name."""
    found = host.exec(["pgrep", "-a", "-u", "ana"], check=False).stdout.splitlines()
    script = (
        "find / -xdev -user ana -newer /srv/begin ! -path '/proc/*' ! -path '/var/tmp/hostler*'"
    )
    return found + host.exec(["sh", "-c", script], check=False).stdout.splitlines()


def test_no_port_is_opened_one_connection_made_and_nothing_left(watch: Watch) -> None:
    desk, hosts = watch.desk, watch.lab.hosts
    for host in hosts:
        host.exec(["touch", "/srv/begin"])
    run_id = running(watch, TWO)
    watch.recover()
    rows = tcp_of_daemon(desk)
    assert [row for row in rows if row[3] == LISTENS] == []
    connections = Counter(row[2] for row in rows if row[3] == CONNECTED)
    assert sorted(connections.values()) == [1] * len(hosts), rows
    assert [address for host in hosts for address in listeners_of_ana(host)] == []
    note(PORTS, f"0, with work running on one of {len(hosts)} hosts", HERE)
    note(CONNECTIONS, f"1 each to {len(connections)} hosts", HERE)
    desk.ok("cancel", run_id, "-y")
    assert watch.end() == []
    desk.ok("daemon", "stop")
    wait_until(lambda: not any(map(left, hosts)), "nothing is left", 20, every=0.5)
    note(LEFT, f"no process, file or container on {len(hosts)} hosts", HERE)


def test_a_login_that_is_refused_is_not_tried_again(watch: Watch) -> None:
    gpu3 = watch.lab.host("gpu3")
    log = gpu3.root / "var/log/sshd.log"
    before = log.read_text().count("nosuch")
    with desk_folder() as folder:
        other = Desk.at_lab(watch.lab, folder, user="nosuch")
        try:

            def conditions() -> set[str]:
                return {h["condition"] for h in other.ok("hosts", "--json").json["hosts"]}

            wait_until(lambda: conditions() == {"refused"}, "every login is refused", 30)
            told = [line for line in log.read_text().splitlines() if "Invalid user nosuch" in line]
            time.sleep(8)  # longer than the pause before any other kind of new try
            again = [line for line in log.read_text().splitlines() if "Invalid user nosuch" in line]
        finally:
            other.close()
    assert log.read_text().count("nosuch") > before
    assert (len(told), len(again)) == (1, 1), again
    note(LOGINS, "0 in 8 s", HERE)
    watch.recover()
    assert watch.end() == []
