"""How the fleet screen filters, sorts and groups hosts and GPUs: its filter fields, sort columns
and groups. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from hostler.base.gpu_models import short_model
from hostler.model.views.gpus import FleetView, GpuView, HostGpus
from hostler.show.progress import ranges
from hostler_tui.filtering import Filter, Value
from hostler_tui.gpus.holders import Holders

FIELDS = (
    "host", "model", "state", "owner", "run", "free", "gpus", "util", "memory", "used", "temp",
    "power", "age", "condition", "why",
)  # fmt: skip
"""The fields that a filter may use. `free` and `gpus` count the host's; the fields from `util` on
are of one GPU."""

NO_FILTER = Filter()

GROUPS = ("host", "model", "owner", "state")


@dataclass(frozen=True, slots=True)
class Block:
    """A host with its visible GPUs."""

    host: HostGpus
    gpus: tuple[GpuView, ...]

    @property
    def name(self) -> str:
        """The host's."""
        return str(self.host["host"])


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks under a heading; an empty title shows none."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """The order of the list; kept while another screen is open."""

    filter: Filter = NO_FILTER
    sort: str = "lab"
    down: bool = False
    """The largest first."""
    group: str = "host"

    def by(self, sort: str) -> Order:
        """Sort by another column; the same column again reverses the order."""
        return replace(self, sort=sort, down=not self.down if sort == self.sort else False)

    def beside(self, by: int) -> Order:
        """Sort by the next column to the left or right."""
        names = list(SORTS)
        return replace(self, sort=names[(names.index(self.sort) + by) % len(names)], down=False)


def arrange(fleet: FleetView, order: Order, held: Holders, *, whole: bool = False) -> list[Group]:
    """The visible groups, with the rows that match the filter; `whole`: ungrouped, all GPUs of a
    matching host are shown."""
    blocks = [_passing(host, order.filter, held) for host in fleet["hosts"]]
    kept = _sorted([block for block in blocks if block is not None], order)
    if order.group == "host":
        if whole:
            kept = [Block(block.host, tuple(block.host["gpus"])) for block in kept]
        return [Group("", "", tuple(kept))] if kept else []
    return _grouped(kept, order.group)


def _passing(host: HostGpus, filter: Filter, held: Holders) -> Block | None:
    if not filter:
        return Block(host, tuple(host["gpus"]))
    shared = _host_fields(host)
    kept = tuple(g for g in host["gpus"] if filter.holds(_gpu_fields(host, g, shared, held)))
    alone = not host["gpus"] and filter.holds({**shared, "state": str(host["condition"])})
    return Block(host, kept) if kept or alone else None


def _host_fields(host: HostGpus) -> dict[str, Value]:
    return {
        "host": str(host["host"]),
        "free": sum(gpu["state"] == "free" for gpu in host["gpus"]),
        "gpus": len(host["gpus"]),
        "age": host.get("age_s"),
        "condition": str(host["condition"]),
        "why": str(host.get("problem") or host.get("drained") or ""),
    }


def _gpu_fields(
    host: HostGpus, gpu: GpuView, shared: Mapping[str, Value], held: Holders
) -> dict[str, Value]:
    return {
        **shared,
        "model": model_text(gpu.get("model"), gpu.get("memory_total")),
        "state": str(gpu["state"]),
        "owner": tuple(map(str, gpu.get("owners") or ())),
        "run": held.get((str(host["host"]), str(gpu["uuid"])), ""),
        "util": gpu.get("utilization"),
        "memory": gpu.get("memory_total"),
        "used": gpu.get("memory_used"),
        "temp": gpu.get("temperature"),
        "power": gpu.get("power"),
        "why": f"{shared['why']} {gpu.get('why') or ''}",
    }


@lru_cache(4096)
def model_text(name: str | None, memory_total: int | None) -> str:
    """ "A100-80G"; cached, since a lab has few models and many GPUs."""
    return short_model(name, memory_total)


def model_of(block: Block) -> str:
    """The models of a host, each once."""
    names = (model_text(g.get("model"), g.get("memory_total")) for g in block.host["gpus"])
    return ",".join(dict.fromkeys(names)) or "-"


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else -1.0


def _state_count(block: Block, state: str) -> int:
    return sum(gpu["state"] == state for gpu in block.gpus)


def _owner_of(block: Block) -> str:
    names = sorted(str(o) for g in block.gpus for o in g.get("owners") or ())
    return names[0] if names else "~"


SORTS: Mapping[str, Callable[[Block], str] | Callable[[Block], float]] = {
    "lab": lambda block: 0,
    "name": lambda block: block.name,
    "model": model_of,
    "free": lambda block: -_state_count(block, "free"),
    "util": lambda block: -_mean(gpu["utilization"] for gpu in block.gpus),
    "temperature": lambda block: -_mean(gpu["temperature"] for gpu in block.gpus),
    "owner": _owner_of,
    "age": lambda block: -(block.host.get("age_s") or 0.0),
}
"""The sort keys for hosts; "lab" is the order of the configuration."""


def _sorted(blocks: list[Block], order: Order) -> list[Block]:
    if order.sort == "lab":
        return blocks[::-1] if order.down else blocks
    return sorted(blocks, key=SORTS[order.sort], reverse=order.down)


def _grouped(blocks: Sequence[Block], group: str) -> list[Group]:
    found: dict[str, list[Block]] = {}
    for block in blocks:
        parts: dict[str, list[GpuView]] = {}
        for gpu in block.gpus:
            for key in _keys(gpu, group):
                parts.setdefault(key, []).append(gpu)
        for key, gpus in (parts or {"no GPUs": []}).items():
            found.setdefault(key, []).append(Block(block.host, tuple(gpus)))
    return [Group(key, _title(key, found[key]), tuple(found[key])) for key in sorted(found)]


def _keys(gpu: GpuView, group: str) -> Sequence[str]:
    if group == "model":
        return (model_text(gpu.get("model"), gpu.get("memory_total")),)
    if group == "state":
        return (str(gpu["state"]),)
    return sorted({str(owner) for owner in gpu.get("owners") or ()}) or ("nobody",)


def _title(key: str, blocks: Sequence[Block]) -> str:
    gpus = [gpu for block in blocks for gpu in block.gpus]
    free = sum(gpu["state"] == "free" for gpu in gpus)
    return f"{key}  {free} of {len(gpus)} free" if gpus else key


@lru_cache(4096)
def indices_text(indices: tuple[int, ...]) -> str:
    """ ":0-3,5"."""
    return ":" + ranges(indices)
