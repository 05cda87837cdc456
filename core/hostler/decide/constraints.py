"""What a request asks of a host itself, whoever is on it now: one list, to place and to explain.

Whether a host suits, and what is said of one that does not, both come from `unmet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto

from hostler.decide.requests import (
    Request,
    cpus_suit,
    gives_gpus,
    has_program,
    host_named,
    labels_suit,
    pin_suits,
    ram_suits,
    runs_kind,
    sees_code,
    unusable_mounts,
)
from hostler.model.hosts import Host


class Constraint(Enum):
    """One thing that a host has to have. Each has words in `obstacles`."""

    PIN = auto()
    RUNTIME = auto()
    GPU_ACCESS = auto()
    NAME = auto()
    LABELS = auto()
    CODE = auto()
    MOUNTS = auto()
    PROGRAM = auto()
    CPUS = auto()
    RAM = auto()


_CHECKS: tuple[tuple[Constraint, Callable[[Host, Request], bool]], ...] = (
    (Constraint.PIN, pin_suits),
    (Constraint.RUNTIME, runs_kind),
    (Constraint.GPU_ACCESS, gives_gpus),
    (Constraint.NAME, host_named),
    (Constraint.LABELS, labels_suit),
    (Constraint.CODE, sees_code),
    (Constraint.MOUNTS, lambda host, request: not unusable_mounts(host, request)),
    (Constraint.PROGRAM, lambda host, request: has_program(host, request) is True),
    (Constraint.CPUS, cpus_suit),
    (Constraint.RAM, ram_suits),
)
_NEEDS_LOOK = frozenset(
    {Constraint.RUNTIME, Constraint.GPU_ACCESS, Constraint.MOUNTS, Constraint.PROGRAM}
)
"""Not known of a host that was never heard, and so no obstacle there: not to be heard is one."""


def unmet(host: Host, request: Request) -> Iterator[Constraint]:
    """What an empty host lacks for a request, in the order in which it is said."""
    for constraint, holds in _CHECKS:
        if not holds(host, request) and (host.look is not None or constraint not in _NEEDS_LOOK):
            yield constraint


def suits(host: Host, request: Request) -> bool:
    """Whether an empty host that was heard has all that a request asks for beside GPUs: nothing is
    unmet. Asked of every host for every kind of request, and so without a list."""
    for _, holds in _CHECKS:  # noqa: SIM110  # a generator costs as much as the checks
        if not holds(host, request):
            return False
    return True
