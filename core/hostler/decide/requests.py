"""The requirements of a stage (GPUs, memory, CPUs, disk, labels, mounts), whether a host can ever
meet them (words: `lacks`), and hosts that a retry avoids.

One list holds all requirements for a host itself, for placing and for explanations: both whether a
host suits and the message if not come from `unmet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import NamedTuple

from hostler.base.gpu_models import card_matches, memory_matches, model_matches
from hostler.base.text import clean_line
from hostler.base.units import format_size
from hostler.decide.fullness import disk_of, keeps_files
from hostler.decide.progress import Progress
from hostler.model.hosts import Disk, Gpu, Host, HostMount
from hostler.model.pipelines import Cause, Stage
from hostler.model.runs import Attempt, Run
from hostler.model.runtimes import traits_of

EPSILON = 1e-9
"""Tolerance of CPU counts, which are floats: 0.1 + 0.2 must fit into 0.3."""

_OF_THE_HOST = frozenset(
    {Cause.START_FAILED, Cause.SETUP_FAILED, Cause.SETUP_TIME_LIMIT, Cause.HOST_FAULT,
     Cause.GPU_LOST, Cause.HOST_REBOOTED, Cause.HOST_LOST, Cause.ENGINE_RESTARTED, Cause.VANISHED}
)  # fmt: skip
"""Causes that may lie in the host: elsewhere the same stage may succeed."""

Card = tuple[str, int]
"""GPUs that are equal for placing: (NVML name or "", memory_total or 0)."""


class Request(NamedTuple):
    """The requirements of a stage. Stages with equal requests are placed, blocked and explained
    alike."""

    gpus: int
    gpu_memory: int | None
    gpu_models: tuple[str, ...]
    cpus: float
    ram: int | None
    labels: tuple[tuple[str, str], ...]
    hosts: tuple[str, ...]
    runtime: str
    here: str | None
    """The folder that the host has to see itself; None: the daemon sends the code."""
    pin: str | None
    """The host that holds the checkpoint of the last attempt; None: any host."""
    timeout: float | None
    mounts: tuple[str, ...] = ()
    """Names of folders that the host has to have."""
    program: str | None = None
    """Path of a program that the host has to have."""
    keeps: bool = False
    """Whether it leaves files that are kept: on the host, unless they are in `here`."""
    uid: int | None = None
    """The user's uid if the stage sees what the login may read (`sees_login`); else None."""
    disk: int | None = None
    """Bytes of free space that it needs where it writes. They are not reserved."""
    environment: str | None = None
    """Modules and a conda environment that the host has to have, in words."""
    image_on: str | None = None
    """The only host that can run the image which the run built: it cannot be copied from there now.
    None: there is no such limit."""
    image_from: str | None = None
    """The host that has the image which the run built; others get a copy."""
    image_machine: str | None = None
    """The kind of machine that this image is for; None: unknown."""
    near: frozenset[str] = frozenset()
    """Hosts that have the image with which it starts: the stage prefers them."""


def requests_of(run: Run, stage: Stage) -> tuple[Request, ...]:
    """The requests of a stage. Each of them is enough, and an earlier one is better. They differ
    only in number and models of GPUs."""
    first = request_of(run, stage)
    if not stage.resources.gpu_models:
        return (first,)
    rest = stage.resources.alternatives[1:]
    return (first, *(first._replace(gpus=gpus, gpu_models=models) for gpus, models in rest))


def request_of(run: Run, stage: Stage, pin: str | None = None) -> Request:
    """The request of a stage; with alternatives, the first one."""
    asked = stage.resources
    gpus, models = asked.alternatives[0] if asked.gpu_models else (asked.gpus, ())
    return Request(
        gpus,
        asked.gpu_memory,
        models,
        asked.cpus,
        asked.ram,
        tuple(sorted(asked.labels.items())) if asked.labels else (),
        asked.hosts,
        stage.runtime,
        (run.source.path or "") if stage.code == "here" else None,
        pin,
        stage.timeout,
        stage.named_mounts,
        stage.program,
        keeps_files(stage),
        run.uid if sees_login(stage) else None,
        asked.disk,
        _loaded(stage) if stage.conda or stage.modules else None,
    )


def _loaded(stage: Stage) -> str | None:
    return None if stage.environment is None else str(stage.environment)


def sees_login(stage: Stage) -> bool:
    """Whether the stage sees files that the login on a host may read: as a process, or, in a
    container, in the folder that its submission names."""
    return stage.code == "here" or traits_of(stage.runtime).shares_login


def of_any_card(request: Request) -> Request:
    """The request, for GPUs of any model and memory."""
    return request._replace(gpu_models=(), gpu_memory=None)


def regardless_of_amounts(request: Request) -> Request:
    """The request without amounts. The same hosts are of the right kind for it."""
    return request._replace(cpus=0.0, ram=None, timeout=None)


def cpus_suit(host: Host, request: Request) -> bool:
    """Whether the host has the CPUs when it is empty."""
    return host.cpus is None or request.cpus <= host.cpus + EPSILON


