"""Caches that a person wants gone, and what keeps them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import bundle
from hostler_agent.cleaning import Cleaner
from hostler_agent.folders import Folders
from tests.support.agents import Place, serving

DIGEST = "a" * 64


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(str(tmp_path / "b"))
    made.make()
    for name in (DIGEST, DIGEST[:-1] + "b.part"):
        Path(made.blobs, name).write_bytes(b"x" * 10)
    for name in ("v1", "v2"):
        Path(made.venvs, name, "bin").mkdir(parents=True)
        Path(made.venvs, name, "bin", "python").write_bytes(b"x" * 5)
    for name in ("old", "current", "held"):
        Path(made.base, "agent", name).mkdir(parents=True)
    return made


@pytest.fixture
def alone(tmp_path: Path) -> Place:
    """A host whose agents no other test uses."""
    return Place(tmp_path, fresh=True)


def clean(folders: Folders, *, dry_run: bool = False) -> dict[str, Any]:
    one = Cleaner(folders, "current", "d1", dry_run)
    return {"busy": one.busy(), **{f.what: f.to_wire() for f in one.caches()}}


def there(folders: Folders, name: str) -> list[str]:
    return sorted(os.listdir(os.path.join(folders.base, name)))


def test_all_that_nobody_holds_goes_and_a_dry_run_only_tells(folders: Folders) -> None:
    held = os.open(os.path.join(folders.base, "agent", "held"), os.O_RDONLY)
    used = os.open(os.path.join(folders.venvs, "v2.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_SH)
    fcntl.flock(used, fcntl.LOCK_SH)
    try:
        told = clean(folders, dry_run=True)
        assert there(folders, "blobs") == [DIGEST, DIGEST[:-1] + "b.part"]
        assert there(folders, "agent") == ["current", "held", "old"]
        assert clean(folders) == told
    finally:
        os.close(held)
        os.close(used)
    assert told["busy"] == ""
    assert (told["blob"]["count"], told["blob"]["bytes"]) == (2, 20)
    assert (told["venv"]["names"], told["venv"]["bytes"]) == (["v1"], 5)
    assert told["agent"]["names"] == ["old"]
    assert there(folders, "blobs") == []
    assert [name for name in there(folders, "venvs") if not name.endswith(".lock")] == ["v2"]
    assert there(folders, "agent") == ["current", "held"]


def test_links_lead_nowhere(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    for folder in ("venvs", "agent"):
        os.symlink(tmp_path / "mine", os.path.join(folders.base, folder, "link"))
    clean(folders)
    assert (tmp_path / "mine" / "file").exists()


def test_an_agent_of_another_daemon_keeps_them_and_the_own_does_not(folders: Folders) -> None:
    locks = {}
    for daemon in ("d1", "d2"):
        path = os.path.join(folders.base, f"serve-{daemon}.lock")
        locks[daemon] = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(locks["d1"], fcntl.LOCK_EX)
    assert Cleaner(folders, "current", "d1", True).busy() == ""
    fcntl.flock(locks["d2"], fcntl.LOCK_EX)
    assert "another daemon (d2) is running" in Cleaner(folders, "current", "d1", True).busy()
    for descriptor in locks.values():
        os.close(descriptor)
    assert Cleaner(folders, "current", "d1", True).busy() == ""


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
