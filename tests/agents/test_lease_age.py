"""When a lease counts as abandoned: by what it names, and by clocks that may jump."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import leases as module
from hostler_agent.claims import Claims
from hostler_agent.leases import Clocks, Leases, Live, clocks, is_stale
from hostler_agent.processes import Proc
from tests.support.machines.users import BOB, NEEDS_ROOT, run_as
from tests.support.programs.agents import Place, eventually, serving
from tests.support.values.claiming import BOOT, CONTAINER, Scene, a_lease, claim


def test_a_started_job_binds_its_leases(
    claims: Claims, folder: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = claims.claim(claim())["lease_ids"]
    claims.bind(ids, "a-1", claim())
    claims.started("d1", "a-1", "10:500")
    scene.alive.add((10, 500))
    pass_time(monkeypatch, 10 * module.UNTOUCHED)
    (found,) = folder.list(scene.live(()))
    assert found.lease["workload"] == "10:500"
    assert not found.stale
    scene.alive.clear()
    (found,) = folder.list(scene.live(()))
    assert found.stale


@pytest.mark.parametrize(
    ("lease", "touched", "stale"),
    [
        ({}, 0.0, False),
        ({}, module.UNTOUCHED + 1, True),
        ({"boot_id": "before"}, 0.0, True),
        ({"boot_id": None}, 0.0, True),
        ({"boot_id": "before", "workload": CONTAINER}, 0.0, False),
        ({"workload": CONTAINER}, 9e9, False),
        ({"workload": "d" * 64}, 0.0, False),
        ({"workload": "d" * 64}, module.UNTOUCHED + 1, True),
        ({"workload": "10:500"}, 9e9, False),
        ({"workload": "10:501"}, module.UNTOUCHED + 1, True),
        ({"until": 5.0}, 0.0, True),
        ({"until": 5.0, "workload": CONTAINER}, 0.0, False),
        ({"attempt_id": None, "until": 2e9}, 9e8, False),
        ({"attempt_id": None}, module.UNTOUCHED + 1, True),
    ],
)
def test_stale(lease: dict[str, Any], touched: float, stale: bool) -> None:
    now = 1e9
    live = Live(BOOT, lambda pid, ticks: (pid, ticks) == (10, 500), lambda ref: ref == CONTAINER)
    assert is_stale(a_lease(**lease), touched, live, now) is stale


def test_who_cannot_see_containers_does_not_call_them_gone() -> None:
    live = Live(BOOT, lambda pid, ticks: False, lambda ref: None)
    assert not is_stale(a_lease(workload=CONTAINER), 1e9, live, 1e9)


@pytest.mark.programs
@NEEDS_ROOT
def test_who_cannot_see_a_process_does_not_call_it_gone() -> None:
    """Where /proc is mounted with hidepid=2, processes of others are not in it."""
    hiding = Proc("/nowhere")
    gone = subprocess.Popen(["true"])
    gone.wait()

    def stale(pid: int) -> Callable[[], str]:
        live = Live(BOOT, hiding.same, lambda ref: None)
        return lambda: str(is_stale(a_lease(workload=f"{pid}:500"), 1e9, live, 1e9))

    assert run_as(BOB, stale(os.getpid())) == "False"
    assert run_as(BOB, stale(gone.pid)) == "True"


def set_clocks(
    monkeypatch: pytest.MonkeyPatch, wall: float = 0.0, boot: float | None = 0.0
) -> None:
    """Clocks that are so many seconds ahead of the real ones; no `boot`: a kernel without it."""
    now = clocks()
    assert now.boot is not None
    ahead = None if boot is None else now.boot + boot
    monkeypatch.setattr(module, "clocks", lambda: Clocks(now.wall + wall, ahead))


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    set_clocks(monkeypatch, seconds, seconds)


LONG = module.UNTOUCHED + 60


def test_a_clock_that_is_set_forward_lets_nobody_in_during_a_pull(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims.claim(claim())
    set_clocks(monkeypatch, wall=LONG)
    assert "to alice" in claims.claim(claim(daemon="d2"))["refused"]
    set_clocks(monkeypatch, wall=-LONG, boot=60.0)
    assert "to alice" in claims.claim(claim(daemon="d2"))["refused"]
    pass_time(monkeypatch, LONG)
    assert "lease_ids" in claims.claim(claim(daemon="d2"))


def test_a_touch_counts_by_the_clock_that_nobody_sets(
    claims: Claims, folder: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims.claim(claim(daemon="d1"))
    pass_time(monkeypatch, LONG - 600)
    folder.touch("d1")
    set_clocks(monkeypatch, wall=2 * LONG, boot=LONG)
    assert "to alice" in claims.claim(claim(daemon="d2"))["refused"]


def test_an_agent_touches_the_leases_of_its_daemon(place: Place) -> None:
    folder = Leases(str(place.leases))
    with folder.locked():
        folder.write(a_lease(daemon_id="d1"))
    (path,) = place.leases.glob("*.json")
    before = json.loads(path.read_text())["touched"]
    with serving(place, "d1"):
        eventually(lambda: json.loads(path.read_text())["touched"] > before)


@pytest.mark.parametrize("touched", [None, "never", 1e10])
def test_a_lease_that_no_boot_clock_tells_of_is_judged_by_its_file(
    folder: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch, touched: object
) -> None:
    """Of older agents, or forged."""
    with folder.locked():
        folder.write(a_lease())
    (path,) = Path(folder.folder).glob("*.json")
    path.write_text(json.dumps({**a_lease(), "touched": touched}))
    assert not folder.list(scene.live(()))[0].stale
    set_clocks(monkeypatch, wall=LONG)
    assert folder.list(scene.live(()))[0].stale


def test_where_there_is_no_boot_clock_the_file_tells(
    folder: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clocks(monkeypatch, boot=None)
    with folder.locked():
        folder.write(a_lease())
    assert not folder.list(scene.live(()))[0].stale
    set_clocks(monkeypatch, wall=LONG, boot=None)
    assert folder.list(scene.live(()))[0].stale


def test_a_disk_that_is_full_keeps_no_lease_from_being_touched(
    claims: Claims, folder: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    claims.claim(claim())
    (found,) = folder.list(scene.live(()))
    touched: list[str] = []
    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "utime", lambda name, **how: touched.append(name))
    folder.touch("d1")
    assert touched == [found.name]
    assert not list(Path(folder.folder).glob(".*.new")), "nothing half written is left"
    assert folder.list(scene.live(())) == [found]


def test_a_stale_lease_is_taken_over(claims: Claims, folder: Leases, scene: Scene) -> None:
    with folder.locked():
        folder.write(a_lease(boot_id="before", attempt_id="old"))
    assert folder.list(scene.live(()))[0].stale
    assert "lease_ids" in claims.claim(claim())
    assert [f.lease["attempt_id"] for f in folder.list(scene.live(()))] == ["a-1"]


def test_touching_keeps_a_lease(folder: Leases, scene: Scene, claims: Claims) -> None:
    claims.claim(claim())
    (found,) = folder.list(scene.live(()))
    path = Path(folder.folder) / found.name
    before = path.stat().st_ctime_ns
    time.sleep(0.01)
    folder.touch("d2")
    assert path.stat().st_ctime_ns == before
    folder.touch("d1")
    assert path.stat().st_ctime_ns > before
