"""Which user and service have a name or an address at the gateway, and which service gets it next.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from hostler.base.errors import InputError
from hostler.decide.addresses import Taken, address_in
from hostler.model.addresses import ServiceAddress
from hostler.model.runs import Run


def service_names(run: Run) -> list[str]:
    """The names of the services in a run's file."""
    return list(dict.fromkeys(stage.base for stage in run.stages if stage.service is not None))


def held_by(servers: Iterable[tuple[str, str]], runs: Iterable[Run]) -> dict[str, int]:
    """The owners of the services that a running gateway serves, by its servers (service,
    attempt)."""
    uids = {attempt.attempt_id: run.uid for run in runs for attempt in run.attempts}
    return {service: uids[name] for service, name in servers if name in uids}


def places_of(servers: Iterable[tuple[str, str]], runs: Iterable[Run]) -> dict[ServiceAddress, int]:
    """The owners of the addresses that a running gateway serves, like `held_by`."""
    there = {attempt_id: service for service, attempt_id in servers}
    found: dict[ServiceAddress, int] = {}
    for run in runs:
        bases = {stage.name: stage.base for stage in run.stages if stage.service is not None}
        for attempt in run.attempts:
            if attempt.attempt_id in there and attempt.stage in bases:
                address = asked_address(run, bases[attempt.stage], there[attempt.attempt_id])
                found |= {address: run.uid} if address is not None else {}
    return found


def asked_address(run: Run, base: str, name: str) -> ServiceAddress | None:
    """The address that the file asks for; None: the gateway could not serve it."""
    service = next(s.service for s in run.stages if s.base == base and s.service is not None)
    with suppress(InputError):
        return address_in(service, name)
    return None


def in_turn(
    runs: Iterable[Run], held: Mapping[str, int], held_at: Mapping[ServiceAddress, int]
) -> list[tuple[Run, str]]:
    """Services of runs: first those whose user already has the name or the address, last those
    whose name or address another user has."""
    taken = Taken()
    for address, uid in held_at.items():
        taken.take(address, str(uid))

    def rank(each: tuple[Run, str]) -> int:
        run, name = each
        address = asked_address(run, name, name)
        at = taken.whose(address) if address is not None else None
        whose = {held[name]} if name in held else set[int]()
        whose |= {int(at)} if at is not None else set()
        return 1 if not whose else 0 if whose == {run.uid} else 2

    return sorted(((run, name) for run in runs for name in service_names(run)), key=rank)
