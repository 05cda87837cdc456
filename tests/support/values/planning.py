"""Small builders of planner values: everything has a default, so that a test names what matters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from hostler.base.units import GIB
from hostler.model.hosts import (
    Gpu,
    GpuProcess,
    Host,
    HostCondition,
    HostFacts,
    Lease,
    Look,
    Workload,
)
from hostler.model.pipelines import Resources, Stage, StageKind
from hostler.model.plans import Action, Snapshot
from hostler.model.runs import Attempt, Phase, Run

T = TypeVar("T")

NOW = 1_000_000.0
DAEMON = "d0d0d0d0d0d0"
OTHER = "feedfeedfeed"
BOOT = "boot-1"
A100 = "NVIDIA A100-SXM4-80GB"
RTX = "NVIDIA GeForce RTX 3090"


def gpu(host: str, index: int, name: str = A100, size: int = 80, **fields: Any) -> Gpu:
    """A free, healthy GPU of `size` GiB."""
    values: dict[str, Any] = {"memory_total": size * GIB, "memory_used": 0, **fields}
    return Gpu(f"GPU-{host}-{index}", index, name, **values)


def gpus(host: str, number: int, name: str = A100, size: int = 80) -> tuple[Gpu, ...]:
    """So many free GPUs."""
    return tuple(gpu(host, i, name, size) for i in range(number))


def host(
    name: str = "gpu1",
    cards: int | Iterable[Gpu] = 4,
    *,
    asked_at: float = NOW - 0.5,
    look: dict[str, Any] | None = None,
    **fields: Any,
) -> Host:
    """A host that is up, with a fresh look and 32 CPUs. `look` overrides fields of the look."""
    shown = gpus(name, cards) if isinstance(cards, int) else tuple(cards)
    seen = Look(**{"asked_at": asked_at, "boot_id": BOOT, "gpus": shown, **(look or {})})
    values: dict[str, Any] = {
        "transport": "ssh",
        "condition": HostCondition.UP,
        "since": NOW - 3600,
        "look": seen,
        "facts": HostFacts(hostname=name, docker_gpu="nvidia"),
        "runtimes": ("docker", "process"),
        "cpus": 32,
        "memory": 256 * GIB,
        **fields,
    }
    return Host(name, **values)


def stage(name: str = "train", *, gpus: int = 0, base: str | None = None, **fields: Any) -> Stage:
    """A process stage. Fields of `Resources` may be given directly."""
    names = ("gpu_memory", "gpu_models", "cpus", "ram", "disk", "labels", "hosts")
    asked = Resources(gpus=gpus, **{key: fields.pop(key) for key in names if key in fields})
    values: dict[str, Any] = {"kind": StageKind.TASK, "command": ("true",), **fields}
    return Stage(name, base if base is not None else name, resources=asked, **values)


def run(
    run_id: str = "r-1", *stages: Stage, attempts: Iterable[Attempt] = (), **fields: Any
) -> Run:
    """A run of ana's; with one GPU stage "train" if none are given."""
    values: dict[str, Any] = {"owner": "ana", "uid": 1000, "submitted_at": NOW - 100, **fields}
    return Run(run_id, "p", stages or (stage(gpus=1),), attempts=tuple(attempts), **values)


def attempt(
    run_id: str = "r-1",
    stage: str = "train",
    number: int = 1,
    *,
    phase: Phase = Phase.RUNNING,
    host: str = "gpu1",
    gpus: Iterable[int] = (0,),
    **fields: Any,
) -> Attempt:
    """An attempt on GPUs given by index, launched a minute ago unless it is starting."""
    launched = None if phase is Phase.STARTING else NOW - 60
    values: dict[str, Any] = {
        "placed_at": NOW - 70,
        "launched_at": launched,
        "runtime": "process",
        "boot_id": BOOT,
        "finished_at": NOW - 30 if phase.is_final else None,
        **fields,
    }
    return Attempt(
        f"{run_id}-{stage}-{number}",
        run_id,
        stage,
        number,
        phase,
        host,
        tuple(f"GPU-{host}-{i}" for i in gpus),
        **values,
    )


def workload(of: Attempt | str, *, running: bool = True, **fields: Any) -> Workload:
    """Our workload of an attempt."""
    attempt_id = of if isinstance(of, str) else of.attempt_id
    values: dict[str, Any] = {
        "daemon_id": DAEMON,
        "runtime": "process",
        "ref": attempt_id,
        "gpus": () if isinstance(of, str) else of.gpus,
        **fields,
    }
    return Workload(attempt_id, running=running, **values)


def lease(of: Attempt | str, uuid: str, **fields: Any) -> Lease:
    """Our lease of an attempt on a GPU."""
    attempt_id = of if isinstance(of, str) else of.attempt_id
    values: dict[str, Any] = {
        "daemon_id": DAEMON, "owner": "ana", "attempt_id": attempt_id, "claimed_at": 5.0, **fields
    }  # fmt: skip
    return Lease(f"L-{uuid}", uuid, **values)


def process(pid: int = 77, **fields: Any) -> GpuProcess:
    """Bob's compute process, with 10 GiB."""
    values: dict[str, Any] = {
        "kind": "compute", "user": "bob", "command": "python train.py", "memory": 10 * GIB, **fields
    }  # fmt: skip
    return GpuProcess(pid, **values)


def with_look(host: Host, **fields: Any) -> Host:
    """The host with other fields of its look."""
    assert host.look is not None
    return replace(host, look=replace(host.look, **fields))


def snapshot(*parts: Host | Run, **fields: Any) -> Snapshot:
    """A snapshot of hosts and runs, in the order given."""
    return Snapshot(
        **{
            "now": NOW,
            "daemon_id": DAEMON,
            "hosts": tuple(p for p in parts if isinstance(p, Host)),
            "runs": tuple(p for p in parts if isinstance(p, Run)),
            **fields,
        }
    )


def of_kind(actions: Iterable[Action], kind: type[T]) -> list[T]:
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]
