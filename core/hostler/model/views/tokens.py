"""Tokens of the gateway, as the API gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """One token, without its text."""

    token_id: str
    owner: str
    services: tuple[str, ...] = ()
    """"*": every service."""
    made_at: float = 0.0
    until: float = 0.0
    state: str = ""
    """"valid", "ended", or "revoking": the gateway has not confirmed yet that it refuses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenList:
    """The caller's tokens, or all; the oldest first."""

    tokens: tuple[TokenView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token just made: the only answer that has its text."""

    token: str
    token_id: str
    services: tuple[str, ...] = ()
    until: float = 0.0
    url: str = ""
    """Where the gateway answers."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Those of its services that are served now -> where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedToken:
    """Which token works no more."""

    revoked: str
