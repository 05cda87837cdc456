"""Puts all routes of the HTTP API together as a FastAPI application; its own are version,
shutdown and the caller's SSH agent."""

from __future__ import annotations

import os
from functools import cache

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from hostler.api import files, history, hosts, images, runs, secrets, services, streams, tokens
from hostler.api.answers import DescribedApi, answer, gives, install_error_handlers, service_of
from hostler.api.bodies import SshAgentBody
from hostler.api.door import Admit, Door, Doorman, Refusals
from hostler.api.limits import BodyLimit, Fair
from hostler.api.peer import Who, may_look
from hostler.base.version import API_LEVEL, __version__
from hostler.daemon.service import Service
from hostler.model.views.daemon import DaemonView, SshAgentView, Stopping

router = APIRouter()


def make_app(service: Service, admit: Admit | None = None) -> FastAPI:
    """The application behind its `Door`, which identifies the caller first; tests give `admit`
    instead of the kernel."""
    app = DescribedApi(
        routes=list(_routes().routes),
        redirect_slashes=False,  # an empty name is an error, not the list
        title="Hostler",
        version=__version__,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.guests = {0, os.getuid()}  # uids that may use the daemon, as far as is known
    install_error_handlers(app)
    app.add_middleware(Fair)
    app.add_middleware(BodyLimit)
    settings = lambda: service.context.config.daemon  # noqa: E731
    times = app.state.times = lambda: service.context.timings.api
    doorman = Doorman(settings, app.state.guests, times)
    app.add_middleware(Door, admit=admit or doorman, times=times)
    app.add_middleware(Refusals, audit=lambda: service.audit)  # the outermost
    return app


@cache
def _routes() -> APIRouter:
    """All routes, made once for all applications of a process: FastAPI reads the parameters of each
    at the first request, which takes a tenth of a second."""
    parts = (
        router, files.router, history.router, hosts.router, images.router, runs.router,
        secrets.router, services.router, streams.router, tokens.router,
    )  # fmt: skip
    whole = APIRouter()
    for part in parts:
        whole.include_router(part, prefix="/v1", dependencies=[Depends(may_look)])
    return whole


@router.get("/version", responses=gives(DaemonView))
async def version(request: Request) -> JSONResponse:
    """The daemon's version, API number, database id, process and state folder."""
    return answer(service_of(request).about(API_LEVEL))


@router.post("/ssh-agent", responses=gives(SshAgentView))
async def ssh_agent(request: Request, body: SshAgentBody, who: Who) -> JSONResponse:
    """Use the SSH agent of the caller's shell from now on: the agent of the shell that started the
    daemon ends at logout."""
    service_of(request).use_ssh_agent(body.socket, who)
    return answer(SshAgentView(socket=body.socket))


@router.post("/shutdown", responses=gives(Stopping))
async def shutdown(request: Request, who: Who) -> JSONResponse:
    """Stop the daemon. Work on the hosts continues, and the next daemon takes it over."""
    await service_of(request).request_stop(who)
    return answer(Stopping())