def ram_suits(host: Host, request: Request) -> bool:
    """Whether the host has the RAM when it is empty."""
    return request.ram is None or host.memory is None or request.ram <= host.memory


def its_disk(host: Host, request: Request) -> Disk | None:
    """The disk that the stage writes to; None: the host does not report it, or has never
    answered."""
    return disk_of(request.runtime, host.look) if host.look is not None else None


def disk_size(host: Host, request: Request) -> int | None:
    """The size of the disk that the stage writes to, in bytes; None: unknown."""
    disk = its_disk(host, request)
    return None if disk is None else disk.total


def disk_suits(host: Host, request: Request) -> bool:
    """Whether that disk would be large enough when it is empty."""
    total = disk_size(host, request) if request.disk is not None else None
    return total is None or (request.disk or 0) <= total


def why_too_full(host: Host, request: Request) -> str | None:
    """The problem if the free space there is below both the request and the size of the disk; None:
    there is enough, or the host does not report it."""
    disk = its_disk(host, request) if request.disk is not None else None
    if disk is None or disk.free >= min(request.disk or 0, disk.total):
        return None
    sizes = f"{format_size(disk.free)} free of {format_size(request.disk)} requested"
    return f"its disk {clean_line(disk.path, 80)} has {sizes}: free space there, or lower `disk`"


def pin_suits(host: Host, request: Request) -> bool:
    """Whether the host holds the checkpoint; true if there is none."""
    return request.pin is None or request.pin == host.name


def image_suits(host: Host, request: Request) -> bool:
    """Whether the host has the image that the run built, or can get and run it, if it uses one."""
    if request.image_on is not None and request.image_on != host.name:
        return False
    return not is_other_machine(host, request)


def is_other_machine(host: Host, request: Request) -> bool:
    """Whether the image that the run built is for another kind of machine than the host."""
    machine = host.facts.machine
    return None not in (request.image_machine, machine) and request.image_machine != machine


def checkpoint_host(progress: Progress, stage: Stage) -> str | None:
    """The host where the last attempt that ran left its checkpoint; None: there is none."""
    if stage.checkpoint is None:
        return None
    tries: list[Attempt] = progress.tries.get(stage.name, [])
    ran = [a for a in tries if a.launched_at is not None]
    return ran[-1].host if ran else None


def hosts_to_avoid(progress: Progress, stage: Stage) -> frozenset[str]:
    """Hosts on which the stage ended by a cause that may lie in the host. A host on which
    everything fails at once always looks the emptiest; it must not attract each retry again."""
    group = progress.groups.get(stage.name)
    tries = progress.tries.get(stage.name, ()) if group is None else group.attempts
    return frozenset(attempt.host for attempt in tries if attempt.cause in _OF_THE_HOST)


def card_of(gpu: Gpu) -> Card:
    """The kind of card of a GPU."""
    return (gpu.name or "", gpu.memory_total or 0)


def card_suits(card: Card, request: Request) -> bool:
    """Whether a card has the requested memory and name."""
    return card_matches(*card, request.gpu_models, request.gpu_memory) is True


def memory_suits(card: Card, request: Request) -> bool:
    """Whether a card's nominal memory is enough. A GPU that does not report it is not enough."""
    return memory_matches(card[1], request.gpu_memory) is True


def model_suits(card: Card, request: Request) -> bool:
    """Whether a card is one of the requested models. A card that does not report its name is
    not."""
    return model_matches(card[0], card[1], request.gpu_models) is True


def takes_processes_of(host: Host, request: Request) -> bool:
    """Whether a stage that sees the login's files may run there for its user."""
    return host.processes_of is None or request.uid is None or request.uid in host.processes_of


def host_named(host: Host, request: Request) -> bool:
    """Whether the host is one of the requested ones, if any are named."""
    return is_named(host.name, request)


def is_named(name: str, request: Request) -> bool:
    """Like `host_named`, if only the name of the host is known."""
    return not request.hosts or any(fnmatchcase(name, glob) for glob in request.hosts)


def labels_suit(host: Host, request: Request) -> bool:
    """Whether the host has every requested label with the same value."""
    return all(host.labels.get(key) == value for key, value in request.labels)


def sees_code(host: Host, request: Request) -> bool:
    """Whether the host sees the submitter's folder itself, if requested."""
    path = request.here
    if path is None or host.transport == "local":
        return True
    return any(
        path == shared or path.startswith(shared.rstrip("/") + "/") for shared in host.shared_paths
    )


def unusable_mounts(host: Host, request: Request) -> list[HostMount]:
    """The requested folders, and the folders for every stage, that the host lacks or was not asked
    for yet. A folder that is no longer in the config is among them."""
    known = {mount.name: mount for mount in host.mounts}
    wanted = [mount for mount in host.mounts if mount.default or mount.name in request.mounts]
    gone = [HostMount(n, "", problem="left the config") for n in request.mounts if n not in known]
    return [mount for mount in (*wanted, *gone) if mount.problem != ""]


