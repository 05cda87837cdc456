"""A fake `libnvidia-ml.so.1`: built with gcc on first use, driven by a text file.

The file's format is described at the top of fake_nvml.c. A test changes a GPU by `FakeNvml.write`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.programs.cache import cache

SOURCE = Path(__file__).with_name("fake_nvml.c")


def build(folder: Path | None = None) -> Path:
    """Compile the library; its path (`<folder>/<hash>/libnvidia-ml.so.1`), cached by source hash.

    Put the path's parent on LD_LIBRARY_PATH of the process that is to load it. Safe to call from
    several processes at once. Raises CalledProcessError when gcc fails.
    """
    base = folder or cache("hostler-fake-nvml")
    target = base / hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16] / "libnvidia-ml.so.1"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(".part")
            words = [
                "gcc", "-O2", "-Wall", "-Wextra", "-Wno-format-truncation", "-shared", "-fPIC",
                "-fvisibility=hidden", "-Wl,-soname,libnvidia-ml.so.1", "-o", str(partial),
                str(SOURCE), "-lpthread",
            ]  # fmt: skip
            subprocess.run(words, check=True)
            partial.rename(target)
    return target


@dataclass
class FakeGpu:
    """One GPU as the file describes it; memory in MiB, other units as in fake_nvml.c."""

    uuid: str
    name: str = "NVIDIA A100-SXM4-80GB"
    total: int = 81920
    used: int = 0
    reserved: int = 600
    utilization: int = 0
    temperature: int = 31
    power: float = 56.2
    power_limit: float = 400.0
    clock_sm: int = 210
    clock_memory: int = 1593
    ecc: int = 0
    mig: int = 0
    compute_mode: int = 0
    remap: int = 0
    energy: float = 1000.0
    throttle: int = 0
    error: str | int | None = None
    hang: float = 0.0
    unsupported: Sequence[str] = ()
    processes: list[str] = field(default_factory=list)
    """Each "PID:MIB" or "PID:MIB:graphics", with ":load=N" where it computes."""
    xids: list[str] = field(default_factory=list)
    """Each "SERIAL:CODE"."""

    def text(self) -> str:
        """Its section of the file."""
        lines = ["[gpu]"]
        for key, value in vars(self).items():
            if key in ("processes", "xids", "unsupported") or value is None:
                continue
            lines.append(f"{key} = {value}")
        lines += [f"process = {item}" for item in self.processes]
        lines += [f"xid = {item}" for item in self.xids]
        if self.unsupported:
            lines.append(f"unsupported = {','.join(self.unsupported)}")
        return "\n".join(lines) + "\n"


def uuid_of(number: int, host: int = 0) -> str:
    """A UUID that looks like NVML's, the same for the same numbers."""
    return f"GPU-{host:04x}{number:04x}-1234-5678-9abc-def012345678"


class FakeNvml:
    """Writes the control file at `path`; changes take effect at the next NVML call anywhere."""

    def __init__(self, path: Path, count: int = 0, host: int = 0) -> None:
        self.path = path
        self.machine: dict[str, object] = {}
        self.gpus = [FakeGpu(uuid_of(number, host)) for number in range(count)]
        self.write()

    def write(self) -> None:
        """Put what `machine` and `gpus` say into the file, by rename."""
        text = "".join(f"{key} = {value}\n" for key, value in self.machine.items())
        text += "".join(gpu.text() for gpu in self.gpus)
        partial = self.path.with_name(self.path.name + ".part")
        partial.write_text(text)
        partial.rename(self.path)

    def set(self, index: int, **fields: object) -> None:
        """Change fields of one GPU and write the file."""
        for name, value in fields.items():
            if name not in FakeGpu.__dataclass_fields__:
                raise TypeError(f"a fake GPU has no field {name}")
            setattr(self.gpus[index], name, value)
        self.write()

    def unload(self) -> None:
        """Remove the file: the driver is not loaded."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def env(self, library: Path) -> Mapping[str, str]:
        """Environment variables for a process that is to see these GPUs."""
        return {"LD_LIBRARY_PATH": str(library.parent), "HOSTLER_FAKE_NVML": str(self.path)}
