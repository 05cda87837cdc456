"""A host's GPUs, changed by writing the file that its fake NVML reads.

The file is the only state: any process may read and change it, also while the host is down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.lab.layout import LabError
from tests.lab.system import locked
from tests.support.programs.fake_nvml import FakeGpu, FakeNvml, uuid_of

A100 = ("NVIDIA A100-SXM4-80GB", 81559, 400.0)
RTX3090 = ("NVIDIA GeForce RTX 3090", 24576, 350.0)

_ALIASES = {"memory_used": "used", "memory_total": "total"}
_LISTS = {"process": "processes", "xid": "xids"}


def default_gpus(count: int, host: int) -> list[FakeGpu]:
    """The first half A100s, the rest RTX 3090s; UUIDs that differ between all hosts."""
    made = []
    for number in range(count):
        name, total, limit = A100 if number < (count + 1) // 2 else RTX3090
        uuid = uuid_of(number, host)
        made.append(FakeGpu(uuid, name=name, total=total, power_limit=limit))
    return made


def parse_value(field: str, text: str) -> object:
    """The value of a field of FakeGpu (or of an alias), written as in the control file."""
    field = _ALIASES.get(field, field)
    if field not in {item.name for item in dataclasses.fields(FakeGpu)}:
        raise LabError(f"a fake GPU has no field {field}")
    if field == "error":
        if text in ("", "none"):
            return None
        return int(text) if text.lstrip("-").isdigit() else text
    kind = type(getattr(FakeGpu(""), field))
    if kind in (list, tuple):
        return [item for item in text.split(",") if item]
    return int(text, 0) if kind is int else kind(text)


def parse(text: str) -> tuple[dict[str, object], list[FakeGpu]]:
    """What a control file says: the machine's keys, and its GPUs."""
    machine: dict[str, object] = {}
    gpus: list[FakeGpu] = []
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "[gpu]":
            gpus.append(FakeGpu(""))
        elif not key or key.startswith("#"):
            continue
        elif not gpus:
            machine[key] = value
        elif key in _LISTS:
            getattr(gpus[-1], _LISTS[key]).append(value)
        else:
            setattr(gpus[-1], key, parse_value(key, value))
    return machine, gpus


class GpuPanel:
    """The GPUs of one host, by index. Memory is in MiB; PIDs are those of the host."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def install(self, gpus: Sequence[FakeGpu]) -> None:
        """Replace all GPUs."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write({}, list(gpus))

    def _write(self, machine: dict[str, object], gpus: list[FakeGpu]) -> None:
        # FakeNvml writes as it is made: filled first, so that no reader sees it empty.
        fake = FakeNvml.__new__(FakeNvml)
        fake.path, fake.machine, fake.gpus = self._path, machine, gpus
        fake.write()

    def _read(self) -> tuple[dict[str, object], list[FakeGpu]]:
        hidden = self._path.with_name("nvml.unloaded")
        return parse((self._path if self._path.exists() else hidden).read_text())

    def change(self, edit: Callable[[dict[str, object], list[FakeGpu]], None]) -> None:
        """Let `edit` change the machine's keys and the GPUs in place, as one step."""
        with locked(self._path.with_name("lock")):
            machine, gpus = self._read()
            edit(machine, gpus)
            self._write(machine, gpus)

    @property
    def all(self) -> list[FakeGpu]:
        """As they are now."""
        return self._read()[1]

    @property
    def uuids(self) -> list[str]:
        """In index order."""
        return [gpu.uuid for gpu in self.all]

    def set(self, index: int, **fields: object) -> None:
        """Change fields of one GPU: those of FakeGpu, and `memory_used`, `memory_total`.

        `processes` may hold (pid, MiB) pairs as well as "PID:MIB" texts.
        """
        wanted = {_ALIASES.get(name, name): value for name, value in fields.items()}
        unknown = set(wanted) - {field.name for field in dataclasses.fields(FakeGpu)}
        if unknown:
            raise LabError(f"a fake GPU has no field {', '.join(sorted(unknown))}")
        if "processes" in wanted:
            wanted["processes"] = [_process(item) for item in wanted["processes"]]  # type: ignore[attr-defined]

        def edit(_: dict[str, object], gpus: list[FakeGpu]) -> None:
            for name, value in wanted.items():
                setattr(gpus[index], name, value)

        self.change(edit)

    def add_process(self, index: int, pid: int, memory: int) -> None:
        """Show a process of the host on a GPU, with its memory."""

        def edit(_: dict[str, object], gpus: list[FakeGpu]) -> None:
            gpus[index].processes.append(f"{pid}:{memory}")
            gpus[index].used += memory

        self.change(edit)

    def remove_process(self, index: int, pid: int, *, keep_memory: bool = False) -> None:
        """Show it no more; `keep_memory`: as when a dead process' memory does not come back."""

        def edit(_: dict[str, object], gpus: list[FakeGpu]) -> None:
            gone = [item for item in gpus[index].processes if item.split(":")[0] == str(pid)]
            for item in gone:
                gpus[index].processes.remove(item)
                if not keep_memory:
                    gpus[index].used -= int(item.split(":")[1])

        self.change(edit)

    def lose(self, index: int) -> None:
        """The GPU falls off the bus."""
        self.set(index, error="lost")

    def recover(self, index: int) -> None:
        """It answers again."""
        self.set(index, error=None, hang=0.0)

    def xid(self, index: int, code: int) -> None:
        """Report a fault, once."""

        def edit(_: dict[str, object], gpus: list[FakeGpu]) -> None:
            serials = [int(item.split(":")[0]) for gpu in gpus for item in gpu.xids]
            gpus[index].xids.append(f"{max(serials, default=0) + 1}:{code}")

        self.change(edit)

    def machine(self, **keys: object) -> None:
        """Change the machine's keys (driver, cuda, init_error, missing); None removes one."""

        def edit(machine: dict[str, object], _: list[FakeGpu]) -> None:
            machine.update(keys)
            for name in [name for name, value in machine.items() if value is None]:
                del machine[name]

        self.change(edit)

    def unload(self) -> None:
        """As if the driver were not loaded, until `load`."""
        self._path.rename(self._path.with_name("nvml.unloaded"))

    def load(self) -> None:
        """Undo `unload`."""
        self._path.with_name("nvml.unloaded").rename(self._path)


def _process(item: object) -> str:
    if isinstance(item, str):
        return item
    assert isinstance(item, tuple)
    return f"{item[0]}:{item[1]}"
