"""Where the gateway serves a service, or why it does not, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hostler.decide.reach import Reaches
from hostler.decide.routes import Routes, entry_of, url_of
from hostler.model.addresses import AddressKind
from hostler.model.config import Config
from hostler.model.views.services import ReplicaView, ServiceView

if TYPE_CHECKING:
    from hostler.gateway.forwards import Way


def with_url(
    service: ServiceView,
    config: Config,
    routes: Routes,
    found: Reaches,
    ways: Mapping[str, Way],
    taken: Mapping[int, str],
) -> ServiceView:
    """A service, as a gateway that answers serves it. A replica that it does not reach says so.
    `taken`: ports at which it does not listen, and why."""
    key = service.run_id, service.name
    if key not in routes.served:
        return replace(service, no_url=routes.problems.get(key, "it is new"))
    address = routes.served[key].address
    if address.kind is AddressKind.PORT and int(address.value) in taken:
        return replace(service, no_url=f"{taken[int(address.value)]}; it is tried again")
    troubles = {r.name: trouble(r.host, found, ways) for r in service.replicas if r.host}
    if not troubles:
        return replace(service, no_url="none of its replicas runs")
    if all(troubles.values()):
        return replace(service, no_url=next(iter(troubles.values())))
    replicas = tuple(_told(replica, troubles.get(replica.name, "")) for replica in service.replicas)
    on = None if entry_of(config.gateway).is_open else config.gateway.host
    return replace(service, url=url_of(config, address), url_on=on, replicas=replicas)


def trouble(host: str, found: Reaches, ways: Mapping[str, Way]) -> str:
    """Why the gateway does not reach a host; "": it does, as far as is known."""
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
