"""Words for what a host itself lacks for a request (GPUs, labels, mounts, programs, conda,
modules), with a remedy; the checks are in `requests`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from hostler.base.text import clean_line
from hostler.decide.requests import (
    Constraint,
    Request,
    disk_size,
    environment_problem,
    has_program,
    is_other_machine,
    sizes,
    unusable_mounts,
)
from hostler.model.hosts import Host
from hostler.model.plans import Remedy, RemedyKind
from hostler.model.runtimes import traits_of


@dataclass(slots=True)
class Finding:
    """The obstacles found so far."""

    words: list[str] = field(default_factory=list)
    remedies: list[Remedy] = field(default_factory=list)
    hopeless: bool = False
    """Whether no remedy would let it start here."""

    def add(self, words: str, *remedies: Remedy) -> None:
        """Add an obstacle. The remedies together remove it."""
        self.words.append(words)
        self.remedies.extend(r for r in remedies if r not in self.remedies)

    def never(self, words: str) -> None:
        """Add an obstacle that no remedy removes."""
        self.words.append(words)
        self.hopeless = True


def _no_image(host: Host, request: Request) -> str:
    if is_other_machine(host, request):
        here = clean_line(host.facts.machine or "", 40)
        there = clean_line(request.image_machine or "", 40)
        return f"the image that this run built is for {there}, and this is a machine for {here}"
    only = f"only {request.image_on} has the image that this run built"
    return f"{only}, and it cannot be copied now"


def add_lacking(constraint: Constraint, host: Host, request: Request, found: Finding) -> None:
    """Add the obstacle that the host does not meet a constraint, and its remedies."""
    fix = Remedy(RemedyKind.FIX_HOST, host.name)
    match constraint:
        case Constraint.PIN:
            found.never(f"the checkpoint of its last attempt is on {request.pin}")
        case Constraint.IMAGE:
            found.never(_no_image(host, request))
        case Constraint.RUNTIME:
            found.add(_cannot_run(host, request), fix)
        case Constraint.GPU_ACCESS:
            found.add(
                "Docker there cannot give GPUs to containers (what to do: "
                f"hostler doctor {host.name}; then hostler daemon restart)",
                fix,
            )
        case Constraint.OWN_MACHINE:
            found.never(f"is the daemon's or the gateway's machine, where {_never(request)}")
        case Constraint.NAME:
            wanted = ", ".join(request.hosts)
            found.add(f"is not one of the requested hosts ({wanted})", drop("hosts"))
        case Constraint.LABELS:
            missing = ", ".join(f"{k}={v}" for k, v in request.labels if host.labels.get(k) != v)
            found.add(f"lacks the label {missing}", drop("labels"))
        case Constraint.CODE:
            where = f"{clean_line(request.here or '', 80)}, where the code is"
            found.add(f"does not see {where} ([shared] paths, or send it)", drop("code"))
        case Constraint.MOUNTS:
            _mounts(host, request, found)
        case Constraint.PROGRAM:
            _program(host, request, found)
        case Constraint.ENVIRONMENT:
            _environment(host, request, found)
        case Constraint.CPUS:
            words = f"has {host.cpus or 0} CPUs, of {request.cpus:g} requested"
            found.add(words, lower("cpus", host.cpus))
        case Constraint.RAM:
            found.add(f"has {sizes(host.memory, ' RAM', request.ram)}", lower("ram", host.memory))
        case Constraint.DISK:
            total = disk_size(host, request)
            found.add(f"has a disk of {sizes(total, '', request.disk)}", lower("disk", total))
        case _:
            assert_never(constraint)


def _mounts(host: Host, request: Request, found: Finding) -> None:
    """Add the folders that the host has to have, and lacks. A folder counts as missing only after
    the host was asked for it."""
    for mount in unusable_mounts(host, request):
        what = f"the mount {mount.name} ({clean_line(mount.path, 80)})"
        if mount.problem is None:
            wait = Remedy(RemedyKind.WAIT_FOR_LOOK, host.name)
            found.add(f"was not checked yet for {what}", wait)
        elif mount.name in request.mounts and not mount.path:
            found.add(f"the mount {mount.name} {mount.problem}", drop("mounts"))
        else:
            fix = Remedy(RemedyKind.FIX_HOST, host.name)
            found.add(f"{what} {clean_line(mount.problem, 80)} there", fix)


def _program(host: Host, request: Request, found: Finding) -> None:
    path = clean_line(request.program or "", 120)
    if has_program(host, request) is None:
        wait = Remedy(RemedyKind.WAIT_FOR_LOOK, host.name)
        found.add(f"was not checked yet for {path}", wait)
    else:
        found.add(f"does not have {path} from the submitter's environment", drop("program"))


def _environment(host: Host, request: Request, found: Finding) -> None:
    """Add the modules and the conda environment that the host's login lacks. A host that has not
    answered yet may have them."""
    problem = environment_problem(host, request)
    what = clean_line(request.environment or "", 120)
    if problem:
        found.add(clean_line(problem, 200), Remedy(RemedyKind.FIX_HOST, host.name))
        return
    was_asked = request.environment in host.environments
    said = "did not answer in time whether it has" if was_asked else "was not checked yet for"
    found.add(f"{said} {what}", Remedy(RemedyKind.WAIT_FOR_LOOK, host.name))


def _cannot_run(host: Host, request: Request) -> str:
    problem = host.look.docker_problem if host.look is not None else None
    if request.runtime not in host.runtimes or problem is None:
        return f"cannot run {request.runtime} stages"
    if traits_of(request.runtime).has_engine:
        return f"cannot run {request.runtime} stages: {clean_line(problem, 80)}"
    return f"it is unknown which GPUs its containers hold: {clean_line(problem, 80)}"


def _never(request: Request) -> str:
    """Words for the stages of members that the daemon's own machine never accepts."""
    if traits_of(request.runtime).shares_login:
        return "processes of members never run"
    return 'containers of members never run in a folder of it (code = "here")'


def drop(what: str) -> Remedy:
    """The remedy: do not request it."""
    return Remedy(RemedyKind.DROP, what)


def lower(what: str, value: float | None) -> Remedy:
    """The remedy: request less."""
    return Remedy(RemedyKind.LOWER, what, float(value or 0))
