"""A lab: several hosts with sshd, dockerd and GPUs, on one machine, as root on Linux.

lab = Lab.up(3)
lab.ssh("gpu1", ["hostname"])
lab.host("gpu2").cut()
lab.down()
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import build, clean, files, net, preflight, referee, template
from tests.lab.disk import copy_disk
from tests.lab.gpus import default_gpus
from tests.lab.host import Host, HostState
from tests.lab.kit import Kit
from tests.lab.layout import CACHE, DEFAULT_NAME, FEATURES, STATE, LabError, LabPaths
from tests.lab.system import locked, process_start


class Lab:
    """Hosts gpu1 ... gpuN on one network, and the referee that watches their GPUs."""

    def __init__(self, paths: LabPaths, network: net.Net, kit: Kit, states: Iterable[HostState]):
        self.paths = paths
        self.net = network
        self._kit = kit
        self.hosts = [Host(state, paths, network, kit) for state in states]

    @classmethod
    def up(
        cls,
        count: int = 3,
        *,
        name: str = DEFAULT_NAME,
        without: Mapping[str, Collection[str]] | None = None,
        gpus: int = 4,
        live_restore: Collection[str] = (),
        owned: bool = False,
    ) -> Lab:
        """Boot `count` hosts and wait until all of them are ready.

        `without` names what hosts do not have: {"gpu3": {"docker"}}; see layout.FEATURES.
        `live_restore` names hosts whose containers outlive dockerd. A lab that is `owned` belongs
        to this process: `sweep` takes it away once the process is gone. A lab of the same name is
        taken away first, unless a living process owns it. Raises LabError.
        """
        lacks = {host: sorted(features) for host, features in (without or {}).items()}
        states = [
            HostState(f"gpu{i}", i, gpus, lacks.get(f"gpu{i}", []), f"gpu{i}" in live_restore)
            for i in range(1, count + 1)
        ]
        _check(states, {*lacks, *live_restore}, count)
        kit = template.complete(build.prepare())
        paths = LabPaths(name)
        with locked(CACHE / ".labs.lock"):
            network = _claim(paths, kit, owned)
        lab = cls(paths, network, kit, states)
        try:
            lab._create()
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def open(cls, name: str = DEFAULT_NAME) -> Lab:
        """A lab that is up, as any process may use it. Raises LabError when there is none."""
        paths = LabPaths(name)
        if not paths.state.exists():
            raise LabError(f"no lab {name} is up: `python -m tests.lab up`")
        state = json.loads(paths.state.read_text())
        found = [json.loads(file.read_text()) for file in paths.folder.glob("hosts/*/state.json")]
        states = sorted((HostState(**item) for item in found), key=lambda state: state.index)
        # What it was made from, not what the sources would make now.
        kit = Kit(**{part: Path(path) for part, path in state["kit"].items()})
        return cls(paths, net.Net(name, state["number"]), kit, states)

    def _create(self) -> None:
        for folder in ("stage", "share"):
            for host in self.hosts:
                (host.paths.folder / folder).mkdir(parents=True)
        self.paths.referee.mkdir()
        files.write_key(self.paths)
        net.make_bridge(self.net)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._create_host, self.hosts))
        files.write_client(self.paths, self.hosts)
        for host in self.hosts:
            host.wait_ready()

    def _create_host(self, host: Host) -> None:
        assert self._kit.template is not None
        copy_disk(self._kit.template, host.paths.disk)
        files.write_share(host, self.paths, self._kit, files.etc_hosts(self.hosts))
        host.gpus.install(default_gpus(host.state.gpus, host.state.index))
        host.boot()
        host.plug_in()

    def down(self) -> None:
        """End everything and leave nothing behind. May be called twice."""
        clean.destroy(self.name)

    @property
    def name(self) -> str:
        """The mark on everything of this lab."""
        return self.paths.name

    @property
    def ssh_config(self) -> Path:
        """With which `ssh -F` and asyncssh reach the hosts by name, as ana."""
        return self.paths.ssh_config

    def host(self, name: str) -> Host:
        """A host by name. Raises LabError when there is none of that name."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"lab {self.name} has no host {name}: it has {_list(self.hosts)}")

    def ssh(
        self, host: str, argv: Sequence[str], *, user: str = "ana", timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host by OpenSSH, as a person would."""
        words = ["ssh", "-F", str(self.ssh_config), "-l", user, host, "--", *argv]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=timeout, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    # The referee

    def grants(self) -> list[referee.Grant]:
        """Every grant of GPUs to a container, on any host, oldest first."""
        return referee.read(self.paths.referee / "grants.jsonl")

    def referee_overlaps(self) -> list[referee.Overlap]:
        """GPUs granted while another live container held them: must be empty."""
        return referee.overlaps(self.grants())

    def reset(self) -> None:
        """Back to the first state, for the next test: no cut, all up, no container, free GPUs.

        Files that people left in their homes stay. The referee forgets.
        """
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Host.reset, self.hosts))
        (self.paths.referee / "grants.jsonl").unlink(missing_ok=True)


def _list(hosts: Iterable[Host]) -> str:
    return ", ".join(host.name for host in hosts)


def _check(states: Sequence[HostState], named: set[str], count: int) -> None:
    reason = preflight.problem()
    if reason:
        raise LabError(reason)
    if not 1 <= count <= 200:
        raise LabError(f"a lab has 1 to 200 hosts, not {count}")
    strange = named - {state.name for state in states}
    if strange:
        raise LabError(f"no such host in a lab of {count}: {', '.join(sorted(strange))}")
    features = {feature for state in states for feature in state.without} - set(FEATURES)
    if features:
        known = ", ".join(FEATURES)
        raise LabError(f"a host cannot be without {', '.join(sorted(features))}: only {known}")


def _claim(paths: LabPaths, kit: Kit, owned: bool) -> net.Net:
    """Take the lab's name and a network for it; called under the lock of all labs."""
    owner = owner_of(paths.name)
    if owner:
        raise LabError(f"lab {paths.name} is in use by process {owner}: take another name")
    clean.destroy(paths.name)
    taken = {json.loads(LabPaths(name).state.read_text())["number"] for name in names()}
    network = net.Net(paths.name, net.free_number(taken))
    paths.folder.mkdir(parents=True)
    pid = os.getpid() if owned else 0
    state = {
        "number": network.number,
        "owner": pid,
        "owner_start": process_start(pid),
        "kit": {item.name: str(getattr(kit, item.name)) for item in dataclasses.fields(kit)},
    }
    paths.state.write_text(json.dumps(state))
    return network


def names() -> list[str]:
    """All labs on this machine."""
    return sorted(file.parent.name for file in STATE.glob("*/lab.json"))


def owner_of(name: str) -> int:
    """The living process, other than this one, that a lab belongs to; 0: none."""
    file = LabPaths(name).state
    if not file.exists():
        return 0
    state = json.loads(file.read_text())
    pid = int(state["owner"])
    alive = pid and process_start(pid) == state["owner_start"]
    return pid if alive and pid != os.getpid() else 0


def sweep() -> list[str]:
    """Take away the labs whose owner has died; their names."""
    gone = []
    with locked(CACHE / ".labs.lock"):
        for name in names():
            owned = json.loads(LabPaths(name).state.read_text())["owner"]
            if owned and owned != os.getpid() and not owner_of(name):
                clean.destroy(name)
                gone.append(name)
    return gone
