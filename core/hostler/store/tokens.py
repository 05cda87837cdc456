"""The table of the gateway's tokens: owner, services, and end; `daemon.tokens` decides how long one
is valid. The tokens themselves are never stored."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from hostler.model.calls import AuditEntry
from hostler.model.tokens import StoredToken
from hostler.store.audit import audited
from hostler.store.connections import Readers, Writer

_COLUMNS = "token_id, owner, uid, digest, services, made_at, until, revoked_at, owners"


class Tokens:
    """The table `gateway_tokens`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def all(self) -> list[StoredToken]:
        """All tokens except removed ones, the oldest first."""
        return await self._readers.run(_all)

    async def add(self, token: StoredToken, asked: AuditEntry) -> None:
        """Store a new token, with its audit entry."""
        await self._writer.submit(audited(lambda db: _put(db, token), asked))

    async def take(self, tokens: Sequence[StoredToken]) -> None:
        """Store tokens from a host's notes that the database does not have."""
        await self._writer.submit(lambda db: _take(db, tokens))

    async def revoke(self, token_id: str, at: float, asked: AuditEntry) -> None:
        """Store that a token is revoked."""
        text = "UPDATE gateway_tokens SET revoked_at = ? WHERE token_id = ?"
        await self._writer.submit(audited(lambda db: db.execute(text, (at, token_id)), asked))

    async def remove(self, token_id: str) -> None:
        """Remove a token that no gateway has any more."""
        text = "DELETE FROM gateway_tokens WHERE token_id = ?"
        await self._writer.submit(lambda db: db.execute(text, (token_id,)))


def _all(connection: sqlite3.Connection) -> list[StoredToken]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM gateway_tokens ORDER BY made_at, token_id")
    return [_token(row) for row in rows]


def _token(row: sqlite3.Row) -> StoredToken:
    lists = {"services": tuple(json.loads(row["services"])), "owners": json.loads(row["owners"])}
    return StoredToken(**{**dict(row), **lists})


def _take(connection: sqlite3.Connection, tokens: Sequence[StoredToken]) -> None:
    known = {token.token_id for token in _all(connection)}
    for token in tokens:
        if token.token_id not in known:
            _put(connection, token)


def _put(connection: sqlite3.Connection, token: StoredToken) -> None:
    connection.execute(
        f"INSERT INTO gateway_tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.token_id, token.owner, token.uid, token.digest, json.dumps(list(token.services)),
            token.made_at, token.until, token.revoked_at, json.dumps(dict(token.owners)),
        ),
    )  # fmt: skip
