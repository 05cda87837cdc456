"""Tokens of the gateway, in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """One token, without its text."""

    token_id: str
    owner: str
    services: tuple[str, ...] = ()
    """Names of services; "*": every service."""
    made_at: float = 0.0
    until: float = 0.0
    state: str = ""
    """"valid", "ended", or "revoking": the gateway has not confirmed yet that it refuses the
    token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenList:
    """The caller's tokens, or all, oldest first."""

    tokens: tuple[TokenView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A new token: the only answer that contains its text."""

    token: str
    token_id: str
    services: tuple[str, ...] = ()
    until: float = 0.0
    url: str = ""
    """Address of the gateway."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Those of its services that the gateway serves now -> their addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedToken:
    """The token that was revoked."""

    revoked: str
