"""The lab is what it claims to be: real hosts, a referee that sees, silence, and no traces."""

from __future__ import annotations

import concurrent.futures
import json
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.lab import clean
from tests.lab.host import Host
from tests.lab.lab import Lab, names, sweep
from tests.lab.layout import BUSYBOX, PYTHON, LabError
from tests.lab.system import wait_until
from tests.support.machines.labfixture import need_lab, own_name

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", autouse=True)
def _as_new(lab: Lab) -> None:
    """Tests before these may have left hosts silent."""
    lab.reset()


@pytest.fixture
def gpu1(clean_lab: Lab) -> Host:
    return clean_lab.host("gpu1")


def devices(*uuids: str) -> list[str]:
    return ["--gpus", f'"device={",".join(uuids)}"']


# People and logins


def test_ana_logs_in_to_each_host_and_uses_docker(lab: Lab) -> None:
    script = "hostname; id -u; id -gn; docker version --format '{{.Server.Os}}'; python3 -V"
    for host in lab.hosts:
        done = lab.ssh(host.name, [script])
        assert done.stdout.split("\n")[:4] == [host.name, "2001", "ana", "linux"], done.stderr
        assert "Python 3" in done.stdout


def test_cleo_may_log_in_but_not_use_docker(lab: Lab) -> None:
    assert "docker" in lab.ssh("gpu1", ["id"], user="bo").stdout
    done = lab.ssh("gpu1", ["id -u; docker ps"], user="cleo")
    assert done.stdout == "2003\n"
    assert "permission denied" in done.stderr


