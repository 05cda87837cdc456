"""What is read from /proc and friends, on recorded files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hostler.base.units import GIB
from hostler_agent.agent import runtime_folders
from hostler_agent.folders import Folders, Refusal, check_relative, write_file
from hostler_agent.jobenv import environment
from hostler_agent.journal import Created
from hostler_agent.look_sections import DiskSpace
from hostler_agent.machine import Machine, disks, docker_gpu, memory
from hostler_agent.processes import RECHECK_EVERY, Proc, Processes, Users, container_of
from tests.support.machines.users import MALLORY

ID = "0123456789abcdef" * 4
OTHER = "f" * 64
CGROUPS = {
    "docker, v1": (f"12:memory:/docker/{ID}\n11:cpu:/docker/{ID}\n0::/\n", ID),
    "docker, v2, systemd": (f"0::/system.slice/docker-{ID}.scope\n", ID),
    "docker, v2, cgroupfs": (f"0::/docker/{ID}\n", ID),
    "docker, rootless": (
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope\n", ID,
    ),
    "docker in docker": (f"0::/docker/{ID}/docker/{OTHER}\n", ID),
    "podman": (f"0::/machine.slice/libpod-{ID}.scope/container\n", ID),
    "podman, v1": (f"1:name=systemd:/libpod_parent/libpod-{ID}\n", ID),
    "podman's conmon": (f"0::/machine.slice/libpod-conmon-{ID}.scope\n", None),
    "kubernetes, containerd": (
        f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n", ID,
    ),
    "kubernetes, old": (f"3:cpu:/kubepods/burstable/pod12-34/{ID}\n", ID),
    "containerd, v1": (f"2:pids:/system.slice/containerd.service/k8s:cri-containerd:{ID}\n", ID),
    "nerdctl": (f"0::/system.slice/nerdctl-{ID}.scope\n", ID),
    "crio": (f"0::/kubepods.slice/crio-{ID}.scope\n", ID),
    "a login": ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
    "a service": ("1:cpu:/system.slice/ssh.service\n0::/\n", None),
    "something long": (f"0::/a/{ID}{ID}\n", None),
    "nothing": ("", None),
}  # fmt: skip


@pytest.mark.parametrize("name", CGROUPS)
def test_container_of_a_process(name: str) -> None:
    text, expected = CGROUPS[name]
    assert container_of(text) == expected


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """A recorded /proc: 100 is a shim, 101 its job, 102 a child of that, 200 somebody else."""
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1700000000\n")
    for pid, parent, state in ((100, 1, "S"), (101, 100, "R"), (102, 101, "R"), (200, 1, "Z")):
        folder = tmp_path / str(pid)
        folder.mkdir()
        rest = " ".join(["0"] * 17)
        (folder / "stat").write_text(f"{pid} (a b) c) {state} {parent} {rest} {pid}00 0 0\n")
        (folder / "cmdline").write_bytes(b"python\0train.py\0" + b"x" * 3000)
        (folder / "comm").write_text("pt_main_thread\n")
        (folder / "cgroup").write_text(f"0::/docker/{ID}\n")
        (folder / "environ").write_bytes(b"A=1\0HOSTLER_ATTEMPT=r-s-9\0")
    (tmp_path / "200" / "cmdline").write_bytes(b"")
    return Proc(str(tmp_path))


def test_a_process(proc: Proc) -> None:
    assert proc.start_ticks(101) == 10100
    assert proc.state(101) == ("R", 100)
    assert proc.started_at(10100) == 1700000000 + 10100 / os.sysconf("SC_CLK_TCK")
    command = proc.command(101)
    assert command is not None
    assert command.startswith("python train.py xxx")
    assert len(command) == 512
    assert proc.command(200) == "[pt_main_thread]"
    assert proc.program(101) == ("pt_main_thread", "python")
    assert proc.container(101) == ID
    assert proc.same(101, 10100) is True
    assert proc.same(101, 10101) is False
    assert proc.same(200, 20000) is False  # a zombie runs no more
    assert sorted(proc.pids()) == [100, 101, 102, 200]


def test_what_cannot_be_read_is_none(proc: Proc) -> None:
    assert proc.start_ticks(5) is None
    assert proc.state(5) == (None, None)
    assert (proc.command(5), proc.container(5), proc.uid(5)) == (None, None, None)
    assert proc.program(5) == ()
    assert proc.started_at(None) is None


def test_attempts_by_ancestors_and_by_name(proc: Proc) -> None:
    known = Processes(proc, Users("/dev/null"))
    known.set_jobs({100: "r-s-1", 50: "r-s-9"})
    assert known.attempt(102) == "r-s-1"
    assert known.attempt(200) == "r-s-9"
    known.set_jobs({100: "r-s-1"})
    assert known.attempt(200) is None  # anybody may set a variable


def test_a_variable_counts_in_processes_of_this_user_only(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the agent is root's it can read those of everybody."""
    known = Processes(proc, Users("/dev/null"))
    known.set_jobs({50: "r-s-9"})
    assert known.attempt(200) == "r-s-9"
    monkeypatch.setattr(proc, "uid", lambda pid: MALLORY)
    assert known.attempt(200) is None


