"""The tokens of the gateway in the database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostler.model.calls import AuditEntry
from hostler.model.tokens import StoredToken
from hostler.store.database import Store
from hostler.store.tokens import Tokens

TOKEN = StoredToken("t1", "ana", 1000, "d1", ("digits", "web"), 5.0, 900.0, None, {"web": 1001})
ASKED = AuditEntry(200.0, 1000, "ana", "token.make", {})


@pytest.fixture
def tokens(store: Store) -> Tokens:
    return Tokens(*store.connections)


async def test_a_token_comes_back_as_stored_with_who_asked(tokens: Tokens, store: Store) -> None:
    older = replace(TOKEN, token_id="t2", digest="d2", made_at=4.0, revoked_at=6.0)
    await tokens.add(TOKEN, ASKED)
    await tokens.add(older, ASKED)
    assert await tokens.all() == [older, TOKEN]
    assert [entry.call for entry in await store.audit()] == ["token.make"] * 2


async def test_a_revoked_token_stays_until_no_gateway_knows_it(
    tokens: Tokens, store: Store
) -> None:
    other = replace(TOKEN, token_id="t2", digest="d2")
    await tokens.take([TOKEN, other])
    await tokens.revoke("t1", 300.0, replace(ASKED, call="token.revoke"))
    assert await tokens.all() == [replace(TOKEN, revoked_at=300.0), other]
    assert [entry.call for entry in await store.audit()] == ["token.revoke"]
    await tokens.remove("t1")
    assert await tokens.all() == [other]


async def test_what_a_host_noted_replaces_nothing_that_is_known(tokens: Tokens) -> None:
    await tokens.add(TOKEN, ASKED)
    other = replace(TOKEN, token_id="t2", digest="d2", services=())
    await tokens.take([replace(TOKEN, digest="forged"), other])
    assert await tokens.all() == [TOKEN, other]
