"""What concerns everybody is for the daemon's owner, root, and operators."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.base.errors import ForbiddenError
from hostler.daemon.rights import Rights
from hostler.model.calls import Call, Caller
from hostler.model.events import EventKind
from hostler.model.records import NewEvent
from tests.support.daemons.served import Served, served
from tests.support.machines.callers import ask, open_to_all

MEMBER, OPERATOR, STRANGER = 65534, 1, 65533
"""nobody, daemon, and somebody who may not use it."""

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else"),
]


@pytest.fixture
def daemon(open_path: Path) -> Iterator[Served]:
    with served(open_path / "s", allow=("nobody",), operators=("daemon",)) as running:
        open_to_all(running.socket_path)
        yield running


def alert(daemon: Served) -> int:
    store = daemon.service.context.store
    event = NewEvent(
        at=1e9, kind=EventKind.HOST_UNREACHABLE, message="x", severity="warning", host="h"
    )
    adding = asyncio.run_coroutine_threadsafe(store.add_event(event), daemon.loop)
    return adding.result(30).seq


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("POST /v1/hosts/nowhere/drain", '{"reason": "power"}'),
        ("POST /v1/hosts/nowhere/undrain", "{}"),
        ("POST /v1/alerts/{alert}/acknowledge", "{}"),
        ("POST /v1/alerts/{alert}/unacknowledge", "{}"),
        ("POST /v1/gc", '{"dry_run": false}'),
        ("POST /v1/images/send", '{"image": "x", "hosts": ["nowhere"]}'),
    ],
)
def test_what_concerns_everybody_is_for_the_owner_and_operators(
    daemon: Served, call: str, body: str
) -> None:
    call = call.format(alert=alert(daemon))
    status, answer = ask(daemon.socket_path, uid=MEMBER, call=call, body=body)
    assert status == 403
    error = answer["error"]
    assert isinstance(error, dict)
    assert "is for the daemon's owner and its operators (daemon)" in error["message"]
    assert "ask one of them" in error["remedy"]
    with pytest.raises(ForbiddenError, match="is for the daemon's owner") as told:
        Rights(Caller(1, "owner")).authorize(Caller(4711, "ana"), Call.DRAIN)
    assert told.value.remedy.startswith("ask them; ")
    assert "name ana under [daemon] operators" in told.value.remedy
    assert "name nobody under [daemon] operators" in error["remedy"]
    assert ask(daemon.socket_path, uid=STRANGER, call=call, body=body)[0] == 403
    assert ask(daemon.socket_path, uid=OPERATOR, call=call, body=body)[0] == 200
    assert ask(daemon.socket_path, call=call, body=body)[0] == 200


def test_everybody_may_see_what_a_collection_would_free(daemon: Served) -> None:
    body = '{"dry_run": true}'
    assert ask(daemon.socket_path, uid=MEMBER, call="POST /v1/gc", body=body)[0] == 200


def test_an_operator_is_no_owner(daemon: Served) -> None:
    assert ask(daemon.socket_path, uid=OPERATOR, call="POST /v1/shutdown")[0] == 403
    pipeline = '{"command": {"command": ["ls"]}}'
    _, run = ask(daemon.socket_path, uid=MEMBER, call="POST /v1/runs", body=pipeline)
    call = f"POST /v1/runs/{run['run_id']}/cancel"
    assert ask(daemon.socket_path, uid=OPERATOR, call=call, body="{}")[0] == 403
