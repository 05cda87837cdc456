"""Every route asks whether its caller may do that, before it does anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from hostler.api.app import make_app
from hostler.base.errors import ForbiddenError
from hostler.daemon.audit import REFUSED
from hostler.daemon.rights import RIGHTS, For, Rights, is_admitted
from hostler.model.calls import Call, Caller
from hostler.model.config import DaemonConfig
from hostler.model.events import EventKind
from hostler.model.records import NewEvent
from hostler.model.releases import Deployment, ServiceState
from hostler.model.runs import Run
from hostler.model.services import HealthCheck, Service
from tests.support.daemons.simdaemon import OWNER, SimDaemon
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage
from tests.support.values.stored import run

ANA, BO = Caller(1000, "ana"), Caller(1001, "bo")
"""Whose run it is, and somebody else; neither is an operator."""
STRANGER = Caller(4711, "x")
COMMAND = {"command": {"command": ["true"]}}
DIGEST = "ab" * 32
SERVICE = """
name = "web"
[stages.serve]
kind = "service"
health = "/"
command = "true"
"""

MUTATING: dict[str, tuple[Call, Any]] = {
    "POST /v1/runs": (Call.SUBMIT, COMMAND),
    "POST /v1/check": (Call.SUBMIT, COMMAND),
    "POST /v1/plan": (Call.SUBMIT, COMMAND),
    "POST /v1/services/{name}/scale": (Call.SCALE, {"replicas": 2}),
    "POST /v1/services/{name}/extend": (Call.EXTEND, {"seconds": 60}),
    "POST /v1/services/{name}/stop": (Call.STOP, {}),
    "POST /v1/runs/{run_id}/cancel": (Call.CANCEL, {}),
    "POST /v1/runs/{run_id}/priority": (Call.PRIORITY, {"priority": -1}),
    "POST /v1/runs/{run_id}/retry": (Call.RETRY, {}),
    "POST /v1/runs/{run_id}/retry/plan": (Call.RETRY, {}),
    "POST /v1/runs/{run_id}/rerun": (Call.RERUN, {}),
    "DELETE /v1/runs/{run_id}": (Call.REMOVE, None),
    "POST /v1/runs/{run_id}/keep": (Call.KEEP, {"until": None}),
    "DELETE /v1/runs/{run_id}/keep": (Call.UNKEEP, None),
    "POST /v1/runs/{run_id}/files/{stage}/fetched": (Call.FILES, {"attempt_id": "x"}),
    "POST /v1/deploy": (Call.DEPLOY, {"pipeline": SERVICE}),
    "POST /v1/deploy/plan": (Call.DEPLOY, {"pipeline": SERVICE}),
    "POST /v1/deploy/{service}/rollback": (Call.DEPLOY, {}),
    "POST /v1/deploy/{service}/rollback/plan": (Call.DEPLOY, {}),
    "POST /v1/gc": (Call.GC, {"dry_run": False}),
    "POST /v1/hosts/{name}/drain": (Call.DRAIN, {"reason": "x"}),
    "POST /v1/hosts/{name}/undrain": (Call.UNDRAIN, {}),
    "POST /v1/hosts/{name}/clean": (Call.CLEAN, {"dry_run": False}),
    "POST /v1/hosts/{name}/retry": (Call.RECONNECT, {}),
    "POST /v1/alerts/{alert_id}/acknowledge": (Call.ACKNOWLEDGE, {}),
    "POST /v1/alerts/{alert_id}/unacknowledge": (Call.UNACKNOWLEDGE, {}),
    "PUT /v1/snapshots/{digest}": (Call.UPLOAD, None),
    "PUT /v1/secrets/{name}": (Call.SECRET_SET, "x"),
    "DELETE /v1/secrets/{name}": (Call.SECRET_REMOVE, None),
    "POST /v1/tokens": (Call.TOKEN_NEW, {"seconds": 60.0}),
    "DELETE /v1/tokens/{token_id}": (Call.TOKEN_REVOKE, None),
    "POST /v1/images/send": (Call.IMAGE_SEND, {"image": "x", "hosts": ["gpu1"]}),
    "POST /v1/images/remove": (Call.IMAGE_REMOVE, {"image": "x"}),
    "POST /v1/ssh-agent": (Call.SSH_AGENT, {"socket": "/nowhere"}),
    "POST /v1/shutdown": (Call.SHUTDOWN, None),
}


class Lab:
    """A daemon with a run of Ana's that waits, a service of it that is called like a host, and what
    was asked of its rights."""

    def __init__(self, daemon: SimDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
        self.daemon, self.caller = daemon, OWNER
        self.asked: list[tuple[Call, str | None]] = []
        real = Rights.authorize

        def authorize(
            rights: Rights, who: Caller, call: Call, run: Run | None = None,
            service: Deployment | None = None,
        ) -> None:  # fmt: skip
            self.asked.append((call, run.run_id if run is not None else None))
            real(rights, who, call, run, service)

        monkeypatch.setattr(Rights, "authorize", authorize)
        self.app: FastAPI = make_app(daemon.daemon.service, self._admit)

    async def _admit(self, _scope: Scope) -> Caller:
        if self.caller == STRANGER:
            raise ForbiddenError("a stranger")
        return self.caller

    async def _asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({"state": {}, **scope}, receive, send)

    async def call(self, who: Caller, route: str, body: Any, **names: str) -> int:
        self.caller = who
        method, _, path = route.partition(" ")
        transport = httpx.ASGITransport(self._asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answer = await client.request(method, path.format(**names), json=body)
        return answer.status_code

    async def calls(self) -> list[str]:
        return [entry.call for entry in await self.daemon.daemon.context.store.audit()]


@asynccontextmanager
async def lab(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Lab, Any]]:
    async with SimDaemon(small_lab(1), path) as daemon:
        monitor = daemon.daemon.context.monitors["gpu1"]
        await daemon.until(lambda: monitor.is_connected, "it is not connected")
        serves = stage(
            "gpu1.0", base="gpu1", gpus=99, kind="service",
            service=Service(HealthCheck("/"), until=1e6),
        )  # fmt: skip
        run_id = await daemon.submit(stage("a", gpus=99), serves, uid=ANA.uid, owner=ANA.user)
        event = NewEvent(at=1e9, kind=EventKind.HOST_UNREACHABLE, message="x", host="gpu1")
        alert = await daemon.daemon.context.store.add_event(event)
        names = {"run_id": run_id, "stage": "a", "name": "gpu1", "digest": DIGEST, "token_id": "t1"}
        names |= {"service": "web", "release": "1"}
        web = Deployment("web", ANA.uid, ANA.user, 1)
        daemon.daemon.context.services["web"] = ServiceState(web, ())
        yield Lab(daemon, monkeypatch), {**names, "alert_id": str(alert.seq)}


def routes(app: FastAPI) -> list[str]:
    paths = app.openapi()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


def test_every_call_has_an_owner() -> None:
    assert RIGHTS.keys() == {*Call}


async def test_no_route_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab(tmp_path, monkeypatch) as (here, _):
        found = {each for each in routes(here.app) if not each.startswith(("GET ", "HEAD "))}
        assert found == MUTATING.keys()


async def test_a_route_that_changes_something_asks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(tmp_path, monkeypatch) as (here, names):
        # The removal last: nothing can be asked about a run that is gone.
        for route, (call, body) in sorted(MUTATING.items(), key=lambda x: x[1][0] is Call.REMOVE):
            here.asked.clear()
            await here.call(OWNER, route, body, **names)
            about = names["run_id"] if RIGHTS[call] is For.OWN_RUN else None
            assert (call, about) in here.asked, route


async def test_others_are_refused_and_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(tmp_path, monkeypatch) as (here, names):
        before = here.daemon.daemon.context.run_cache.runs()
        for route, (call, body) in MUTATING.items():
            if RIGHTS[call] is not For.EVERYBODY:
                assert await here.call(BO, route, body, **names) == 403, route
        assert {*await here.calls()} == {REFUSED}
        context = here.daemon.daemon.context
        assert context.run_cache.runs() == before
        assert (await context.store.drains(), await context.store.keeps()) == ({}, {})
        assert not here.daemon.daemon.service.stopping.is_set()


async def test_strangers_are_refused_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(tmp_path, monkeypatch) as (here, names):
        for route, (_, body) in MUTATING.items():
            assert await here.call(STRANGER, route, body, **names) == 403, route
        assert here.asked == []


async def test_reading_asks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab(tmp_path, monkeypatch) as (here, names):
        reading = [each for each in routes(here.app) if each.startswith("GET ")]
        assert len(reading) > 20
        for route in reading:
            here.asked.clear()
            await asyncio.wait_for(here.call(BO, route, None, **names), 20)
            assert (Call.LOOK, None) in here.asked, route


@pytest.mark.parametrize("who", [OWNER, Caller(0, "root"), BO, Caller(7, "op")])
@pytest.mark.parametrize("call", Call)
def test_the_table_decides(call: Call, who: Caller) -> None:
    rights = Rights(OWNER, ("op",))
    allowed = {
        For.EVERYBODY: True,
        For.OWN_RUN: who.uid in (0, OWNER.uid),
        For.OWN_SERVICE: True,
        For.OPERATORS: who != BO,
        For.OWNER: who.uid in (0, OWNER.uid),
    }[RIGHTS[call]]
    assert rights.allows(who, call, run()) is allowed
    if not allowed:
        with pytest.raises(ForbiddenError) as told:
            rights.authorize(who, call, run())
        assert told.value.remedy
    mine = run(uid=who.uid, owner=who.user)
    assert rights.allows(who, call, mine) is (allowed or RIGHTS[call] is For.OWN_RUN)


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize("user", ["guest", "op", "other"])
@pytest.mark.parametrize("uid", [0, 7, 1001])
def test_who_is_admitted(uid: int, user: str, in_group: bool) -> None:
    people = DaemonConfig(allow=("guest",), operators=("op",))
    wanted = uid in (0, 7) or user != "other" or in_group
    assert is_admitted(people, 7, Caller(uid, user), in_group=in_group) is wanted
