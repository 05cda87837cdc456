"""Routes about services: list, traffic, scale, stop, extend, deploy, releases, rollback, and
what differs between two releases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, gives, service_of
from hostler.api.bodies import DeployBody, ExtendBody, RollbackBody, ScaleBody
from hostler.api.peer import Who
from hostler.api.runs import Key
from hostler.daemon.service import Service
from hostler.daemon.service_wishes import Found, ServiceWishes
from hostler.daemon.services import list_services, list_stopped, show_service
from hostler.model.views.services import (
    DeployView,
    ReleaseChanges,
    ReleaseList,
    ReleaseView,
    ServiceList,
    ServiceView,
)
from hostler.model.views.traffic import TrafficHistory

if TYPE_CHECKING:
    from hostler.daemon.deploys import Deploys, Wanted

router = APIRouter()
Name = Annotated[str, Path(max_length=200)]
Number = Annotated[int, Path(ge=1, lt=2**31)]
Other = Annotated[int, Query(ge=1, lt=2**31)]
Minutes = Annotated[int, Query(ge=1, le=43_200)]


@router.get("/services", responses=gives(ServiceList))
async def services(request: Request, stopped: bool = False) -> JSONResponse:
    """All services that were not stopped, with their replicas. With `stopped`, deployed services
    that were stopped follow, the last stopped first."""
    service = service_of(request)
    found = list_services(service.context, service.controller.plan.reasons)
    shown = service.gateways.with_urls(found)
    more = await list_stopped(service.context) if stopped else ServiceList()
    return answer(ServiceList(services=(*shown.services, *more.services)))


@router.get("/services/{name}/traffic", responses=gives(TrafficHistory))
async def traffic(request: Request, name: Name, minutes: Minutes = 60) -> JSONResponse:
    """Requests, failures and response times of the last minutes, by releases."""
    from hostler.daemon.traffic_history import show_traffic

    return answer(await show_traffic(service_of(request).context, name, minutes))


@router.post("/services/{name}/scale", responses=gives(ServiceView))
async def scale(request: Request, name: Name, body: ScaleBody, who: Who) -> JSONResponse:
    """Change the number of replicas of a service. Answered once the change is durable, as all of
    these."""
    service = service_of(request)
    return _shown(service, await _wishes(service).scale(name, body.replicas, who))


@router.post("/services/{name}/stop", responses=gives(ServiceView))
async def stop(request: Request, name: Name, who: Who) -> JSONResponse:
    """Stop a service."""
    service = service_of(request)
    return _shown(service, await _wishes(service).stop(name, who))


@router.post("/services/{name}/extend", responses=gives(ServiceView))
async def extend(request: Request, name: Name, body: ExtendBody, who: Who) -> JSONResponse:
    """Let a service run longer than its `until`."""
    service = service_of(request)
    return _shown(service, await _wishes(service).extend(name, body.seconds, who))


@router.post("/deploy", responses=gives(ReleaseView, 201))
async def deploy(request: Request, body: DeployBody, who: Who, key: Key = None) -> JSONResponse:
    """Open a release of a service. Answered once it is durable; then it takes over
    automatically."""
    deploys = _deploys(request)
    release = await deploys.deploy(_wanted(body), who, key)
    return answer(deploys.view(release), 201)


@router.post("/deploy/plan", responses=gives(DeployView))
async def plan_deploy(request: Request, body: DeployBody, who: Who) -> JSONResponse:
    """What a deploy would change, and how it would take over; changes nothing."""
    return answer((await _deploys(request).plan(_wanted(body), who)).view())


@router.get("/deploy/{service}", responses=gives(ReleaseList))
async def releases(request: Request, service: Name) -> JSONResponse:
    """The releases of a deployed service, the newest first."""
    deploys = _deploys(request)
    found = tuple(deploys.view(release) for release in await deploys.releases(service))
    return answer(ReleaseList(await _with_traffic(request, found)))


@router.post("/deploy/{service}/rollback", responses=gives(ReleaseView, 201))
async def rollback(
    request: Request, service: Name, body: RollbackBody, who: Who, key: Key = None
) -> JSONResponse:
    """Undo the release that is taking over, or bring an earlier one back as a new release."""
    deploys = _deploys(request)
    return answer(deploys.view(await deploys.rollback(service, body.release, who, key)), 201)


@router.post("/deploy/{service}/rollback/plan", responses=gives(DeployView))
async def plan_rollback(
    request: Request, service: Name, body: RollbackBody, who: Who
) -> JSONResponse:
    """What a rollback would do, and about how long it takes; changes nothing."""
    return answer(await _deploys(request).plan_rollback(service, body.release, who))


@router.get("/deploy/{service}/{release}/changes", responses=gives(ReleaseChanges))
async def release_changes(
    request: Request, service: Name, release: Number, against: Other, who: Who
) -> JSONResponse:
    """The differences between two releases, for users who may deploy the service."""
    found = await _deploys(request).changes(service, release, against, who)
    return answer(ReleaseChanges(service, release, against, tuple(found)))


def _deploys(request: Request) -> Deploys:
    from hostler.daemon.deploys import deploys_of  # loaded where something is deployed

    return deploys_of(service_of(request))


async def _with_traffic(
    request: Request, found: tuple[ReleaseView, ...]
) -> tuple[ReleaseView, ...]:
    service = service_of(request)
    if service.context.config.gateway.host is None:
        return found
    from hostler.daemon.traffic_history import with_traffic

    return await with_traffic(service.context, found)


def _wanted(body: DeployBody) -> Wanted:
    from hostler.daemon.deploys import Wanted
    from hostler.model.releases import Strategy

    strategy = None if body.strategy is None else Strategy(body.strategy)
    return Wanted(body.to_model(), body.set_env, strategy, body.rebuild)


def _wishes(service: Service) -> ServiceWishes:
    return ServiceWishes(service.context, service.audit)


def _shown(service: Service, found: Found) -> JSONResponse:
    shown = show_service(service.context, service.controller.plan.reasons, *found)
    return answer(service.gateways.with_url(shown))