def has_program(host: Host, request: Request) -> bool | None:
    """Whether the program of the submitter's environment is there; None: not asked yet."""
    if request.program is None or host.transport == "local":
        return True
    return host.programs.get(request.program)


def environment_problem(host: Host, request: Request) -> str | None:
    """Which modules or conda environment the host lacks, "" if none; None: unknown."""
    return "" if request.environment is None else host.environments.get(request.environment)


def unseen_containers(host: Host) -> str | None:
    """Why it is unknown which GPUs containers hold: this login may use Docker, but gets no answer.
    The host itself then refuses every claim. None: the containers are known, or there are none."""
    if host.look is None:
        return None
    problems = (traits_of(runtime).unseen(host.look) for runtime in host.facts.runtimes)
    return next((problem for problem in problems if problem is not None), None)


def runs_kind(host: Host, request: Request) -> bool:
    """Whether the runtime works there now: Docker if it answers; processes with GPUs unless Docker
    should answer and does not."""
    if request.runtime not in host.runtimes:
        return False
    if host.look is not None and traits_of(request.runtime).unseen(host.look) is not None:
        return False
    return not request.gpus or unseen_containers(host) is None


def gives_gpus(host: Host, request: Request) -> bool:
    """Whether workloads there can get GPUs: Docker needs NVIDIA's toolkit or CDI."""
    return not request.gpus or traits_of(request.runtime).gives_gpus(host.facts)


def wanted_of(requests: Sequence[Request]) -> str:
    """Like `wanted`, for alternatives: "8 GPUs (L4) or 4 GPUs (A100)"."""
    return " or ".join(map(wanted, requests))


def wanted(request: Request) -> str:
    """The request in a few words: "4 GPUs (A100*, 24 GiB)" or "8 CPUs"."""
    if not request.gpus:
        ram = f" and {format_size(request.ram)} RAM" if request.ram else ""
        return f"{request.cpus:g} CPU{'s' if request.cpus != 1 else ''}{ram}"
    details = list(request.gpu_models)
    if request.gpu_memory is not None:
        details.append(format_size(request.gpu_memory))
    kind = f" ({', '.join(details)})" if details else ""
    return f"{count_gpus(request.gpus)}{kind}"


def sizes(there: int | None, of: str, requested: int | None) -> str:
    """ "8 GiB RAM, of 16 GiB requested"."""
    return f"{format_size(there or 0)}{of}, of {format_size(requested)} requested"


def count_gpus(number: int) -> str:
    """ "1 GPU", "2 GPUs"."""
    return f"{number} GPU{'s' if number != 1 else ''}"


class Constraint(Enum):
    """One requirement for a host. `obstacles` has the words for each."""

    PIN = auto()
    IMAGE = auto()
    RUNTIME = auto()
    GPU_ACCESS = auto()
    OWN_MACHINE = auto()
    NAME = auto()
    LABELS = auto()
    CODE = auto()
    MOUNTS = auto()
    PROGRAM = auto()
    ENVIRONMENT = auto()
    CPUS = auto()
    RAM = auto()
    DISK = auto()


_CHECKS: tuple[tuple[Constraint, Callable[[Host, Request], bool]], ...] = (
    (Constraint.PIN, pin_suits),
    (Constraint.IMAGE, image_suits),
    (Constraint.RUNTIME, runs_kind),
    (Constraint.GPU_ACCESS, gives_gpus),
    (Constraint.OWN_MACHINE, takes_processes_of),
    (Constraint.NAME, host_named),
    (Constraint.LABELS, labels_suit),
    (Constraint.CODE, sees_code),
    (Constraint.MOUNTS, lambda host, request: not unusable_mounts(host, request)),
    (Constraint.PROGRAM, lambda host, request: has_program(host, request) is True),
    (Constraint.ENVIRONMENT, lambda host, request: environment_problem(host, request) == ""),
    (Constraint.CPUS, cpus_suit),
    (Constraint.RAM, ram_suits),
    (Constraint.DISK, disk_suits),
)
_NEEDS_LOOK = frozenset(
    {
        Constraint.RUNTIME,
        Constraint.GPU_ACCESS,
        Constraint.MOUNTS,
        Constraint.PROGRAM,
        Constraint.ENVIRONMENT,
    }
)
"""Unknown for a host that has never answered, and so no obstacle there: only the missing answer
is."""


def unmet(host: Host, request: Request) -> Iterator[Constraint]:
    """The constraints that an empty host does not meet, in the order of the message."""
    for constraint, holds in _CHECKS:
        if not holds(host, request) and (host.look is not None or constraint not in _NEEDS_LOOK):
            yield constraint


def suits(host: Host, request: Request) -> bool:
    """Whether a host that has answered, and is empty, meets all constraints of a request except
    GPUs. Called for every host and every kind of request, so it makes no list."""
    for _, holds in _CHECKS:  # noqa: SIM110  # a generator costs as much as the checks
        if not holds(host, request):
            return False
    return True
