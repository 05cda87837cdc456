"""Which generation of a daemon a simulated host lets work on it."""

from __future__ import annotations

from hostler.base.errors import Superseded
from hostler.model.generations import Generation
from hostler.sim.host import SimHost


def check(host: SimHost, daemon_id: str, told: Generation | None) -> None:
    """Raises Superseded for all but the newest generation of a daemon."""
    newest = host.generations.get(daemon_id)
    if newest is not None and newest.number > (0 if told is None else told.number):
        said = f"a newer generation of this daemon ({newest.number}) uses this host"
        raise Superseded(host.name, said, number=newest.number, mark=newest.mark)


def admit(host: SimHost, daemon_id: str, told: Generation | None) -> None:
    """An agent begins to serve. Raises Superseded."""
    if told is not None:
        check(host, daemon_id, told)
        host.generations[daemon_id] = told
