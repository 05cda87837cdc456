"""What a request costs beyond its own work: FastAPI hands each plain function to a thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest
from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from hostler.api import app, files, history, hosts, images, runs, secrets, services, streams, tokens
from hostler.api.peer import may_look

_ROUTERS = (
    app.router, files.router, history.router, hosts.router, images.router, runs.router,
    secrets.router, services.router, streams.router, tokens.router,
)  # fmt: skip


def _called(dependant: Dependant) -> Iterator[Callable[..., object] | None]:
    yield dependant.call
    for each in dependant.dependencies:
        yield from _called(each)


@pytest.mark.parametrize("router", _ROUTERS)
def test_nothing_of_a_request_is_handed_to_a_thread(router: APIRouter) -> None:
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    assert routes
    called = {may_look, *(each for route in routes for each in _called(route.dependant))}
    assert [each for each in called if not inspect.iscoroutinefunction(each)] == []
