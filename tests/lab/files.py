"""The files a lab writes: each host's own folder, and the client's SSH configuration."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from tests.lab.host import Host
from tests.lab.kit import Kit
from tests.lab.layout import HERE, LabPaths
from tests.lab.system import run

_COPIED = {"rc.sh": "rc", "start-docker.sh": "start-docker", "sshd_config": "sshd_config"}


def write_share(host: Host, lab: LabPaths, kit: Kit, hosts: str) -> None:
    """Fill the folder that the host sees as /run/hostler-lab. `hosts` becomes its /etc/hosts."""
    share = host.paths.share
    for source, name in _COPIED.items():
        shutil.copy(HERE / source, share / name)
    shutil.copy(kit.library, share / "libnvidia-ml.so.1")
    shutil.copy(kit.program("hook"), share / "hook")
    (share / "hosts").write_text(hosts)
    (share / "features").write_text(_features(host))
    (share / "gpus").mkdir(exist_ok=True)
    key = share / "ssh_host_ed25519_key"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", key])
    if lab.key.exists():
        shutil.copy(lab.key.with_suffix(".pub"), share / "authorized_keys")


def _features(host: Host) -> str:
    def flag(feature: str) -> str:
        return "1" if host.has(feature) else ""

    hook = flag("nvidia-docker") and flag("nvml")
    lines = {
        "NAME": host.name,
        "GPUS": str(host.state.gpus),
        "DOCKER": flag("docker"),
        "PYTHON": flag("python3"),
        "NVML": flag("nvml"),
        "HOOK": hook,
        "LIVE_RESTORE": "1" if host.state.live_restore else "",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def write_key(lab: LabPaths) -> None:
    """The client's key, which opens every account on every host of this lab."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", lab.name, "-f", lab.key])


def etc_hosts(hosts: Iterable[Host]) -> str:
    """/etc/hosts for all hosts: they know each other by name."""
    lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}" for host in hosts)]
    return "\n".join(lines) + "\n"


def write_client(lab: LabPaths, hosts: Iterable[Host]) -> None:
    """ssh_config and known_hosts, with which this machine reaches the hosts by name as ana."""
    config, known = [], []
    for host in hosts:
        public = (host.paths.share / "ssh_host_ed25519_key.pub").read_text().split()
        known.append(f"{host.name},{host.address} {public[0]} {public[1]}")
        config += [f"Host {host.name}", f"    HostName {host.address}"]
    config += [
        "Host *",
        "    User ana",
        f"    IdentityFile {lab.key}",
        "    IdentitiesOnly yes",
        f"    UserKnownHostsFile {lab.known_hosts}",
        "    GlobalKnownHostsFile /dev/null",
        "    StrictHostKeyChecking yes",
        "    BatchMode yes",
    ]
    lab.ssh_config.write_text("\n".join(config) + "\n")
    lab.known_hosts.write_text("\n".join(known) + "\n")
