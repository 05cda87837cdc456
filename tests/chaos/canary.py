"""Somebody else's container and process on every host: nothing may ever touch them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.chaos.history import CanaryEnd
from tests.lab.host import Foreign, Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX

GPU = 3
"""Which the process uses; it is left out of what Hostler may give."""
NAME = "canary"


@dataclass(frozen=True, slots=True)
class _Canary:
    boot_id: str
    container_pid: str
    process: Foreign


def _container_pid(host: Host) -> str:
    return host.docker("inspect", "--format", "{{.State.Running}} {{.State.Pid}}", NAME).strip()


class Canaries:
    """One of each on every host. A fault that ends them rightly plants new ones afterwards."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._planted: dict[str, _Canary] = {}
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.plant, lab.hosts))

    def plant(self, host: Host) -> None:
        """New ones: both after a reboot, the container after a restart of Docker that ends it. The
        GPU is somebody's all the time: a moment in which it is free is Hostler's to use."""
        process = self._process(host)
        host.exec(["docker", "rm", "-f", NAME], check=False)
        host.docker("run", "-d", "--name", NAME, "--network", "none", BUSYBOX, "sleep", "1000000")
        self._planted[host.name] = _Canary(host.boot_id, _container_pid(host), process)

    def _process(self, host: Host) -> Foreign:
        before = self._planted.get(host.name)
        if before is not None and before.boot_id == host.boot_id:
            return before.process
        process = host.foreign(GPU)
        if before is not None and before.process.pid != process.pid:
            host.gpus.remove_process(GPU, before.process.pid)
        return process

    def end(self) -> tuple[CanaryEnd, ...]:
        """Whether each is the same one, and alive."""
        ends = []
        for host in self._lab.hosts:
            planted = self._planted[host.name]
            same = _container_pid(host) == planted.container_pid
            runs = host.runs(planted.process.pid)
            uuid = host.gpus.uuids[GPU]
            ends.append(CanaryEnd(host.name, "a container of somebody's", same))
            ends.append(CanaryEnd(host.name, "a process of cleo's", runs, uuid))
        return tuple(ends)
