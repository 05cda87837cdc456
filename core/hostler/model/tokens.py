"""A token for services, as the daemon keeps it: its prefix and digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.gateway import GatewayToken

PREFIX = "hst"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as stored. Only its owner knows the text itself."""

    token_id: str
    owner: str
    uid: int
    digest: str
    services: tuple[str, ...]
    made_at: float
    until: float
    revoked_at: float | None = None
    """When it was revoked; the gateway has not confirmed it yet."""
    owners: Mapping[str, int] = field(default_factory=dict)
    """Service -> uid of its owner when the token was made. It gives no access to another user's
    service."""

    def to_gateway(self) -> GatewayToken:
        """As the gateway checks it. Raises InputError."""
        return GatewayToken(
            self.token_id, self.owner, self.digest, self.services, int(self.until), self.owners
        )


@dataclass(frozen=True, slots=True)
class TokensNote:
    """The signed note of the tokens on the gateway's host: they stay valid after a loss of the
    database."""

    generation: int
    """Of the daemon that wrote it."""
    at: float
    tokens: tuple[StoredToken, ...]


def token_text(token_id: str, secret: str) -> str:
    """The text that its owner sends."""
    return f"{PREFIX}_{token_id}_{secret}"


def digest_of(text: str) -> str:
    """The stored digest of it."""
    return hashlib.sha256(text.encode()).hexdigest()
