"""Leases and claims: who gets a GPU, and what hostile files can do."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler_agent import leasefolder
from hostler_agent.claims import Claims
from hostler_agent.containers import Running
from hostler_agent.folders import Refusal
from hostler_agent.leases import Leases, Live, is_stale, parse
from hostler_agent.look_sections import GpuSlow, GpuValues
from hostler_agent.nvml import Reading
from tests.support.machines.users import BOB, MALLORY, NEEDS_ROOT, run_as, spawn_as
from tests.support.values.claiming import BOOT, CONTAINER, GPU, OTHER, Scene, a_lease, claim


def test_claim_bind_release(claims: Claims, folder: Leases, scene: Scene) -> None:
    claimed = claims.claim(claim(GPU, OTHER))
    assert len(claimed["lease_ids"]) == 2
    path = Path(folder.folder)
    assert path.stat().st_mode & 0o7777 == 0o1777
    assert all(p.stat().st_mode & 0o777 == 0o644 for p in path.iterdir())
    bound = claims.bind(claimed["lease_ids"], CONTAINER, claim(GPU, OTHER))
    assert bound == claimed
    found = [f.lease for f in folder.list(scene.live(()))]
    assert [lease["workload"] for lease in found] == [CONTAINER, CONTAINER]
    assert {lease["boot_id"] for lease in found} == {BOOT}
    claims.release(claimed["lease_ids"])
    claims.release(claimed["lease_ids"])
    assert folder.list(scene.live(())) == []
    with pytest.raises(Refusal, match="no longer exists"):
        claims.bind(claimed["lease_ids"], CONTAINER, claim(GPU, OTHER))


def test_the_same_attempt_may_claim_again(claims: Claims, scene: Scene) -> None:
    first = claims.claim(claim())
    assert claims.claim(claim()) == first
    scene.put(GPU, (50, 5000), used=5000)
    scene.described[50] = {"attempt_id": "a-1"}
    assert claims.claim(claim()) == first  # its own process is no obstacle, nor is its memory


def test_a_late_release_does_not_take_the_next_lease(claims: Claims) -> None:
    old = claims.claim(claim(attempt="a-1"))["lease_ids"]
    claims.release(old)
    new = claims.claim(claim(attempt="a-2"))["lease_ids"]
    claims.release(old)
    assert "to alice for a-2" in claims.claim(claim(attempt="a-3"))["refused"]
    assert claims.claim(claim(attempt="a-2"))["lease_ids"] == new


def test_all_or_none(claims: Claims, folder: Leases, scene: Scene) -> None:
    scene.put(OTHER, (77, 2048))
    scene.described[77] = {"user": "bob", "command": "python train.py"}
    refused = claims.claim(claim(GPU, OTHER))["refused"]
    assert refused == "GPU 1: in use by bob: python train.py (PID 77, 2.0 GiB)"
    assert folder.list(scene.live(())) == []


def test_another_lease_is_in_the_way(claims: Claims) -> None:
    claims.claim(claim(daemon="d1"))
    for other in (claim(daemon="d2"), claim(attempt="a-2"), claim(attempt=None)):
        assert claims.claim(other)["refused"].startswith("GPU 0: leased ")


def test_ignored_programs_and_graphics_do_not_count(claims: Claims, scene: Scene) -> None:
    scene.put(GPU, (60, 100), used=100)
    scene.programs[60] = ("Xorg",)
    assert "lease_ids" in claims.claim(claim())


def test_memory_over_the_floor(claims: Claims, scene: Scene) -> None:
    scene.put(GPU, used=2048)
    assert "2.0 GiB of its memory" in claims.claim(claim())["refused"]
    scene.put(GPU, used=1023)
    assert "lease_ids" in claims.claim(claim())


def test_a_dead_pid_that_holds_memory(claims: Claims, scene: Scene) -> None:
    scene.put(GPU, (61, 100))
    scene.described[61] = {"exists": False}
    assert "PID 61, which no longer exists" in claims.claim(claim())["refused"]


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (None, "does not answer"),
        (Reading(GpuValues(), None, "lost", True), "it cannot be used: lost"),
        (Reading(GpuValues(0), None, None, True), "does not list its processes"),
        (Reading(GpuValues(), (), None, True), "memory cannot be read"),
    ],
)
def test_unknown_is_not_free(
    reading: Reading | None, words: str, claims: Claims, scene: Scene
) -> None:
    scene.readings[GPU] = reading
    assert words in claims.claim(claim())["refused"]


def test_memory_that_the_card_never_tells_is_no_obstacle(claims: Claims, scene: Scene) -> None:
    scene.readings[GPU] = Reading(GpuValues(), (), None, False)
    assert "lease_ids" in claims.claim(claim())


def test_a_gpu_that_lets_no_program_in_is_refused(claims: Claims, scene: Scene) -> None:
    scene.devices[0].slow = scene.devices[0].slow._replace(
        values=GpuSlow(problem="compute mode Prohibited")
    )
    assert "compute mode Prohibited" in claims.claim(claim())["refused"]


def test_mig_and_unknown_gpus_are_refused(claims: Claims, scene: Scene) -> None:
    scene.devices[0].slow = scene.devices[0].slow._replace(values=GpuSlow(mig=True))
    assert claims.claim(claim())["refused"] == "GPU 0: MIG mode is on"
    assert "GPU-none is not on this machine" in claims.claim(claim("GPU-none"))["refused"]


def _container(**more: Any) -> Running:
    plain = Running(CONTAINER, "web", "nginx:1", ("0",), None, None)
    return plain._replace(**more)


def test_containers_of_anybody_are_in_the_way(claims: Claims, scene: Scene) -> None:
    for grants in (("0",), ("all",), (GPU,), ("GPU-00",)):
        scene.containers = [_container(grants=grants)]
        assert claims.claim(claim())["refused"] == "GPU 0: container web (nginx:1) was given it"
    scene.containers = [_container(grants=("1",))]
    assert "lease_ids" in claims.claim(claim())


def test_the_attempts_own_container_is_not(claims: Claims, scene: Scene) -> None:
    scene.containers = [_container(attempt_id="a-1", daemon_id="d1")]
    scene.put(GPU, (70, 4000), used=4000)
    scene.described[70] = {"container_id": CONTAINER}
    assert "lease_ids" in claims.claim(claim())
    claims.release(claims.claim(claim())["lease_ids"])
    assert "was given it" in claims.claim(claim(attempt="a-2", daemon="d1"))["refused"]


def test_ignored_containers(claims: Claims, scene: Scene) -> None:
    scene.containers = [_container(name="dcgm-exporter", grants=("all",))]
    assert "lease_ids" in claims.claim(claim(ignore=["dcgm*"]))


def test_who_came_between_claim_and_bind_is_in_the_way(
    claims: Claims, folder: Leases, scene: Scene
) -> None:
    ids = claims.claim(claim(GPU, OTHER))["lease_ids"]

    def refused() -> str:
        said = claims.bind(ids, CONTAINER, claim(GPU, OTHER))
        assert [f.lease["workload"] for f in folder.list(scene.live(()))] == [None, None]
        return str(said["refused"])

    scene.put(OTHER, (77, 2048))
    scene.described[77] = {"user": "bob", "command": "python train.py"}
    assert refused() == "GPU 1: in use by bob: python train.py (PID 77, 2.0 GiB)"
    scene.put(OTHER, used=2048)
    assert "2.0 GiB of its memory" in refused()
    scene.put(OTHER)
    scene.containers = [_container(grants=("0",))]
    assert refused() == "GPU 0: container web (nginx:1) was given it"
    scene.containers = []
    scene.readings[GPU] = None
    assert "does not answer" in refused()
    scene.put(GPU)
    gone = scene.devices.pop()
    assert "GPU GPU-1111 is not on this machine" in refused()
    scene.devices.append(gone)
    assert claims.bind(ids, CONTAINER, claim(GPU, OTHER)) == {"lease_ids": ids}


def test_what_runs_already_may_be_bound_again(claims: Claims, folder: Leases, scene: Scene) -> None:
    ids = claims.claim(claim())["lease_ids"]
    scene.containers = [_container(attempt_id="a-1", daemon_id="d1")]
    scene.put(GPU, (70, 4000), (71, 100), used=4100)
    scene.described[70] = {"container_id": CONTAINER}
    assert claims.bind(ids, CONTAINER, claim()) == {"lease_ids": ids}  # though 71 is a stranger
    scene.containers = []
    claims.release(ids)
    scene.put(GPU)
    ids = claims.claim(claim())["lease_ids"]
    claims.bind(ids, "a-1", claim())
    claims.started("d1", "a-1", "10:500")
    scene.alive.add((10, 500))
    scene.put(GPU, (10, 4000), (71, 100), used=4100)
    assert claims.bind(ids, "a-1", claim()) == {"lease_ids": ids}
    (found,) = folder.list(scene.live(()))
    assert found.lease["workload"] == "10:500"  # others can go on checking that


def test_hostile_files_are_passed_over(claims: Claims, folder: Leases, scene: Scene) -> None:
    claims.claim(claim(OTHER))
    path, me = Path(folder.folder), os.getuid()
    (path / f"{GPU}.{me}.json").symlink_to("/etc/passwd")
    (path / f"GPU-2.{me}.json").write_bytes(b"[" * 4096)
    (path / f"GPU-3.{me}.json").write_bytes(b"{" + b" " * 10_000_000)
    (path / f"GPU-4.{me}.json").write_text(json.dumps(a_lease(gpu="GPU-4")))
    (path / f"GPU-5.{me + 1}.json").write_text(json.dumps(a_lease()))
    (path / f"{GPU}.{me + 1}.json").write_text(json.dumps(a_lease()))  # in another user's name
    (path / f"GPU-6.{me}.json").mkdir()
    os.mkfifo(path / f"GPU-7.{me}.json")
    (path / "noise").write_text("x")
    assert [f.lease["gpu"] for f in folder.list(scene.live(()))] == [OTHER]
    assert "lease_ids" in claims.claim(claim())


def test_a_lock_that_is_a_link_is_not_followed(folder: Leases, tmp_path: Path) -> None:
    with folder.locked():
        pass
    lock = Path(folder.folder) / ".lock"
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refusal, match="symbolic"), folder.locked():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_was_cleaned_away_locks_again(folder: Leases) -> None:
    with folder.locked():
        (Path(folder.folder) / ".lock").unlink()
    with folder.locked():
        assert (Path(folder.folder) / ".lock").exists()


def test_neither_a_new_lock_nor_an_old_one_leaves_a_file_open(folder: Leases) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(2):
        with folder.locked():
            pass
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_disk_that_takes_half_a_lease_at_a_time(
    claims: Claims, folder: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    lease_ids = claims.claim(claim())["lease_ids"]
    monkeypatch.undo()
    assert [f.lease["lease_id"] for f in folder.list(scene.live(()))] == lease_ids


def test_a_lock_that_is_held_for_ever(folder: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leasefolder, "_LOCK_PATIENCE", 0.05)
    with folder.locked(), pytest.raises(Refusal, match="for too long") as busy, folder.locked():
        pass
    assert busy.value.kind == "Unreachable"  # the daemon asks again, and no attempt fails of it


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(a_lease())), json_values), st.floats(0, 2e9))
def test_whatever_a_lease_says_is_survived(changes: dict[str, Any], now: float) -> None:
    parsed = parse(json.dumps({**a_lease(), **changes}).encode(), GPU, os.getuid())
    if parsed is not None:
        lease = parsed[0]
        live = Live(BOOT, lambda pid, ticks: False, lambda ref: False)
        assert is_stale(lease, now, live, now) in (True, False)
        assert set(lease) == set(a_lease())


@given(st.binary(max_size=200))
def test_garbage_is_no_lease(data: bytes) -> None:
    assert parse(data, GPU, 0) is None


@pytest.mark.programs
@NEEDS_ROOT
def test_of_many_users_one_wins(short_folder: Path, scene: Scene) -> None:
    os.chmod(short_folder, 0o777)
    folder = Leases(str(short_folder / "hostler" / "leases"))
    go = short_folder / "go"
    for wave in range(5):
        go.unlink(missing_ok=True)

        def work() -> int:
            while not go.exists():
                time.sleep(0.0005)
            own = Claims(folder, scene.sight())
            return int("lease_ids" not in own.claim(claim(daemon=f"d{os.getuid()}")))

        pids = [spawn_as(50_000 + 100 * wave + number, work) for number in range(6)]
        go.touch()
        states = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        # Nobody can remove another's lease, so later waves all lose.
        expected = [0, 1, 1, 1, 1, 1] if wave == 0 else [1] * 6
        assert sorted(states) == expected


@pytest.mark.programs
@NEEDS_ROOT
def test_a_stale_lease_of_another_user_is_ignored(short_folder: Path, scene: Scene) -> None:
    os.chmod(short_folder, 0o777)
    folder = Leases(str(short_folder / "hostler" / "leases"))

    def first() -> str:
        before = scene.sight()._replace(live=lambda found: scene.live(found, "boot-0"))
        return "won" if "lease_ids" in Claims(folder, before).claim(claim()) else "lost"

    def second() -> str:
        return "won" if "lease_ids" in Claims(folder, scene.sight()).claim(claim()) else "lost"

    for uid, work in ((50_001, first), (50_002, second)):
        assert run_as(uid, work) == "won"
    found = folder.list(scene.live(()))
    assert sorted((f.uid, f.stale) for f in found) == [(50_001, True), (50_002, False)]
    assert cast("Any", found[0].lease)["gpu"] == GPU


@pytest.mark.programs
@NEEDS_ROOT
def test_a_refusal_names_the_files_owner(short_folder: Path, scene: Scene) -> None:
    """Whatever name the text gives."""
    os.chmod(short_folder, 0o1777)
    folder = Leases(str(short_folder / "hostler" / "leases"))

    def work(owner: str) -> str:
        return str(Claims(folder, scene.sight()).claim(claim(owner=owner)).get("refused"))

    assert run_as(MALLORY, lambda: work("bob")) == "None"
    said = run_as(BOB, lambda: work("bob"))
    assert said.startswith(f"GPU 0: leased by uid {MALLORY} to bob for a-1 since 2")
    folder = Leases(str(short_folder / "hostler2" / "leases"))
    assert run_as(MALLORY, lambda: work(f"uid {MALLORY}")) == "None"
    assert f"leased to uid {MALLORY} for" in run_as(BOB, lambda: work("bob"))
