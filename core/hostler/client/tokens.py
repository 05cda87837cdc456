"""The calls about tokens of the gateway: list, make, revoke. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.client.call import Call, delete, get, nothing, post
from hostler.model import views
from hostler.model.codec import from_answer as read


def listed() -> Call[tuple[views.tokens.TokenView, ...]]:
    """The caller's tokens for services; for operators, all tokens. Never a token itself."""
    return get(lambda told: read(views.tokens.TokenList, told).tokens, "tokens")


def new(services: Sequence[str], seconds: float) -> Call[views.tokens.NewToken]:
    """Make a token for services (none: for all), which expires after this many seconds."""
    body = {"services": list(services), "seconds": float(seconds)}
    return post(lambda told: read(views.tokens.NewToken, told), "tokens", body=body)


def revoke(token_id: str) -> Call[None]:
    """Revoke a token: the gateway refuses it from now on, and closes its streams."""
    return delete(nothing, "tokens", token_id)
