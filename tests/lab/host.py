"""One lab host: boot it, run things in it, cut it off, kill parts of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.lab import cgroups, net
from tests.lab.disk import disk_users
from tests.lab.gpus import GpuPanel, default_gpus
from tests.lab.kit import Kit
from tests.lab.layout import USERS, HostPaths, LabError, LabPaths
from tests.lab.system import process_start, run, wait_until

_FILLER = "/var/lib/docker/filler"
"""What fills the disk of a host."""
# All that people run ends: sessions, agents, detached processes; and their SSH with them. Leases
# are left by tests that failed.
_RESET = f"""
{net.undrop_script("in", "out")}
rm -rf {_FILLER} /var/tmp/hostler/leases
pkill -KILL -u "$1"
true
"""
"""Undoes trouble inside a host, in one process: to enter a host costs as much as all of it."""


@dataclass
class HostState:
    """What the lab keeps about a host between processes (in the host's state.json)."""

    name: str
    index: int
    """Counts from 1; gives its address."""
    gpus: int = 4
    without: list[str] = field(default_factory=list)
    live_restore: bool = False
    """Whether containers outlive dockerd."""
    pid: int = 0
    """Its init, as this machine numbers it; 0: not booted."""
    start: int = 0
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Somebody's process, started past Hostler and shown on a GPU."""

    host: Host
    gpu: int
    pid: int
    """As the host numbers it."""

    def stop(self, *, keep_memory: bool = False) -> None:
        """End it and take it off the GPU; `keep_memory`: its memory does not come back."""
        self.host.kill(self.pid)
        self.host.gpus.remove_process(self.gpu, self.pid, keep_memory=keep_memory)


class Host:
    """A running (or just rebooting) machine of the lab."""

    def __init__(self, state: HostState, lab: LabPaths, network: net.Net, kit: Kit) -> None:
        self.state = state
        self.paths: HostPaths = lab.host(state.name)
        self.gpus = GpuPanel(self.paths.gpus)
        self._lab = lab
        self._net = network
        self._kit = kit

    @property
    def name(self) -> str:
        """Its hostname: gpu1, gpu2, ..."""
        return self.state.name

    @property
    def address(self) -> str:
        """Its IPv4 address, reachable from this machine."""
        return str(self._net.address(self.state.index))

    @property
    def boot_id(self) -> str:
        """Another one after every boot."""
        return self.state.boot_id

    @property
    def alive(self) -> bool:
        """Whether its init runs."""
        return self.state.pid > 0 and process_start(self.state.pid) == self.state.start

    @property
    def root(self) -> Path:
        """Its root directory, as this machine can reach it while it is alive."""
        return Path(f"/proc/{self.state.pid}/root")

    def has(self, feature: str) -> bool:
        """Whether it was made with "docker", "python3", "nvml" or "nvidia-docker"."""
        return feature not in self.state.without

    # Booting and dying

    def boot(self) -> None:
        """Start it: namespaces, mounts, init, network. Its services come up by themselves."""
        groups = cgroups.create(self._lab.name, self.name)
        self.state.boot_id = str(uuid.uuid4())
        words = [
            f"name={self.name}",
            f"base={self._kit.base}",
            f"disk={self.paths.disk}",
            f"stage={self.paths.stage}",
            f"share={self.paths.share}",
            f"referee={self._lab.referee}",
            f"boot_id={self.state.boot_id}",
            *(f"cgroup={item.kind}:{path}:{item.place}:{item.options}" for item, path in groups),
        ]
        self.state.pid = int(run([self._kit.program("boot"), *words]))
        self.state.start = process_start(self.state.pid)
        self._save()

    def _save(self) -> None:
        self.paths.state.write_text(json.dumps(asdict(self.state), indent=1))

    def plug_in(self) -> None:
        """Connect it to the lab's bridge."""
        net.plug_in(self._net, self.state.index, self.state.pid)

    def power_off(self) -> None:
        """As if the power were cut: the link goes first, so that no packet says goodbye."""
        with contextlib.suppress(LabError):  # no cable, as when the base is being made
            net.link(self._net, self.state.index, False)
        if self.alive:
            os.kill(self.state.pid, signal.SIGKILL)
        cgroups.kill(self._lab.name, self.name)
        cgroups.remove(self._lab.name, self.name)
        net.unplug(self._net, self.state.index)
        self.state.pid = self.state.start = 0
        wait_until(lambda: not disk_users(self.paths.disk), f"unmounting the disk of {self.name}")

    def reboot(self, *, wait: bool = True) -> None:
        """Cut its power, and boot it from the same disk; `wait` until it is ready."""
        self.power_off()
        self.boot()
        self.plug_in()
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Until sshd greets and dockerd (if it has one) answers."""
        wait_until(self._ssh_greets, f"a greeting of sshd on {self.name}", timeout=timeout)
        if self.has("docker"):
            self.wait_docker(timeout)

    def _ssh_greets(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as link:
                link.settimeout(1)
                return link.recv(4) == b"SSH-"
        except OSError:
            return False

    # Docker

    @property
    def docker_socket(self) -> Path:
        """Docker's socket, as this machine can reach it past SSH."""
        return self.root / "run/docker.sock"

    def docker_answers(self) -> bool:
        """Whether dockerd answers a ping within a second."""
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(1)
                link.connect(str(self.docker_socket))
                link.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in link.recv(64)
        except OSError:
            return False

    def wait_docker(self, timeout: float = 30.0) -> None:
        """Until dockerd answers. Raises LabError with the end of its log."""

        def log() -> str:
            with contextlib.suppress(OSError):
                return (self.root / "var/log/dockerd.log").read_text()[-2000:]
            return ""

        wait_until(self.docker_answers, f"dockerd on {self.name}", timeout=timeout, why=log)

    def docker(self, *words: str, user: str = "root", timeout: float = 60.0) -> str:
        """Run the docker command on the host; its stdout. Raises LabError with its stderr."""
        return self.exec(["docker", *words], user=user, timeout=timeout).stdout

    def containers_of(self, run_id: str) -> list[str]:
        """The short ids of all containers of a run that it has, running or not."""
        return self.docker("ps", "-aq", "--filter", f"label=hostler.run={run_id}").split()

    def docker_lacks(self, ref: str) -> bool:
        """Its Docker answers that there is no such container, whatever it lists."""
        try:
            self.docker("inspect", ref)
        except LabError as error:
            if "no such object" in str(error).lower():
                return True
            raise
        return False

    def docker_pid(self) -> int | None:
        """dockerd's pid on the host, or None."""
        done = self.exec(["pidof", "dockerd"], check=False)
        return int(done.stdout.split()[0]) if done.stdout.strip() else None

    def kill_docker(self) -> None:
        """SIGKILL dockerd; containers and their shims run on, unseen, until it is back."""
        pid = self.docker_pid()
        if pid is None:
            return
        self.kill(pid)
        wait_until(lambda: not self.docker_answers(), f"the end of dockerd on {self.name}")

    def start_docker(self, timeout: float = 30.0, driver: str = "overlay2") -> None:
        """Start dockerd again and wait until it answers."""
        env = {"STORAGE_DRIVER": driver}
        self.exec(["sh", "/run/hostler-lab/start-docker"], env=env)
        self.wait_docker(timeout)

    # Network

    def cut(self, way: str = "both") -> None:
        """Silence: "both" pulls the plug; "in" or "out" loses the packets of that way only."""
        if way == "both":
            net.link(self._net, self.state.index, False)
        elif way in ("in", "out"):
            self.exec(["sh", "-c", f"{net.undrop_script(way)}; {net.drop_command('-I', way)}"])
        else:
            raise LabError(f'cut what? "{way}" is none of "both", "in", "out"')

    def heal(self) -> None:
        """Undo every cut."""
        self.exec(["sh", "-c", net.undrop_script("in", "out")])
        net.link(self._net, self.state.index, True)

    # Running things in it

    def popen(
        self, argv: Sequence[str], *, user: str = "root", env: Mapping[str, str] | None = None,
        stdin: int | None = subprocess.DEVNULL, stdout: int | None = None,
        stderr: int | None = None,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """A process in the host, as `subprocess.Popen` starts it; killing it kills it there."""
        return subprocess.Popen(
            self._enter(argv, user),
            env=self._environment(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def exec(
        self, argv: Sequence[str], *, user: str = "root", env: Mapping[str, str] | None = None,
        text: str = "", check: bool = True, timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command in the host, with `text` on stdin. Raises LabError when `check` fails."""
        done = subprocess.run(
            self._enter(argv, user), env=self._environment(env), input=text,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise LabError(f"{self.name}: `{' '.join(argv)}` failed ({done.returncode}): {said}")
        return done

    def spawn(self, argv: Sequence[str], *, user: str = "root") -> int:
        """Start a process that stays, detached, in a session of its own; its pid on the host."""
        script = 'setsid "$@" </dev/null >/dev/null 2>&1 & echo $!'
        return int(self.exec(["sh", "-c", script, "sh", *argv], user=user).stdout)

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a process of the host; one that is gone is no error."""
        self.exec(["kill", f"-{int(number)}", str(pid)], check=False)

    def runs(self, pid: int) -> bool:
        """Whether a process of the host lives (a zombie does not)."""
        done = self.exec(["cat", f"/proc/{pid}/stat"], check=False)
        return not done.returncode and done.stdout.rpartition(")")[2].split()[0] not in "ZX"

    def foreign(self, gpu: int = 0, user: str = "cleo", memory: int = 4096) -> Foreign:
        """Somebody's own process on a GPU, with that much memory (MiB), past Hostler."""
        pid = self.spawn(["sleep", "infinity"], user=user)
        self.gpus.add_process(gpu, pid, memory)
        return Foreign(self, gpu, pid)

    def _enter(self, argv: Sequence[str], user: str) -> list[str]:
        if not self.alive:
            raise LabError(f"{self.name} does not run")
        if cgroups.frozen(self._lab.name, self.name):  # whatever enters would freeze as well
            raise LabError(f"{self.name} is frozen: thaw it first")
        groups = [str(item.group(self._lab.name, self.name)) for item in cgroups.hierarchies()]
        if len(groups) == 1:  # cgroup 2 alone: processes may only sit in a leaf
            groups = [f"{groups[0]}/init"]
        program = str(self._kit.program("enter"))
        return [program, str(self.state.pid), user, *groups, "--", *argv]

    @staticmethod
    def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
        return {f"HLAB_ENV_{name}": value for name, value in (env or {}).items()}

    # Other trouble

    def freeze(self) -> None:
        """Stop every process where it stands: the host is there, and says nothing."""
        cgroups.freeze(self._lab.name, self.name)

    def thaw(self) -> None:
        """Undo `freeze`."""
        cgroups.thaw(self._lab.name, self.name)

    def fill_disk(self) -> None:
        """Leave no byte free on the disk that holds its root and Docker's data."""
        script = (
            "size=$(df --output=avail --block-size=1 /var/lib/docker | tail -n 1) && "
            f"fallocate --length $((size * 99 / 100)) {_FILLER} && "
            f"cat /dev/zero 2>/dev/null >>{_FILLER}; true"
        )
        self.exec(["sh", "-c", script])

    def unfill_disk(self) -> None:
        """Undo `fill_disk`."""
        self.exec(["rm", "-f", _FILLER])

    def revoke_gpus(self) -> None:
        """Its containers may not open their GPUs any more, as after `systemctl daemon-reload` where
        they were given past the engine. Cgroup 1 only: else they are given no node to open."""
        script = (
            "for deny in /sys/fs/cgroup/devices/docker/*/devices.deny; do"
            " echo 'c 195:* rwm' >$deny; done"
        )
        self.exec(["sh", "-c", script])

    def reset(self) -> None:
        """Heal, thaw, restart what is dead, remove containers, leases and foreign processes."""
        if not self.alive:
            self.reboot(wait=False)
        self.thaw()
        net.link(self._net, self.state.index, True)
        self.gpus.install(default_gpus(self.state.gpus, self.state.index))
        self.exec(["sh", "-c", _RESET, "sh", ",".join(USERS)])
        if not self.has("docker"):
            self.wait_ready()
            return
        self.wait_ready() if self.docker_answers() or self.docker_pid() else self.start_docker()
        if self._containers():
            self.exec(["sh", "-c", "docker rm -f $(docker ps -aq)"])

    def _containers(self) -> list[object]:
        """All containers, asked without the docker command, whose start takes 25 ms of CPU time."""
        link = http.client.HTTPConnection("docker", timeout=60)
        with contextlib.closing(link), socket.socket(socket.AF_UNIX) as link.sock:
            link.sock.connect(str(self.docker_socket))
            link.request("GET", "/containers/json?all=1")
            found: list[object] = json.loads(link.getresponse().read())
            return found
