"""What is made once and kept in the cache: the Debian base, the programs, the NVML library.

Every piece lies in a folder named by a hash of all it was made from, and is put there by rename.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.lab.kit import Kit
from tests.lab.layout import CACHE, DOCKER_USERS, HERE, USERS
from tests.lab.system import locked, run
from tests.support.programs import fake_nvml

PACKAGES = (
    "openssh-server", "openssh-client", "python3", "docker.io", "docker-cli", "iptables",
    "iproute2", "procps", "ca-certificates", "iputils-ping", "util-linux",
)  # fmt: skip
"""In each host, on top of Debian's minimal system."""
_RECIPE = "1"
"""Counted up when the code here makes something else of the same inputs."""


def mirror() -> tuple[str, str]:
    """Debian's suite and mirror for the base, which HOSTLER_LAB_SUITE and _MIRROR override."""
    suite = os.environ.get("HOSTLER_LAB_SUITE", "trixie")
    return suite, os.environ.get("HOSTLER_LAB_MIRROR", "http://deb.debian.org/debian")


def digest(*parts: str | bytes) -> str:
    """A short hash of texts and bytes."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
        whole.update(b"\0")
    return whole.hexdigest()[:12]


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The file or folder `name` of the cache, made by `make(partial path)` if it is not there."""
    target = CACHE / name
    if target.exists():
        return target
    with locked(CACHE / f".{name}.lock"):
        if not target.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            partial = CACHE / f".{name}.part"
            shutil.rmtree(partial, ignore_errors=True)
            partial.unlink(missing_ok=True)
            make(partial)
            partial.rename(target)
    return target


def prepare() -> Kit:
    """Everything but the template disk (see template.py). About a minute the first time."""
    library = fake_nvml.build(CACHE / "fake-nvml")
    return Kit(base=_base(), programs=_programs(), library=library)


def _base() -> Path:
    suite, _ = mirror()
    return cached(f"base-{digest(suite, _RECIPE, *PACKAGES, str(USERS))}", _debootstrap)


def _debootstrap(target: Path) -> None:
    suite, address = mirror()
    include = ",".join(PACKAGES)
    run(
        ["debootstrap", "--variant=minbase", f"--include={include}", suite, target, address],
        timeout=1200,
    )
    for name, uid in USERS.items():
        groups = ["-G", "docker"] if name in DOCKER_USERS else []
        # "*" is no password and, unlike "!", no locked account: keys work.
        words = ["-u", str(uid), "-U", "-m", "-s", "/bin/bash", "-p", "*", *groups, name]
        run(["chroot", target, "useradd", *words])
    for pattern in ("etc/ssh/ssh_host_*", "var/cache/apt/**/*.deb", "var/lib/apt/lists/*_*"):
        for path in target.glob(pattern):
            path.unlink()
    (target / "etc/resolv.conf").write_text("")
    (target / "etc/machine-id").write_text("")


def _programs() -> Path:
    sources = [HERE / "c" / f"{name}.c" for name in ("boot", "enter", "hook")]
    texts = [source.read_bytes() for source in sources]
    return cached(f"programs-{digest(*texts)}", lambda target: _compile(sources, target))


def _compile(sources: list[Path], target: Path) -> None:
    target.mkdir()
    for source in sources:
        run(["gcc", "-O2", "-Wall", "-Wextra", "-o", target / source.stem, source])