def test_another_host_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    keys = [line.split() for line in lab.paths.known_hosts.read_text().splitlines()]
    swapped = tmp_path / "known_hosts"
    swapped.write_text(f"{keys[0][0]} {keys[1][1]} {keys[1][2]}\n")
    words = [
        "ssh",
        "-F",
        str(lab.ssh_config),
        "-o",
        f"UserKnownHostsFile={swapped}",
        "gpu1",
        "true",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 255
    assert "HAS CHANGED" in done.stderr


def test_hosts_are_machines_of_their_own(lab: Lab) -> None:
    boot_ids, engines = set(), set()
    for host in lab.hosts:
        boot_ids.add(host.exec(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip())
        engines.add(host.docker("info", "--format", "{{.ID}}"))
        assert host.exec(["cat", "/proc/1/comm"]).stdout == "boot\n"
    assert boot_ids == {host.boot_id for host in lab.hosts}
    assert len(boot_ids) == len(engines) == len(lab.hosts)
    assert " 0% packet loss" in lab.host("gpu1").exec(["ping", "-c1", "gpu2"]).stdout


def test_orphans_are_reaped(gpu1: Host) -> None:
    pid = gpu1.spawn(["sh", "-c", "sleep 0.01 & exec sleep 0.05"])
    wait_until(lambda: not Path(gpu1.root, f"proc/{pid}").exists(), "reaping an orphan")
    states = gpu1.exec(["ps", "-eo", "stat,comm"]).stdout.splitlines()
    assert [line for line in states if line.startswith("Z")] == []


# GPUs and the referee

SHOW = textwrap.dedent(
    """
    import ctypes
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    assert nvml.nvmlInit_v2() == 0
    count = ctypes.c_uint()
    assert nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    for index in range(count.value):
        device, uuid = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        assert nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0
        assert nvml.nvmlDeviceGetUUID(device, uuid, 96) == 0
        print(uuid.value.decode())
    """
)


def test_a_container_sees_exactly_the_gpus_it_was_given(clean_lab: Lab) -> None:
    host = clean_lab.host("gpu2")
    wanted = [host.gpus.uuids[0], host.gpus.uuids[3]]
    script = 'cat /etc/hostler-gpus; echo "$NVIDIA_VISIBLE_DEVICES"; python3 -c "$SHOW"'
    words = ["run", "--rm", "--init", *devices(*wanted), "--label", 'k="v"', "-e", f"SHOW={SHOW}"]
    seen = host.docker(*words, PYTHON, "sh", "-c", script, user="ana").split("\n")
    assert seen == [*wanted, ",".join(wanted), *wanted, ""]
    (grant,) = clean_lab.grants()
    assert (grant.host, grant.gpus, grant.refused) == ("gpu2", tuple(wanted), None)
    assert grant.labels == {"k": '"v"'}
    assert clean_lab.referee_overlaps() == []


def test_the_referee_sees_a_gpu_granted_twice(clean_lab: Lab, gpu1: Host) -> None:
    one, two, three, _ = gpu1.gpus.uuids
    run = ["run", "-d", "--stop-timeout", "0"]
    holder = gpu1.docker(*run, *devices(one, two), BUSYBOX, "sleep", "600").strip()
    gpu1.docker(*run, *devices(three), BUSYBOX, "sleep", "600")
    assert clean_lab.referee_overlaps() == []
    gpu1.docker("run", "--rm", *devices(two), BUSYBOX, "true")
    (overlap,) = clean_lab.referee_overlaps()
    assert (overlap.host, overlap.gpu, overlap.holder) == ("gpu1", two, holder)
    gpu1.docker("rm", "-f", holder)
    gpu1.docker("run", "--rm", *devices(one, two), BUSYBOX, "true")
    assert clean_lab.referee_overlaps() == [overlap]
    assert len(clean_lab.grants()) == 4


def test_of_many_grants_at_one_moment_all_but_one_overlap(clean_lab: Lab, gpu1: Host) -> None:
    words = ["run", "-d", *devices(gpu1.gpus.uuids[0]), BUSYBOX, "sleep", "600"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: gpu1.docker(*words), range(4)))
    assert sorted(len(grant.overlaps) for grant in clean_lab.grants()) == [0, 1, 2, 3]


def test_gpus_that_are_lost_or_unknown_are_refused(clean_lab: Lab, gpu1: Host) -> None:
    lost, elsewhere = gpu1.gpus.uuids[0], clean_lab.host("gpu2").gpus.uuids[0]
    gpu1.gpus.lose(0)
    with pytest.raises(LabError, match=f"{lost}: GPU is lost"):
        gpu1.docker("run", "--rm", *devices(lost), BUSYBOX, "true")
    with pytest.raises(LabError, match=f"{elsewhere}: unknown device"):
        gpu1.docker("run", "--rm", *devices(elsewhere), BUSYBOX, "true")
    assert [bool(grant.refused) for grant in clean_lab.grants()] == [True, True]
    gpu1.gpus.recover(0)
    gpu1.docker("run", "--rm", *devices(lost), BUSYBOX, "true")


def test_pynvml_on_the_host_follows_what_the_test_sets(gpu1: Host) -> None:
    shutil.copy(pynvml.__file__, gpu1.root / "tmp/pynvml.py")
    foreign = gpu1.foreign(gpu=2, user="cleo", memory=3000)
    script = textwrap.dedent(
        """
        import json, pynvml as n
        n.nvmlInit()
        h = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
        pids = [[p.pid for p in n.nvmlDeviceGetComputeRunningProcesses(d)] for d in h]
        print(json.dumps([[n.nvmlDeviceGetUUID(d) for d in h], pids,
                          [n.nvmlDeviceGetName(d) for d in h],
                          n.nvmlDeviceGetUtilizationRates(h[1]).gpu]))
        """
    )
    gpu1.gpus.set(1, utilization=73)
    env = {"PYTHONPATH": "/tmp"}
    done = gpu1.exec(["python3", "-c", script], user="ana", env=env)
    uuids, pids, models, utilization = json.loads(done.stdout)
    assert uuids == gpu1.gpus.uuids
    assert pids == [[], [], [foreign.pid], []]
    assert models[0] == "NVIDIA A100-SXM4-80GB"
    assert utilization == 73
    assert gpu1.exec(["ps", "-o", "user=", "-p", str(foreign.pid)]).stdout.strip() == "cleo"
    foreign.stop()
    assert not gpu1.runs(foreign.pid)
    assert gpu1.gpus.all[2].used == 0


# Trouble


def test_a_cut_is_silence_and_an_open_session_outlives_it(clean_lab: Lab, gpu1: Host) -> None:
    words = ["ssh", "-F", str(clean_lab.ssh_config), "gpu1", "cat"]
    with subprocess.Popen(words, stdin=-1, stdout=-1, text=True, bufsize=1) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("before\n")
        assert session.stdout.readline() == "before\n"
        gpu1.cut()
        session.stdin.write("during\n")
        with pytest.raises(TimeoutError):  # neither "refused" nor "no route to host"
            socket.create_connection((gpu1.address, 22), timeout=0.4)
        assert session.poll() is None
        gpu1.heal()
        assert session.stdout.readline() == "during\n"
        session.stdin.close()
    assert session.returncode == 0


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_cut_of_one_way_is_silence_too(gpu1: Host, way: str) -> None:
    gpu1.cut(way)
    with pytest.raises(TimeoutError):
        socket.create_connection((gpu1.address, 22), timeout=0.4)
    gpu1.heal()
    socket.create_connection((gpu1.address, 22), timeout=5).close()


def test_a_reboot_is_sudden_and_keeps_the_disk(clean_lab: Lab, gpu1: Host) -> None:
    gpu1.exec(["sh", "-c", "echo kept >~/note"], user="ana")
    container = gpu1.docker("run", "-d", BUSYBOX, "sleep", "600").strip()
    old = gpu1.boot_id
    words = ["ssh", "-F", str(clean_lab.ssh_config), "-v", "gpu1", "echo in; sleep 600"]
    with subprocess.Popen(words, stdin=-1, stdout=-1, stderr=-1, text=True) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "in\n"
        gpu1.power_off()
        assert session.poll() is None  # no FIN, no RST: the client knows of nothing
        gpu1.boot()
        gpu1.plug_in()
        gpu1.wait_ready()
        session.kill()
        session.communicate()
    assert gpu1.boot_id != old
    seen = clean_lab.ssh("gpu1", ["cat /proc/sys/kernel/random/boot_id note"]).stdout
    assert seen == f"{gpu1.boot_id}\nkept\n"
    assert gpu1.docker("inspect", "-f", "{{.State.Running}}", container) == "false\n"


def test_without_live_restore_containers_end_with_dockerd(gpu1: Host) -> None:
    words = ["run", "-d", "--stop-timeout", "1", BUSYBOX, "sleep", "600"]
    container = gpu1.docker(*words).strip()
    pid = int(gpu1.docker("inspect", "-f", "{{.State.Pid}}", container))
    gpu1.kill_docker()
    assert gpu1.runs(pid)  # unseen, but alive
    gpu1.start_docker()
    wait_until(lambda: not gpu1.runs(pid), "the end of the orphan")
    state = gpu1.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", container)
    assert state == "exited 137\n"
    left = gpu1.exec(["pgrep", "-f", "containerd-shim|sleep 600"], check=False).stdout
    assert left == ""


def test_a_frozen_host_says_nothing_and_goes_on(gpu1: Host) -> None:
    gpu1.freeze()
    assert not gpu1.docker_answers()
    with pytest.raises(LabError, match="gpu1 is frozen"):
        gpu1.exec(["true"])
    gpu1.thaw()
    assert gpu1.docker_answers()


def test_a_full_disk_is_full_for_containers(gpu1: Host) -> None:
    # In a container that runs already: what Docker says of one it cannot make is not always this.
    container = gpu1.docker("run", "-d", BUSYBOX, "sleep", "600").strip()
    words = ["exec", container, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=9"]
    gpu1.fill_disk()
    with pytest.raises(LabError, match=r"(?i)no space left"):
        gpu1.docker(*words)
    gpu1.unfill_disk()
    gpu1.docker(*words)


# Making and unmaking


@pytest.fixture
def name() -> Iterator[str]:
    need_lab()
    made = own_name("x")
    yield made
    clean.destroy(made)


def test_hosts_can_lack_things_and_nothing_is_left_after_down(name: str) -> None:
    without = {"gpu2": {"docker", "python3", "nvml"}}
    made = Lab.up(2, name=name, without=without, live_restore={"gpu1"})
    gpu1, gpu2 = made.hosts
    probe = ["command -v docker dockerd python3; ls /run/docker.sock /dev/nvidia0; echo ok"]
    assert made.ssh("gpu2", probe).stdout == "ok\n"
    script = ["run", "-d", *devices(gpu1.gpus.uuids[0]), BUSYBOX, "sleep", "600"]
    container = gpu1.docker(*script).strip()
    gpu1.docker("pause", gpu1.docker(*script).strip())  # a paused one must go, too
    gpu1.kill_docker()
    gpu1.start_docker()
    assert gpu1.docker("inspect", "-f", "{{.State.Status}}", container) == "running\n"
    marks = {mark.split()[0] for mark in clean.leftovers(name)}
    assert marks == {"process", "cgroup", "interface", "loop", "mount", "folder"}
    gpu2.freeze()
    made.down()
    assert clean.leftovers(name) == []
    made.down()


def test_a_lab_whose_process_was_killed_is_swept_away(name: str) -> None:
    script = (
        "import sys; from tests.lab.lab import Lab\n"
        f"Lab.up(1, name={name!r}, owned=True)\n"
        "print('up', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert name not in sweep()
        with pytest.raises(LabError, match="in use by process"):
            Lab.up(1, name=name)
        assert Lab.open(name).host("gpu1").docker_answers()
        process.kill()
        process.communicate()
    assert name in sweep()
    assert clean.leftovers(name) == []
    assert name not in names()


def test_a_host_that_is_not_there_is_named() -> None:
    need_lab()
    with pytest.raises(LabError, match="no such host in a lab of 2: gpu3"):
        Lab.up(2, without={"gpu3": {"docker"}})
    with pytest.raises(LabError, match="cannot be without wings"):
        Lab.up(2, without={"gpu1": {"wings"}})
