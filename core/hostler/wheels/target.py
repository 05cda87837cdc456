"""The Python version and platform for which wheels are fetched: accepted Pythons, manylinux tags,
environment markers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler_agent.json_values import Message, string, table

_VERSION = re.compile(r"3\.(\d{1,3})\.(\d{1,3})")
_ABI = re.compile(r"cpython-(3\d{1,3}[a-z]{0,2})")
_MACHINE = re.compile(r"[a-z0-9_]{1,20}")
_GLIBC = re.compile(r"2\.(\d{1,3})")
_PIP = re.compile(r"(\d{1,4})\.(\d{1,4})")
_OLD_TAGS = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""Older names of tags, by the glibc that they need: from before every version had its own tag."""
_MARKERS = (
    "os_name", "platform_machine", "platform_release", "platform_system", "platform_version",
    "platform_python_implementation", "implementation_name", "implementation_version",
    "python_full_version", "python_version", "sys_platform",
)  # fmt: skip
_KERNEL = ("platform_release", "platform_version")
_MAX_MARKER = 500


@dataclass(frozen=True, slots=True)
class Target:
    """The Python of a host: the properties that decide which wheels fit."""

    python: str
    """Like "3.11.2"."""
    abi: str
    """Like "cp311"."""
    machine: str
    """Like "x86_64"."""
    glibc: int | None
    """36 for glibc 2.36; None: another C library."""
    numbered_tags: bool = True
    """Whether its pip knows tags like manylinux_2_28."""
    has_pip: bool = True
    """Whether new environments have a pip."""
    markers: Mapping[str, str] = field(default_factory=dict)
    """The values for conditions of requirements."""

    @property
    def version(self) -> str:
        """Like "3.11"."""
        return self.python.rpartition(".")[0]

    @property
    def platforms(self) -> tuple[str, ...]:
        """Tags of platforms, the best first."""
        found = []
        for needed in range(self.glibc or 0, 4, -1):
            if self.numbered_tags:
                found.append(f"manylinux_2_{needed}_{self.machine}")
            if needed in _OLD_TAGS:
                found.append(f"{_OLD_TAGS[needed]}_{self.machine}")
        return (*found, f"linux_{self.machine}")

    @property
    def key(self) -> str:
        """All that decides which wheels are fetched, as one text. Versions of the kernel do not."""
        names = [name for name in _MARKERS if name not in _KERNEL]
        about = [f"{name}={self.markers.get(name, '')}" for name in names]
        return "\n".join((self.python, self.abi, *self.platforms, *about))

    def __str__(self) -> str:
        libc = f"glibc 2.{self.glibc}" if self.glibc is not None else "a C library other than glibc"
        return f"Python {self.version} on {self.machine} with {libc}"


def _knows_numbered_tags(pip: str) -> bool:
    """If there is no pip, a recent one is sent."""
    found = _PIP.match(pip)
    return found is None or (int(found[1]), int(found[2])) >= (20, 3)


def read_target(said: Message) -> Target:
    """The host's description of its Python. Raises ValueError with a sentence for people."""
    python, machine = string(said.get("python")) or "", string(said.get("machine")) or ""
    abi = _ABI.match(string(said.get("soabi")) or "")
    if string(said.get("implementation")) != "cpython" or abi is None:
        raise ValueError("its Python is not CPython, for which alone packages are fetched")
    if not _VERSION.fullmatch(python) or not _MACHINE.fullmatch(machine):
        raise ValueError("it does not report its Python version")
    glibc = _GLIBC.fullmatch(string(said.get("glibc")) or "")
    pip, markers = string(said.get("pip")) or "", table(said.get("markers"))
    texts = {name: string(markers.get(name)) for name in _MARKERS}
    given = {name: value[:_MAX_MARKER] for name, value in texts.items() if value}
    return Target(
        python, f"cp{abi[1]}", machine, int(glibc[1]) if glibc else None,
        _knows_numbered_tags(pip), bool(pip), given,
    )  # fmt: skip
