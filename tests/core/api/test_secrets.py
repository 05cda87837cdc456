"""The calls about secrets: each person's own, and no value in any answer."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from hostler.api.app import make_app
from hostler.base.secret import Secret
from hostler.model.calls import Caller
from tests.support.daemons.simdaemon import ANA, SimDaemon
from tests.support.daemons.simlab import small_lab

BO = Caller(1001, "bo")
VALUE = "hf_sesame_open\nsecond line ä"
PIPELINE = 'name = "x"\n[stages.a]\ncommand = "true"\nsecrets = ["A"]\n'


class Asking:
    """Asks a daemon's application as one person or another."""

    def __init__(self, daemon: SimDaemon) -> None:
        self.daemon, self.who = daemon, ANA
        self.app: FastAPI = make_app(daemon.daemon.service, self._admit)

    async def _admit(self, _scope: Scope) -> Caller:
        return self.who

    async def _asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({"state": {}, **scope}, receive, send)

    async def __call__(
        self, method: str, path: str, body: Any = None, *, who: Caller = ANA
    ) -> httpx.Response:
        self.who = who
        transport = httpx.ASGITransport(self._asgi, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            if isinstance(body, bytes):
                return await client.request(method, f"/v1/{path}", content=body)
            return await client.request(method, f"/v1/{path}", json=body)


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Asking]:
    async with SimDaemon(small_lab(1), tmp_path / "state") as daemon:
        yield Asking(daemon)


async def names(ask: Asking, who: Caller) -> list[str]:
    answer = await ask("GET", "secrets", who=who)
    return [each["name"] for each in answer.json()["secrets"]]


async def test_each_person_has_their_own(ask: Asking) -> None:
    for who in (ANA, BO):
        assert (await ask("PUT", "secrets/A", VALUE.encode(), who=who)).json() == {"name": "A"}
    await ask("PUT", "secrets/B", b"x", who=BO)
    assert (await names(ask, ANA), await names(ask, BO)) == (["A"], ["A", "B"])
    answer = await ask("DELETE", "secrets/B")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "you have set no secret 'B'"
    assert (await ask("DELETE", "secrets/A")).json() == {"removed": "A"}
    assert (await names(ask, ANA), await names(ask, BO)) == ([], ["A", "B"])
    for method in ("GET", "HEAD"):
        assert (await ask(method, "secrets/A", who=BO)).status_code in (404, 405)
    kept = await ask.daemon.daemon.context.secrets._known(BO.uid, {}, [])
    assert kept == {}


async def test_what_is_set_is_what_came(ask: Asking) -> None:
    secrets = ask.daemon.daemon.context.secrets
    for value in ("x", VALUE, "\n", " a\r\n", "ü" * 8192):
        assert (await ask("PUT", "secrets/A", value.encode())).status_code == 200
        found = secrets._files.person(ANA.uid)["A"]
        assert found.value == Secret(value)


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("A", b"", "the value is empty"),
        ("A", b"sesame\0", "NUL"),
        ("A", b"sesame\xff", "the value is not UTF-8"),
        ("A", b"sesame" * 3000, "more than 16,384"),
        ("A", b"sesame\0" * 30_000, "not in UTF-8"),
        ("A", b"sesame\n" * 201, "201 lines"),
        ("PATH", b"sesame", "cannot name a secret"),
        ("a-b", b"sesame", "cannot name a secret"),
        ("%2e%2e", b"sesame", "cannot name a secret"),
        ("%0a", b"sesame", "cannot name a secret"),
    ],
)
async def test_what_is_refused(ask: Asking, name: str, body: bytes, told: str) -> None:
    answer = await ask("PUT", f"secrets/{name}", body)
    assert answer.status_code in (400, 413), answer.text
    assert told in answer.json()["error"]["message"]
    assert "sesame" not in answer.text
    assert await names(ask, ANA) == []


async def test_no_answer_echoes_a_value(ask: Asking, caplog: pytest.LogCaptureFixture) -> None:
    """Neither where a body is wrong beside it, nor where the value itself is."""
    caplog.set_level(logging.DEBUG)
    whole: dict[str, Any] = {"pipeline": PIPELINE, "secrets": {"A": "sesame-value"}}
    run = (await ask("POST", "runs", whole)).json()
    assert "sesame" not in json.dumps(run)
    wrong: list[Any] = [
        {**whole, "priority": "sesame-high"},
        {**whole, "unknown": {"x": "sesame"}},
        {**whole, "secrets": {"A": ["sesame-value"]}},
        {**whole, "secrets": {"A": {"x": "sesame-value"}}},
        {**whole, "secrets": ["sesame-value"]},
        {**whole, "secrets": "sesame-value"},
        {**whole, "secrets": {"A": "sesame\0"}},
        {**whole, "secrets": {"A": "sesame" * 3000}},
        {**whole, "secrets": {"A": "sesame-value", "LD_X": "sesame-value"}},
        {**whole, "secrets": {"A": "sesame-value", "OTHER": "sesame-value"}},
        {**whole, "secrets": {f"N{number}": "sesame-value" for number in range(40)}},
        {"pipeline": "nmae = 1", "secrets": {"A": "sesame-value"}},
        b'{"secrets": {"A": "sesame-value"',
        b'{"secrets": {"A": "sesame\xff"}}',
        json.dumps({**whole, "secrets": {"A": "sesame\ud800"}}).encode(),
        b'["sesame"]',
        b'"sesame"',
    ]
    for call in ("runs", "check", "plan"):
        for body in wrong:
            answer = await ask("POST", call, body)
            assert 400 <= answer.status_code < 500, (call, body, answer.text)
            assert "sesame" not in answer.text, (call, body)
    for call in ("retry", "rerun", "retry/plan"):
        for body in ({"secrets": {"A": ["sesame"]}}, {"secrets": "sesame"}, b'{"secrets": "sesame'):
            answer = await ask("POST", f"runs/{run['run_id']}/{call}", body)
            assert answer.status_code == 400, (call, body, answer.text)
            assert "sesame" not in answer.text
    for path in ("", "/events", "/source", "/why", "/artifacts"):
        assert "sesame" not in (await ask("GET", f"runs/{run['run_id']}{path}")).text
    for path in ("audit", "events", "secrets", "alerts", "history/runs"):
        assert "sesame" not in (await ask("GET", path)).text
    assert "sesame" not in caplog.text


async def test_the_page_of_the_api_has_no_example_of_a_value(ask: Asking) -> None:
    page = json.dumps(ask.app.openapi()["components"]["schemas"]["SubmitBody"]["properties"])
    found = json.loads(page)["secrets"]
    value = found["additionalProperties"]
    assert value == {"type": "string", "format": "password", "writeOnly": True}
    assert "example" not in json.dumps(found)


async def test_every_call_about_them_is_on_record_by_name(ask: Asking) -> None:
    await ask("PUT", "secrets/A", b"sesame-value")
    await ask("DELETE", "secrets/A")
    entries = (await ask("GET", "audit")).json()["entries"]
    assert [(each["call"], each["arguments"]) for each in entries] == [
        ("secret-rm", {"secret": "A"}),
        ("secret-set", {"secret": "A"}),
    ]
