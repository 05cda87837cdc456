"""The folder of all leases where whoever made it, or another user, means harm."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import leasefolder
from hostler_agent.claims import Claims
from hostler_agent.folders import Refusal
from hostler_agent.leases import Leases
from tests.support.machines.users import BOB, CAROL, MALLORY, NEEDS_ROOT, run_as, spawn_as
from tests.support.programs.agents import Agent, AgentSaysNo, Place, serving
from tests.support.programs.fake_nvml import uuid_of
from tests.support.values.claiming import GPU, OTHER, Scene, a_lease, claim


@pytest.fixture
def shared(short_folder: Path) -> Leases:
    """Where every user may make it."""
    os.chmod(short_folder, 0o1777)
    return Leases(str(short_folder / "hostler" / "leases"))


def taken(folder: Leases, scene: Scene, **more: Any) -> Callable[[], str]:
    """A claim: "won", or why not."""

    def work() -> str:
        try:
            answer = Claims(folder, scene.sight()).claim(claim(**more))
        except Refusal as refusal:
            return f"{refusal.kind}: {refusal}"
        return "won" if "lease_ids" in answer else str(answer["refused"])

    return work


def swapped_after(monkeypatch: pytest.MonkeyPatch, name: str, parent: Path, target: Path) -> None:
    """Right after a call of `os.<name>` for a folder in `parent`, that is a link to `target`."""
    real = getattr(os, name)

    def call(path: Any, *rest: Any, **more: Any) -> Any:
        result = real(path, *rest, **more)
        made = parent / os.path.basename(os.fspath(path))
        if "leases" in made.name and made.is_dir() and not made.is_symlink():
            shutil.rmtree(made)
            made.symlink_to(target)
        return result

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("call", ["mkdir", "lstat"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_in_place_of_the_folder_changes_nobodys_mode(
    folder: Leases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, kind: str
) -> None:
    target = tmp_path / "mine"
    target.mkdir(mode=0o700) if kind == "folder" else target.touch(0o600)
    before = target.stat().st_mode
    parent = Path(folder.folder).parent
    parent.mkdir()
    parent.chmod(0o1777)
    if call == "lstat":
        Path(folder.folder).mkdir(0o700)
    monkeypatch.setattr(leasefolder, "_MAKING_PATIENCE", 0.05, raising=False)
    swapped_after(monkeypatch, call, parent, target)
    with pytest.raises((Refusal, OSError)), folder.locked():
        pass
    assert target.stat().st_mode == before
    assert kind == "file" or not os.listdir(target)


def test_a_folder_that_this_call_did_not_make_keeps_its_mode(folder: Leases) -> None:
    path = Path(folder.folder)
    path.mkdir(parents=True)
    path.parent.chmod(0o1777)
    path.chmod(0o700)
    text = r"has mode 700 and should .* root to run: chmod 1777"
    with pytest.raises(Refusal, match=text), folder.locked():
        pass
    assert path.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("which", ["leases", "hostler"])
@pytest.mark.parametrize("what", ["link", "file"])
def test_a_link_or_file_is_no_lease_folder(
    folder: Leases, tmp_path: Path, which: str, what: str
) -> None:
    path = Path(folder.folder) if which == "leases" else Path(folder.folder).parent
    path.parent.mkdir(exist_ok=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o1777)
    path.symlink_to(elsewhere) if what == "link" else path.touch()
    text = r"is a link or no folder: ([\w.-]+ or )?root can remove it"
    with pytest.raises(Refusal, match=text), folder.locked():
        pass
    assert not os.listdir(elsewhere)


@pytest.mark.parametrize("which", ["leases", "hostler"])
def test_without_the_sticky_bit_it_is_refused(folder: Leases, which: str) -> None:
    with folder.locked():
        pass
    path = Path(folder.folder) if which == "leases" else Path(folder.folder).parent
    path.chmod(0o777)
    with pytest.raises(Refusal, match=f"chmod 1777 {path}") as refused, folder.locked():
        pass
    assert refused.value.kind == "Unreachable", "no stage fails of it"
    path.chmod(0o1777)
    with folder.locked():
        pass


@pytest.mark.programs
@NEEDS_ROOT
def test_whoever_made_it_others_use_it(shared: Leases, scene: Scene) -> None:
    assert run_as(MALLORY, taken(shared, scene, daemon="d1")) == "won"
    path = Path(shared.folder)
    assert {path.stat().st_uid, path.parent.stat().st_uid} == {MALLORY}
    assert path.stat().st_mode & 0o7777 == path.parent.stat().st_mode & 0o7777 == 0o1777
    assert "to alice" in run_as(BOB, taken(shared, scene, daemon="d2"))
    scene.devices.reverse()
    more: dict[str, Any] = {"gpus": [OTHER], "daemon": "d2"}
    assert run_as(BOB, taken(shared, scene, **more)) == "won"


@pytest.mark.programs
@NEEDS_ROOT
@pytest.mark.parametrize("kind", ["mode", "fifo", "link", "folder"])
def test_a_lock_that_cannot_be_taken_lets_stages_wait(
    shared: Leases, scene: Scene, kind: str
) -> None:
    def spoil() -> str:
        with shared.locked():
            pass
        lock = Path(shared.folder) / ".lock"
        if kind == "mode":
            lock.chmod(0)
            return ""
        lock.unlink()
        if kind == "link":
            lock.symlink_to("/etc/passwd")
        os.mkfifo(lock) if kind == "fifo" else lock.mkdir() if kind == "folder" else None
        return ""

    run_as(MALLORY, spoil)
    said = run_as(BOB, taken(shared, scene))
    assert said.startswith("Unreachable: the lease lock "), said
    assert said.endswith(f"uid {MALLORY} or root can remove it"), said
    assert run_as(BOB, lambda: str(shared.problem())) == said.partition(": ")[2]


@pytest.mark.programs
@NEEDS_ROOT
def test_who_holds_the_lock_is_named(
    shared: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasefolder, "_LOCK_PATIENCE", 0.1)
    held, holds = os.pipe()
    asked, waits = os.pipe()

    def hold() -> int:
        with shared.locked():
            os.write(holds, b"x")
            return os.read(asked, 1) != b"x"

    pid = spawn_as(MALLORY, hold)
    try:
        os.read(held, 1)
        said = run_as(BOB, taken(shared, scene))
    finally:
        os.write(waits, b"x")
        os.waitpid(pid, 0)
        for descriptor in (held, holds, asked, waits):
            os.close(descriptor)
    assert said.endswith(f"is held for too long by uid {MALLORY} (PID {pid})"), said


@pytest.mark.programs
@NEEDS_ROOT
def test_a_file_that_stands_where_a_lease_belongs_is_named(shared: Leases, scene: Scene) -> None:
    assert run_as(CAROL, taken(shared, scene, gpus=[OTHER])) == "won"

    def squat() -> str:
        (Path(shared.folder) / f"{GPU}.{BOB}.json").touch()
        return ""

    run_as(MALLORY, squat)
    said = run_as(BOB, taken(shared, scene))
    assert f"{GPU}.{BOB}.json cannot be written" in said
    assert said.endswith(f"uid {MALLORY} or uid {CAROL} or root can remove it")
    assert sorted(p.name for p in Path(shared.folder).glob(".*")) == [".lock"]


def test_an_agent_refuses_claims_and_says_why(place: Place) -> None:
    place.leases.mkdir(parents=True)
    for path in (place.leases.parent, place.leases):
        path.chmod(0o1777)
    os.mkfifo(place.leases / ".lock")
    wanted = {
        "gpus": [uuid_of(0)], "attempt_id": "r-a-1", "daemon_id": "d1", "owner": "ana",
        "memory_floor": 1 << 30, "ignore": [], "until": None,
    }  # fmt: skip
    with serving(place) as agent:
        refused = agent.ask("claim", wanted)["refused"]
        assert refused.endswith(".lock is not a plain file: root can remove it")
        assert agent.look()["lease_problem"] == refused
        with pytest.raises(AgentSaysNo) as error:
            agent.ask("bind", lease_ids=[], workload="r-a-1", claim=wanted)
        assert error.value.kind == "Unreachable", "to be asked again, not to fail of"
        (place.leases / ".lock").unlink()
        assert agent.ask("claim", wanted)["lease_ids"]
        assert agent.look()["lease_problem"] is None


def test_a_lease_that_cannot_be_written_is_a_refusal(agent: Agent) -> None:
    wanted = {
        "gpus": [uuid_of(0)], "attempt_id": "r-a-1", "daemon_id": "d1", "owner": "ana",
        "memory_floor": 1 << 30, "ignore": [], "until": None,
    }  # fmt: skip
    assert agent.ask("claim", {**wanted, "gpus": [uuid_of(1)]})["lease_ids"]
    (agent.place.leases / f"{uuid_of(0)}.{os.getuid()}.json").mkdir()
    assert "directory" in agent.ask("claim", wanted)["refused"]


def test_a_job_runs_on_though_its_leases_cannot_be_bound(agent: Agent) -> None:
    gpu = uuid_of(0)
    wanted = {
        "gpus": [gpu], "attempt_id": "r-a-1", "daemon_id": "d1", "owner": "ana",
        "memory_floor": 1 << 30, "ignore": [], "until": None,
    }  # fmt: skip
    assert agent.ask("claim", wanted)["lease_ids"]
    (agent.place.leases / ".lock").unlink()
    (agent.place.leases / ".lock").mkdir()
    assert agent.job("r-a-1", ["sleep", "600"], gpus=[gpu])["running"]
    agent.ask("job.stop", attempt_id="r-a-1", grace=0)


def test_a_file_has_one_name(folder: Leases, scene: Scene) -> None:
    me = os.getuid()
    with folder.locked():
        folder.write(a_lease())
    for number in (f"0{me}", f"00{me}", str(me).replace("0", "\u0660") + "\u0660"):
        (Path(folder.folder) / f"{GPU}.{number}.json").write_text(json.dumps(a_lease()))
    assert len(folder.list(scene.live(()))) == 1


def test_what_a_killed_agent_left_is_swept_away(folder: Leases) -> None:
    with folder.locked():
        folder.write(a_lease(daemon_id="d1"))
    left = Path(folder.folder) / f".{os.getuid()}.deadbeef.new"
    left.touch()
    folder.touch("d1")
    assert not left.exists()


@pytest.mark.parametrize("name", ["hostler", "leases"])
def test_a_folder_that_is_replaced_while_it_is_made_is_made_again(
    folder: Leases, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Another one of this user makes it too, and gets the name last."""
    real = os.open
    done: list[str] = []

    def opened(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        descriptor = real(path, flags, *rest, **more)
        if path == name and not done:
            done.append(path)
            os.mkdir("twin", 0o1777, dir_fd=more["dir_fd"])
            os.chmod("twin", 0o1777, dir_fd=more["dir_fd"])
            os.rename("twin", name, src_dir_fd=more["dir_fd"], dst_dir_fd=more["dir_fd"])
        return descriptor

    monkeypatch.setattr(os, "open", opened)
    with folder.locked():
        folder.write(a_lease())
    assert done
    assert os.listdir(Path(folder.folder).parent) == ["leases"]
    assert len(os.listdir(folder.folder)) == 2


@pytest.mark.programs
@NEEDS_ROOT
@pytest.mark.parametrize("name", [".lock", f"{GPU}.0.json"])
def test_nothing_is_read_of_what_is_mounted_there(
    folder: Leases, scene: Scene, tmp_path: Path, name: str
) -> None:
    """Where users may mount file systems of their own for all (FUSE), one that never answers would
    take the agents of everybody with it."""
    with folder.locked():
        folder.write(a_lease())
    (tmp_path / "else").write_text(json.dumps(a_lease()))
    path = Path(folder.folder) / name
    mounted = subprocess.run(["mount", "--bind", tmp_path / "else", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        found, problem = folder.list(scene.live(())), folder.problem()
    finally:
        subprocess.run(["umount", path], check=True)
    if name == ".lock":
        assert "something is mounted on .lock" in str(problem)
    else:
        assert not found
    assert folder.list(scene.live(()))


@pytest.mark.parametrize(
    ("above", "own", "who"),
    [
        (0, 0, "root"),
        (0, 1, "{1} or root"),
        (1, 0, "{1} or root"),
        (1, 1, "{1} or root"),
        (2, 1, "{1} or {2} or root"),
        (1, None, "{1} or root"),
        (0, None, "root"),
    ],
)
def test_who_can_remove_a_file_of_the_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, above: int, own: int | None, who: str
) -> None:
    """A file that is gone is its folder's owner's to make anew."""
    status = os.stat_result((0o41777, 0, 0, 1, above, 0, 0, 0, 0, 0))
    monkeypatch.setattr(leasefolder, "owner", lambda folder, name: own)
    monkeypatch.setattr(os, "fstat", lambda descriptor: status)
    named = who.format(*(leasefolder.owner_of(uid) for uid in range(3)))
    with (
        pytest.raises(leasefolder.Unusable, match=rf"denied\): {named} can remove it"),
        leasefolder.explained(3, "x.json", "/x.json"),
    ):
        raise PermissionError(13, "Permission denied")


def test_users_are_called_by_their_names() -> None:
    assert leasefolder.owner_of(0) == "root"
    assert leasefolder.owner_of(1) == pwd.getpwuid(1).pw_name


def test_who_owns_the_folder_in_which_none_can_be_made_is_named(
    folder: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(above: int, name: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(leasefolder, "_make", refused)
    owner = leasefolder.owner_of(os.getuid())
    said = rf"cannot be made \(Permission denied\): ask root, or {owner}, who owns the folder"
    with pytest.raises(Refusal, match=said), folder.locked():
        pass


def test_who_holds_the_lock_is_said_as_far_as_the_kernel_shows_it(tmp_path: Path) -> None:
    lock, table = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR), tmp_path / "locks"
    status = os.fstat(lock)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    me = f"{leasefolder.owner_of(os.getuid())} (PID {os.getpid()})"
    for kind, pid, inode, said in (
        ("FLOCK", os.getpid(), status.st_ino, me),
        ("POSIX", os.getpid(), status.st_ino, "somebody"),
        ("FLOCK", os.getpid(), status.st_ino + 1, "somebody"),
        ("FLOCK", -1, status.st_ino, "somebody"),
        ("FLOCK", 2**30, status.st_ino, f"somebody (PID {2**30})"),  # it has just ended
    ):
        table.write_text(f"1: {kind}  ADVISORY  WRITE {pid} {device}:{inode} 0 EOF\n")
        assert leasefolder._who_holds(lock, str(table)) == said
    assert leasefolder._who_holds(lock, str(tmp_path / "none")) == "somebody"
    os.close(lock)
