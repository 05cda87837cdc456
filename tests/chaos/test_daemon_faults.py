"""Faults of the daemon, its clients and its agents: whatever dies, the promises hold.

Each test ends in the checker. Few times here; the variables make them many (`make chaos`).
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.trouble import stage_on
from tests.chaos.watch import Watch
from tests.chaos.work import LONG, ONE, STREAM, write
from tests.lab.host import Host
from tests.support.machines.desk import desk_folder, stage, wait_until

ROUNDS = int(os.environ.get("HOSTLER_CHAOS_ROUNDS", "0"))
KILLS = int(os.environ.get("HOSTLER_CHAOS_KILLS", "5"))
STOP_S = float(os.environ.get("HOSTLER_CHAOS_STOP_S", "6"))
CLIENTS = int(os.environ.get("HOSTLER_CHAOS_CLIENTS", "4"))
SUBMITS = int(os.environ.get("HOSTLER_CHAOS_SUBMITS", "2"))
SEED = int(os.environ.get("HOSTLER_CHAOS_SEED", "1"))
PARTS, PART = 4, 20 * 1024**2
"""Of a source that takes a second to send."""

pytestmark = [
    pytest.mark.lab,
    pytest.mark.long,
    pytest.mark.timeout(300 + 200 * ROUNDS + 20 * KILLS),
]

FIRST_POINTS = ("after_intent", "after_create", "before_commit@5")
MORE_POINTS = (
    "after_claim", "after_bind", "after_start", "after_exit_seen", "after_verdict",
    "after_collected", "before_record",
    "before_remove", "before_release", "after_release", "after_commit@5",
)  # fmt: skip
DAEMON_POINTS = (FIRST_POINTS + MORE_POINTS) * ROUNDS or FIRST_POINTS
AGENT_POINTS = (
    ("before_claim", "after_claim", "after_exit_seen"),
    ("after_bind", "before_release", "after_release"),
)


def point_at(name: str, action: str) -> str:
    """HOSTLER_FAILPOINTS for a name that may say which time."""
    point, _, turn = name.partition("@")
    return f"{point}:{action}@{turn or 1}"


def start_armed(watch: Watch, points: str) -> int:
    """Start a daemon with failpoints, in place of one without; its pid."""
    watch.desk.kill_daemon()
    watch.desk.more_env = {"HOSTLER_FAILPOINTS": points}
    watch.desk.hostler("ps")
    watch.desk.more_env = {}
    return watch.desk.daemon_pid()


def test_a_daemon_killed_at_a_named_moment(watch: Watch) -> None:
    desk, file = watch.desk, write(watch.desk.work, "stream", STREAM)
    for name in DAEMON_POINTS:
        with watch.recorder.fault(f"kill daemon at {name}"):
            pid = start_armed(watch, point_at(name, "kill"))
            watch.submit(file)
            desk.wait_death(pid, 30)
    watch.recover()
    assert watch.end(120 + 3 * len(DAEMON_POINTS)) == [], "most of the runs still wait by now"


def test_a_daemon_killed_in_an_upload_goes_on_with_it(watch: Watch) -> None:
    """The stage runs once, with the whole of its source; nothing half is left or used."""
    desk, gpu1, caught, number = watch.desk, watch.lab.host("gpu1"), 0, 0
    watch.recover()
    while caught < max(1, ROUNDS):
        number += 1
        file, digest = large_source(watch, number)
        pid = desk.daemon_pid()
        with ThreadPoolExecutor(1) as client:  # the upload may be over before the client has ended
            submitted = client.submit(watch.submit, file)
            wait_until(lambda: any(half_blobs(gpu1)), "the upload is under way", 60, every=0.002)
            with watch.recorder.fault("kill daemon in an upload"):
                os.kill(pid, signal.SIGKILL)
                desk.wait_death(pid, 10)
            run_id = submitted.result()
        assert run_id is not None
        (there,) = half_blobs(gpu1) or [0]
        caught += 0 < there < PARTS * PART
        assert caught or number < 5, "every kill came too late"
        with watched_sizes(gpu1) as seen:
            watch.recover()
            run = desk.ended(run_id)
        assert min(seen, default=there) >= there, "it began anew"
        (attempt,) = stage(run, "only")["attempts"]
        assert (attempt["phase"], attempt["number"]) == ("succeeded", 1), attempt
        assert digest in desk.ok("logs", run_id).out
        assert half_blobs(gpu1) == []
    assert watch.end() == []


def large_source(watch: Watch, number: int) -> tuple[Path, str]:
    """A pipeline file beside so much that sending it takes a while, and the digest of that."""
    file = write(watch.desk.work, f"upload{number}", stage_on("gpu1", "cat part* | sha256sum"))
    whole = hashlib.sha256()
    for part in range(PARTS):
        body = os.urandom(PART)
        whole.update(body)
        (file.parent / f"part{part:02}").write_bytes(body)
    return file, whole.hexdigest()


@contextmanager
def watched_sizes(host: Host) -> Iterator[list[int]]:
    """Sizes that blobs on their way had while the block lasted."""
    seen, over = list[int](), threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            seen.extend(half_blobs(host))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def half_blobs(host: Host) -> list[int]:
    """Sizes of the blobs that are on their way to the host."""
    found = host.root.glob("var/tmp/hostler-*/blobs/*.part")
    with suppress(FileNotFoundError):
        return [path.stat().st_size for path in found]
    return []


def test_a_daemon_that_fails_or_stalls_at_a_named_moment(watch: Watch) -> None:
    desk, file = watch.desk, write(watch.desk.work, "stream", STREAM)
    start_armed(watch, ",".join(
        ["after_intent:error", "after_claim:error@2", "after_create:error", "after_bind:error@2",
         "after_start:error", "before_record:error", "before_remove:error@2",
         "before_release:error", "before_commit:hang=1@9"],
    ))  # fmt: skip
    for _ in range(2 * max(1, ROUNDS)):
        watch.submit(file)
    assert watch.end() == []
    assert "internal error" not in desk.log()


def arm_next_login(host: Host, points: str) -> None:
    """Arm the agent of the next login, and only that one; `armed_pid` then names it."""
    script = (
        "[ -e ~/armed ] && mv ~/armed ~/spent && echo $$ > ~/armed_pid"
        " && export HOSTLER_FAILPOINTS=$(cat ~/spent)\n"
    )
    host.exec(["sh", "-c", "rm -f ~/armed_pid; cat > ~/.bashrc"], user="ana", text=script)
    host.exec(["sh", "-c", "cat > ~/armed"], user="ana", text=points)


def armed_pid(host: Host) -> int:
    """The process of the login that was armed. Raises LabError where there was none."""
    return int(host.exec(["sh", "-c", "cat ~/armed_pid"], user="ana").stdout)


def is_gone(host: Host, pid: int) -> bool:
    """Whether that process of the host has ended."""
    return not host.runs(pid)


@pytest.mark.parametrize("names", AGENT_POINTS, ids="-".join)
def test_agents_killed_at_named_moments(watch: Watch, names: tuple[str, ...]) -> None:
    desk = watch.desk
    files = [
        write(
            desk.work,
            f"on-{host.name}",
            STREAM.replace("gpus = 1", f'gpus = 1, host = "{host.name}"'),
        )
        for host in watch.lab.hosts
    ]
    for _ in range(max(1, ROUNDS)):
        desk.kill_daemon()
        for host, name in zip(watch.lab.hosts, names, strict=True):
            arm_next_login(host, f"agent.{name}:kill")
        watch.recover()
        armed = {host: armed_pid(host) for host in watch.lab.hosts}
        with watch.recorder.fault(f"kill agents at {' '.join(names)}"):
            for file in files:
                watch.submit(file)
            for host, pid in armed.items():
                wait_until(partial(is_gone, host, pid), f"the armed agent of {host.name} dies")
    assert watch.end() == []
    assert "hostler agent" not in desk.log()


def test_a_daemon_killed_at_random_moments(watch: Watch) -> None:
    desk, file = watch.desk, write(watch.desk.work, "stream", STREAM)
    moments = random.Random(SEED)
    for number in range(KILLS):
        if number % 5 == 4:
            watch.recover()
        if number % 2 == 0:
            watch.submit(file)  # starts a daemon where the last kill left none
        else:
            desk.hostler("ps")
        time.sleep(moments.uniform(0, 1.5))  # the moment is what is random here
        with watch.recorder.fault("kill daemon"):
            desk.kill_daemon()
    watch.recover()
    assert watch.end(timeout=60 + 2 * KILLS) == []


def test_a_daemon_that_stands_still_and_goes_on(watch: Watch) -> None:
    desk = watch.desk
    for _ in range(3):
        watch.submit(write(desk.work, "long", LONG))
    watch.recover()
    with watch.recorder.fault("stop daemon"):
        os.kill(desk.daemon_pid(), signal.SIGSTOP)
        time.sleep(STOP_S)
        os.kill(desk.daemon_pid(), signal.SIGCONT)
    assert watch.end() == []
    causes = {a["cause"] for r in desk.ok("runs", "--json").json["runs"]
              for s in desk.show(r["run_id"])["stages"] for a in s["attempts"]}  # fmt: skip
    assert causes == {"user error"}, "exit 5 of the stage, and no time limit, of time nobody spent"


def test_a_second_daemon_is_refused_and_names_the_first(watch: Watch) -> None:
    desk = watch.desk
    watch.submit(write(desk.work, "one", ONE))
    pid = desk.daemon_pid()
    second = desk.hostler("serve", timeout=20)
    assert second.code != 0
    assert f"(pid {pid} on {socket.gethostname()})" in second.err
    assert desk.daemon_pid() == pid
    assert watch.end() == []


def test_a_client_killed_before_or_after_its_request_leaves_one_run_or_none(watch: Watch) -> None:
    desk, moments = watch.desk, random.Random(SEED)
    file = write(desk.work, "one", ONE)
    watch.submit(file)
    for _ in range(max(2, KILLS // 4)):
        killed_client(watch, file, lambda: time.sleep(moments.uniform(0.05, 0.4)))  # by chance
    wanted, silent = max(1, KILLS // 8), 0
    for _ in range(10 + 10 * wanted):
        before = runs_of(watch)
        told = killed_client(watch, file, partial(until_another, watch, before))
        (made,) = runs_of(watch) - before
        assert told in ("", made)
        silent += not told
        if silent == wanted:
            break
    assert silent == wanted, "most clients had told of their run before they were killed"
    assert watch.end() == []


def until_another(watch: Watch, before: set[str]) -> None:
    """Until the daemon has written down a run: the request came, its answer is yet to be told."""
    wait_until(lambda: runs_of(watch) != before, "the run is written down", every=0.001)


def killed_client(watch: Watch, file: Path, until: Callable[[], None]) -> str:
    """Submit, and kill the client once `until` returns; the run's id, where it had told it."""
    begun = time.time()
    client = subprocess.Popen(
        [sys.executable, "-m", "hostler", "run", "-d", "-q", str(file)],
        env=watch.desk.env, cwd=watch.desk.work, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until()
    finally:
        client.kill()
    told = client.communicate()[0].strip()
    watch.note_submit(begun, told)
    return told


def runs_of(watch: Watch) -> set[str]:
    """The ids of all runs that the daemon has written down."""
    return {row["run_id"] for row in watch.rows("SELECT run_id FROM runs")}


def test_many_submits_of_many_clients(watch: Watch) -> None:
    file = write(watch.desk.work, "one", ONE)
    watch.desk.hostler("ps")
    with ThreadPoolExecutor(CLIENTS) as clients:
        told = list(clients.map(lambda _: watch.submit(file), range(CLIENTS * SUBMITS)))
    assert None not in told, watch.refusals
    assert len(set(told)) == CLIENTS * SUBMITS
    assert watch.end(timeout=60 + 2 * len(told)) == []


def test_a_daemon_of_another_folder_leaves_foreign_work_alone(watch: Watch) -> None:
    run_id = watch.submit(write(watch.desk.work, "long", LONG))
    assert run_id is not None
    watch.desk.until(run_id, lambda r: r["stages"][0]["status"] == "running")
    with desk_folder() as folder:
        other = type(watch.desk).at_lab(watch.lab, folder)
        try:
            wait_until(
                lambda: all(
                    h["condition"] == "up" for h in other.ok("hosts", "--json").json["hosts"]
                ),
                "the other daemon sees every host",
            )
            run = other.run(ONE)
            assert run["outcome"] == "succeeded"
        finally:
            other.close()
    watch.foreign_attempts.add(f"{run['run_id']}-only-1")
    assert watch.end() == []
