"""Places all stages of a group at once, or none: on one host or several. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hostler.decide.host_capacity import Choice
from hostler.decide.requests import Request
from hostler.model.pipelines import GroupHosts

Chooser = Callable[[int, Request, frozenset[str]], Choice | None]
"""Chooses a place: (number of a stage in its group, its request, hosts that other stages of the
group take) -> the best place that is free now, or None."""


def choose_together(
    requests: Sequence[Request], hosts: GroupHosts, chooser: Chooser
) -> list[Choice] | None:
    """A place for each stage, in their order; None: they cannot all be placed now."""
    if hosts is GroupHosts.SAME:
        return _on_one_host(requests, chooser)
    taken: frozenset[str] = frozenset()
    found: dict[int, Choice] = {}
    # Stages that need a certain host are placed first; the others can use any other host.
    for number in sorted(range(len(requests)), key=lambda n: requests[n].pin is None):
        choice = chooser(number, requests[number], taken)
        if choice is None:
            return None
        taken |= {choice.capacity.host.name}
        found[number] = choice
    return [found[number] for number in range(len(requests))]


def pinned_together(
    requests: Sequence[Request], hosts: GroupHosts, could_take: Callable[[str, Request], bool]
) -> list[Request]:
    """The requests, with only those pins that are possible for all of them at once. A stage returns
    to its checkpoint if that host could take it, together with its group."""
    if hosts is GroupHosts.SAME:
        pins = dict.fromkeys(request.pin for request in requests if request.pin is not None)
        pin = next((name for name in pins if could_take(name, summed(requests))), None)
        return [request._replace(pin=pin) for request in requests]
    first = {request.pin: number for number, request in reversed([*enumerate(requests)])}
    return [
        request if first[request.pin] == number else request._replace(pin=None)
        for number, request in enumerate(requests)
    ]


def summed(requests: Sequence[Request]) -> Request:
    """The total request of identical stages on one host."""
    first, count = requests[0], len(requests)
    return first._replace(
        gpus=first.gpus * count,
        cpus=first.cpus * count,
        ram=None if first.ram is None else first.ram * count,
        disk=None if first.disk is None else first.disk * count,
    )


def _on_one_host(requests: Sequence[Request], chooser: Chooser) -> list[Choice] | None:
    choice = chooser(0, summed(requests), frozenset())
    if choice is None:
        return None
    each = requests[0].gpus
    return [
        choice._replace(gpus=choice.gpus[each * number : each * (number + 1)])
        for number in range(len(requests))
    ]
