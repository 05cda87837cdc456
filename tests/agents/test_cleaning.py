"""Caches that a person wants gone, and what keeps them."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import blobs, bundle, cleaning
from hostler_agent.cleaning import Cleaner
from hostler_agent.folders import Folders
from tests.support.machines.users import NEEDS_ROOT
from tests.support.programs.agents import Place, serving

DIGEST = "a" * 64
V1, V2 = "1" * 64, "2" * 64
HELD, CURRENT, OLD = "b" * 64, "c" * 64, "d" * 64


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(str(tmp_path / "b"))
    made.make()
    for name in (DIGEST, DIGEST[:-1] + "b.part"):
        Path(made.blobs, name).write_bytes(b"x" * 10)
    for name in (V1, V2):
        Path(made.venvs, name, "bin").mkdir(parents=True)
        Path(made.venvs, name, "bin", "python").write_bytes(b"x" * 5)
    for name in (OLD, CURRENT, HELD):
        Path(made.base, "agent", name).mkdir(parents=True)
    return made


@pytest.fixture
def alone(tmp_path: Path) -> Place:
    """A host whose agents no other test uses."""
    return Place(tmp_path, fresh=True)


def clean(folders: Folders, *, dry_run: bool = False) -> dict[str, Any]:
    one = Cleaner(folders, CURRENT, "d1", dry_run)
    return {"busy": one.busy(), **{f.what: f.to_wire() for f in one.caches()}}


def there(folders: Folders, name: str) -> list[str]:
    return sorted(os.listdir(os.path.join(folders.base, name)))


def test_all_that_nobody_holds_goes_and_a_dry_run_only_tells(folders: Folders) -> None:
    held = os.open(os.path.join(folders.base, "agent", HELD), os.O_RDONLY)
    used = os.open(os.path.join(folders.venvs, f"{V2}.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_SH)
    fcntl.flock(used, fcntl.LOCK_SH)
    try:
        told = clean(folders, dry_run=True)
        assert there(folders, "blobs") == [DIGEST, DIGEST[:-1] + "b.part"]
        assert there(folders, "agent") == [HELD, CURRENT, OLD]
        assert clean(folders) == told
    finally:
        os.close(held)
        os.close(used)
    assert told["busy"] == ""
    assert (told["blob"]["count"], told["blob"]["bytes"]) == (2, 20)
    assert (told["venv"]["names"], told["venv"]["bytes"]) == ([V1], 5)
    assert told["agent"]["names"] == [OLD]
    assert there(folders, "blobs") == []
    assert [name for name in there(folders, "venvs") if not name.endswith(".lock")] == [V2]
    assert there(folders, "agent") == [HELD, CURRENT]


def test_links_lead_nowhere(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    for folder in ("venvs", "agent"):
        os.symlink(tmp_path / "mine", os.path.join(folders.base, folder, "e" * 64))
    os.symlink(tmp_path / "mine" / "file", os.path.join(folders.blobs, "e" * 64))
    clean(folders)
    assert (tmp_path / "mine" / "file").exists()


@pytest.mark.parametrize("way", ["clean", "gc"])
def test_a_cache_that_is_a_link_loses_only_what_is_of_it(
    folders: Folders, tmp_path: Path, way: str
) -> None:
    """People give them another disk."""
    for name in ("blobs", "venvs", "agent"):
        own = Path(folders.base, name)
        own.rename(tmp_path / name)
        own.symlink_to(tmp_path / name)
        (tmp_path / name / "thesis").mkdir()
        (tmp_path / name / "thesis.txt").write_text("x")
        for path in (tmp_path / name).iterdir():
            os.utime(path, (0, 0))
    if way == "clean":
        clean(folders)
    else:
        blobs.collect(folders, [], 0, CURRENT)
    for name, rest in (("blobs", []), ("venvs", []), ("agent", [CURRENT])):
        left = [each for each in there(folders, name) if not each.endswith(".lock")]
        assert left == [*rest, "thesis", "thesis.txt"]


@pytest.mark.parametrize("way", ["clean", "gc"])
def test_what_is_no_file_among_the_blobs_keeps_nothing(folders: Folders, way: str) -> None:
    Path(folders.blobs, "0" * 64).mkdir()
    if way == "clean":
        clean(folders)
    else:
        assert blobs.collect(folders, [], 0, CURRENT) == {"freed": 20}
    assert there(folders, "blobs") == ["0" * 64]


@pytest.mark.programs
@NEEDS_ROOT
@pytest.mark.parametrize("below", ["", "mnt"])
@pytest.mark.parametrize("way", ["clean", "gc", "checkpoints"])
def test_what_a_stage_has_mounted_there_is_not_removed(
    folders: Folders, tmp_path: Path, way: str, below: str
) -> None:
    """A bucket on the folder of its checkpoint, say."""
    kept = (
        Path(folders.checkpoints, "dddddddd-r-s")
        if way == "checkpoints"
        else Path(folders.venvs, V1)
    )
    data, where = tmp_path / "data", kept / below
    for path in (data, where):
        path.mkdir(parents=True, exist_ok=True)
    (data / "precious").write_text("1")
    if subprocess.run(["mount", "--bind", data, where], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    os.utime(kept, (0, 0))
    try:
        if way == "clean":
            assert clean(folders, dry_run=True)["venv"]["names"] == [V2]
            assert clean(folders)["venv"]["names"] == [V2]
        elif way == "gc":
            blobs.collect(folders, [], 0, CURRENT)
        else:
            assert cleaning.sweep_checkpoints(folders, "dddddddd", []) == {"removed": 0}
    finally:
        subprocess.run(["umount", where], check=True)
    assert (data / "precious").exists()
    assert kept.exists()


def test_an_agent_of_another_daemon_keeps_them_and_the_own_does_not(folders: Folders) -> None:
    locks = {}
    for daemon in ("d1", "d2"):
        path = os.path.join(folders.base, f"serve-{daemon}.lock")
        locks[daemon] = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(locks["d1"], fcntl.LOCK_EX)
    assert Cleaner(folders, CURRENT, "d1", True).busy() == ""
    fcntl.flock(locks["d2"], fcntl.LOCK_EX)
    assert "another daemon (d2) is running" in Cleaner(folders, CURRENT, "d1", True).busy()
    for descriptor in locks.values():
        os.close(descriptor)
    assert Cleaner(folders, CURRENT, "d1", True).busy() == ""


def test_a_job_of_the_login_keeps_them(alone: Place) -> None:
    place = alone
    with serving(place) as agent:
        (place.base / "blobs" / DIGEST).write_bytes(b"x")
        agent.job("r1-a-1", ["sleep", "60"])
        told = agent.ask("clean", daemon_id="d1", dry_run=False)
        assert told == {"found": [], "busy": "job r1-a-1 is running"}
        with serving(place, daemon="d2") as other:
            assert (
                "job r1-a-1 is running" in other.ask("clean", daemon_id="d2", dry_run=False)["busy"]
            )
            agent.ask("job.stop", attempt_id="r1-a-1", grace=5)
            assert "d2) is running" in agent.ask("clean", daemon_id="d1", dry_run=False)["busy"]
        assert (place.base / "blobs" / DIGEST).exists()
        told = agent.ask("clean", daemon_id="d1", dry_run=True)
        assert told["busy"] == ""
        assert {each["what"]: each["count"] for each in told["found"]}["blob"] == 1
        agent.ask("clean", daemon_id="d1", dry_run=False)
        assert not (place.base / "blobs" / DIGEST).exists()
        assert bundle.build().hash in os.listdir(place.base / "agent")


def test_a_request_that_does_not_say_so_removes_nothing(alone: Place) -> None:
    with serving(alone) as agent:
        (alone.base / "blobs" / DIGEST).write_bytes(b"x")
        agent.ask("clean", daemon_id="d1")
        assert (alone.base / "blobs" / DIGEST).exists()
