"""Where the lab keeps things, and what its parts are called. Constants and paths only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path("/var/cache/hostler-lab")
"""The Debian base, programs, images and the template disk: made once, kept for all labs."""
STATE = Path("/var/lib/hostler-lab")
"""One folder a lab, gone after `down`."""
CGROUP = "hostler-lab"
"""The cgroup above all labs, in every hierarchy."""

DEFAULT_NAME = "hlab"
NAME = re.compile(r"hlab[a-z0-9]{0,7}")
"""Short, since it begins the names of network interfaces (15 characters in all)."""

USERS = {"ana": 2001, "bo": 2002, "cleo": 2003}
"""The people on every host and their uids; cleo is not in group docker."""
DOCKER_USERS = ("ana", "bo")
BUSYBOX = "hostler-lab/busybox:1"
PYTHON = "hostler-lab/python:1"
FEATURES = ("docker", "python3", "nvml", "nvidia-docker")
"""What a host can be made without."""


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class LabPaths:
    """The files of one lab."""

    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise LabError(f"{self.name!r} is no lab name: it must match {NAME.pattern}")

    @property
    def folder(self) -> Path:
        """Everything of this lab lies here."""
        return STATE / self.name

    @property
    def state(self) -> Path:
        """JSON: number of its network, owner."""
        return self.folder / "lab.json"

    @property
    def key(self) -> Path:
        """The client's private key, made for this lab alone."""
        return self.folder / "id_ed25519"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`, and for asyncssh."""
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """The hosts' keys, by name and by address."""
        return self.folder / "known_hosts"

    @property
    def referee(self) -> Path:
        """The folder that all hosts see as /run/hostler-referee."""
        return self.folder / "referee"

    def host(self, name: str) -> HostPaths:
        """The files of one host."""
        return HostPaths(self.folder / "hosts" / name)


@dataclass(frozen=True, slots=True)
class HostPaths:
    """The files of one host, as the machine sees them."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The ext4 image with what was written to its root, and Docker's data."""
        return self.folder / "disk.img"

    @property
    def state(self) -> Path:
        """JSON: what it was made with, and its init's pid."""
        return self.folder / "state.json"

    @property
    def stage(self) -> Path:
        """An empty folder; mounted upon in the host's own mount namespace only."""
        return self.folder / "stage"

    @property
    def share(self) -> Path:
        """The folder that the host sees as /run/hostler-lab."""
        return self.folder / "share"

    @property
    def gpus(self) -> Path:
        """The file that the host's NVML reads."""
        return self.share / "gpus" / "nvml"
