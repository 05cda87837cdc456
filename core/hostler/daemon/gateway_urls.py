"""The URL that people see of a service, or why the gateway does not serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hostler.base.errors import InputError
from hostler.daemon.context import Context
from hostler.daemon.gateway_looks import is_reached
from hostler.decide.addresses import addresses_in
from hostler.decide.reach import Reaches
from hostler.decide.routes import Routes, entry_of, url_of
from hostler.model.addresses import AddressKind
from hostler.model.config import Config
from hostler.model.runs import Run
from hostler.model.views.services import ReplicaView, ServiceView

if TYPE_CHECKING:
    from hostler.gateway.forwards import Way


def with_url(
    service: ServiceView,
    config: Config,
    routes: Routes,
    found: Reaches,
    ways: Mapping[str, Way],
    why_shut: Callable[[int], str | None],
) -> ServiceView:
    """A service with its URL, as an answering gateway serves it. Replicas that the gateway does not
    reach are marked. `why_shut`: whether the gateway listens at the service's own port, and why
    not."""
    key = service.run_id, service.name
    if key not in routes.served:
        return replace(service, no_url=routes.problems.get(key, "it is new"))
    address = routes.served[key].address
    shut = why_shut(int(address.value)) if address.kind is AddressKind.PORT else None
    if shut is not None:
        return replace(service, no_url=shut)
    troubles = {r.name: trouble(r.host, found, ways) for r in service.replicas if r.host}
    if not troubles:
        return replace(service, no_url="none of its replicas runs")
    if all(troubles.values()):
        return replace(service, no_url=next(iter(troubles.values())))
    replicas = tuple(_told(replica, troubles.get(replica.name, "")) for replica in service.replicas)
    on = None if entry_of(config.gateway).is_open else config.gateway.host
    return replace(service, url=url_of(config, address), url_on=on, replicas=replicas)


def url_once_live(context: Context, run: Run, name: str) -> str | None:
    """The URL of a service when a run is its live release; None: no gateway."""
    if not is_reached(context, run):
        return None
    try:
        return url_of(context.config, next(iter(addresses_in(run, name).values())))
    except InputError:  # its run was recovered from the notes of a host
        return None


def trouble(host: str, found: Reaches, ways: Mapping[str, Way]) -> str:
    """Why the gateway does not reach a host; "": no problem is known."""
    if host not in found:
        return f"the gateway does not reach {host}"
    why = ways[host].why_not if host in ways else ""
    return f"the gateway does not reach {host}: {why}" if why else ""


def troubles(ways: Mapping[str, Way]) -> dict[str, str]:
    """Host -> why the gateway does not reach it, with the remedy."""
    return {
        host: f"{way.why_not}; {way.remedy}" if way.remedy else way.why_not
        for host, way in ways.items()
        if way.why_not
    }


def _told(replica: ReplicaView, trouble: str) -> ReplicaView:
    return replace(replica, error=replica.error or trouble) if trouble else replica