def test_a_name_that_came_late_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service may take longer than one look, and processes run for weeks."""
    users = Users("/dev/null")
    monkeypatch.setattr(users, "name", lambda uid: "uid 5")
    known = Processes(Proc(), users)
    process = (os.getpid(), 5, "compute")
    assert known.describe(process, True, 100.0).user == "uid 5"
    monkeypatch.setattr(users, "name", lambda uid: "alice")
    assert known.describe(process, True, 100.0 + RECHECK_EVERY).user == "alice"


@pytest.mark.programs
def test_section_is_the_same_object_while_nothing_changes(proc: Proc) -> None:
    known = Processes(proc)
    listed = [("GPU-0", ((os.getpid(), 5, "compute"),)), ("GPU-1", ())]
    first = known.section(listed)
    assert known.section(list(listed)) is first
    assert list(first) == ["GPU-0"]
    child = subprocess.Popen(["sleep", "60"])
    again = known.section([("GPU-0", ((child.pid, 6, "compute"),))])
    assert again is not first
    child.kill()
    child.wait()
    dead = known.section([("GPU-0", ((child.pid, 6, "compute"),))])
    assert dead["GPU-0"][0].exists is False


def test_users(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("alice:x:70001:1::/:/bin/sh\n+::::::\nbroken\n")
    users = Users(str(passwd))
    assert users.name(70001) == "alice"
    assert users.name(0) == "root"
    assert users.name(3_999_999) == "uid 3999999"


def test_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n")
    assert memory(str(tmp_path)) == (102400, 51200)
    assert memory(str(tmp_path / "no")) == (None, None)


def test_each_disk_once(tmp_path: Path) -> None:
    found = disks({"process": str(tmp_path), "docker": "/no/such/path"})
    assert found[0].path == "/"
    assert [d.holds for d in found if d.holds] == [["process"]]
    assert all(0 < d.free <= d.total for d in found if d.holds)
    both = disks({"process": str(tmp_path), "docker": str(tmp_path)})
    assert len(both) == len(found)
    assert [d.holds for d in both if d.holds] == [["process", "docker"]]


def test_dockers_own_folder_is_the_one_that_it_names() -> None:
    folders = Folders("/var/tmp/hostler-1")
    base = {"process": "/var/tmp/hostler-1"}
    assert runtime_folders(folders, {"DockerRootDir": "/data/docker"}) == {
        **base, "docker": "/data/docker",
    }  # fmt: skip
    for root in (None, ""):
        assert runtime_folders(folders, {"DockerRootDir": root}) == {
            **base,
            "docker": "/var/lib/docker",
        }


@pytest.mark.parametrize(
    ("load", "available", "free", "told"),
    [
        (1.0, 50, 40, False),
        (1.2, 51, 40.9, False),
        (1.3, 50, 40, True),
        (1.0, 52, 40, True),
        (1.0, None, 40, True),
        (1.0, 50, 41, True),
        (1.0, 50, 39, True),
    ],
)
def test_the_machine_is_told_again_only_when_it_changed(
    monkeypatch: pytest.MonkeyPatch, load: float, available: int | None, free: float, told: bool
) -> None:
    def show(load: float, available: int | None, free: float) -> None:
        left = None if available is None else available * GIB
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
        monkeypatch.setattr("hostler_agent.machine.memory", lambda: (100 * GIB, left))
        disk = DiskSpace("/", 100 * GIB, int(free * GIB), [])
        monkeypatch.setattr("hostler_agent.machine.disks", lambda folders: [disk])

    machine = Machine(dict)
    show(1.0, 50, 40)
    first = machine.section()
    assert first == (1.0, 100 * GIB, 50 * GIB, [("/", 100 * GIB, 40 * GIB, [])])
    show(load, available, free)
    assert machine.section() is first, "it is not looked at that often"
    machine._due = machine._disks_due = 0.0
    assert (machine.section() is not first) is told


def test_how_containers_get_gpus(tmp_path: Path) -> None:
    nowhere = (str(tmp_path / "bin"),)
    assert docker_gpu({}, nowhere) is None
    assert docker_gpu({"Runtimes": {"nvidia": {}}}, nowhere) == "nvidia"
    assert docker_gpu({"DiscoveredDevices": [{"ID": "nvidia.com/gpu=0"}]}, nowhere) == "cdi"
    cdi = tmp_path / "cdi"
    cdi.mkdir()
    assert docker_gpu({"CDISpecDirs": [str(cdi)]}, nowhere) is None
    (cdi / "nvidia.yaml").write_text("kind: nvidia.com/gpu\n")
    assert docker_gpu({"CDISpecDirs": [str(cdi)]}, nowhere) == "cdi"
    hook = tmp_path / "bin" / "nvidia-container-runtime-hook"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    assert docker_gpu({}, nowhere) == "nvidia"


def test_given_variables_win_but_for_the_names_of_the_attempt() -> None:
    env = environment(
        {"PATH": "/login", "HOME": "/h", "SECRET": "1"},
        {
            "PATH": "/usr/bin:/of/another/machine",
            "HOSTLER_ATTEMPT": "forged",
            "CUDA_VISIBLE_DEVICES": "0,1,2",
        },
        Created("a", run_id="r", stage="s", gpus=["GPU-3"]),
        "/work",
        [3],
    )
    assert env["PATH"] == "/usr/bin:/login"
    assert "SECRET" not in env
    assert (env["HOSTLER_ATTEMPT"], env["CUDA_VISIBLE_DEVICES"]) == ("a", "3")


@pytest.mark.parametrize("path", ["/a", "..", "a/../b", "a\0b", None, 5])
def test_paths_that_lead_out(path: object) -> None:
    with pytest.raises(Refusal):
        check_relative(path)


def test_paths_are_normalised() -> None:
    assert check_relative("./a//b/.") == "a/b"
    assert check_relative("") == ""


def test_an_agent_that_a_cleaner_ate_is_put_aside(tmp_path: Path) -> None:
    folder = tmp_path / "agent" / "v1"
    package = folder / "hostler_agent"
    package.mkdir(parents=True)
    for path in (folder / "pynvml.py", package / "a.py", package / "b.py"):
        path.touch()
        os.utime(path, (0, 0))
    folders = Folders(str(tmp_path))
    assert folders.adopt("v1")
    assert (package / "a.py").stat().st_mtime > 1e9  # young again
    (package / "b.py").unlink()
    assert folders.adopt("v1")  # looked at once a day
    os.utime(folder / "stamp", (0, 0))
    assert not folders.adopt("v1")
    assert not folder.exists()


def test_files_are_replaced_as_one_step(tmp_path: Path) -> None:
    write_file(str(tmp_path / "f"), b"1")
    write_file(str(tmp_path / "f"), b"2", sync=True)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"2"
