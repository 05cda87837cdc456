"""Tokens for services: made, listed, revoked; at most 100 of a user, for 400 days at most."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence

from hostler.base.errors import ConflictError, HostError, InputError, NotFoundError
from hostler.base.failpoints import failpoint
from hostler.daemon.audit import Audit
from hostler.daemon.context import Context
from hostler.daemon.gateways import Gateways, unreached
from hostler.model.calls import Call, Caller
from hostler.model.gateway import EVERY_SERVICE
from hostler.model.tokens import StoredToken, digest_of, token_text
from hostler.model.views.tokens import NewToken, RevokedToken, TokenList, TokenView

LONGEST = 400 * 86400.0
_MOST = 100
"""Most tokens of one user."""
_LETTERS = string.ascii_lowercase + string.digits


class Tokens:
    """Users' requests about tokens."""

    def __init__(self, context: Context, audit: Audit, gateways: Gateways) -> None:
        self._context, self._audit, self._gateways = context, audit, gateways

    async def new(self, who: Caller, services: Sequence[str], seconds: float) -> NewToken:
        """Make a token. Its text is in this answer and nowhere else. If the gateway answers, the
        token works when this returns. Raises InputError."""
        url = self._url()
        if not 0 < seconds <= LONGEST:
            raise InputError(
                "a token works for at most 400 days", remedy="Choose a shorter time: --for 90d"
            )
        now = self._context.clock.now()
        if await self._count(who, now) >= _MOST:
            raise ConflictError(
                f"you have {_MOST} tokens", remedy="Revoke one: hostler token revoke ID"
            )
        token_id = "".join(secrets.choice(_LETTERS) for _ in range(8))
        text = token_text(token_id, secrets.token_hex(20))
        chosen = tuple(dict.fromkeys(services)) or (EVERY_SERVICE,)
        owners = {name: self._owner(name, who) for name in chosen if name != EVERY_SERVICE}
        token = StoredToken(
            token_id, who.user, who.uid, digest_of(text), chosen, now, now + seconds, owners=owners
        )
        token.to_gateway()  # raises InputError for names that no gateway can have
        entry = self._audit.entry(who, Call.TOKEN_NEW, {"token": token_id, "services": [*chosen]})
        await self._context.store.tokens.add(token, entry)
        await self._gateways.catch_up()
        return NewToken(
            token=text, token_id=token_id, services=chosen, until=token.until, url=url,
            urls=self._gateways.urls_by_name(chosen),
        )  # fmt: skip

    def _owner(self, name: str, who: Caller) -> int:
        """The user whose service has this name: at the gateway now, or else deployed. If there is
        none, the caller: the token is for a service that they start later."""
        state, routes = self._context.services.get(name), self._gateways.routes
        holders = routes.holders if routes is not None else {}
        deployed = state.deployment.uid if state is not None else who.uid
        return holders.get(name, deployed)

    async def _count(self, who: Caller, now: float) -> int:
        """The number of the caller's tokens, without expired ones, which are deleted."""
        tokens = self._context.store.tokens
        mine = [token for token in await tokens.all() if token.uid == who.uid]
        ended = [token for token in mine if token.until <= now]
        for token in ended:
            await tokens.remove(token.token_id)
        return len(mine) - len(ended)

    async def list(self, who: Caller) -> TokenList:
        """The caller's tokens; all tokens for operators."""
        every = self._context.rights.allows(who, Call.TOKEN_REVOKE_ANY)
        stored = await self._context.store.tokens.all()
        shown = [token for token in stored if every or token.uid == who.uid]
        return TokenList(tokens=tuple(self._view(token) for token in shown))

    async def revoke(self, who: Caller, token_id: str) -> RevokedToken:
        """Have the gateway refuse a token from now on. This is stored first: if the gateway does
        not answer, the call fails, and the gateway refuses the token as soon as it answers. Raises
        NotFoundError, ForbiddenError, ConflictError."""
        self._context.standing.check_current()  # a newer daemon would give it back
        stored = await self._context.store.tokens.all()
        token = next((each for each in stored if each.token_id == token_id), None)
        if token is None:
            raise NotFoundError(f"there is no token {token_id!r}", remedy="See: hostler token ls")
        if token.uid != who.uid:
            self._context.rights.authorize(who, Call.TOKEN_REVOKE_ANY)
        entry = self._audit.entry(who, Call.TOKEN_REVOKE, {"token": token_id})
        await self._context.store.tokens.revoke(token_id, self._context.clock.now(), entry)
        failpoint("after_revoke_noted")
        try:
            await self._gateways.revoke(token)
        except HostError as error:
            raise ConflictError(
                f"the token {token_id} STILL WORKS: {unreached(error)}",
                remedy="It is revoked as soon as the gateway answers: see hostler token ls",
            ) from error
        return RevokedToken(revoked=token_id)

    def _view(self, token: StoredToken) -> TokenView:
        is_over = token.until <= self._context.clock.now()
        state = "ended" if is_over else "valid"
        return TokenView(
            token_id=token.token_id, owner=token.owner, services=token.services,
            made_at=token.made_at, until=token.until,
            state="revoking" if token.revoked_at is not None else state,
        )  # fmt: skip

    def _url(self) -> str:
        from hostler.decide.routes import entry_of, url_of

        config = self._context.config
        if config.gateway.host is None:
            raise ConflictError(
                "no gateway is configured, so a token has no use",
                remedy="the daemon's owner names its host under [gateway] in config.toml",
            )
        if not entry_of(config.gateway).tokens:
            raise ConflictError(
                "the gateway does not require tokens",
                remedy="the daemon's owner writes tokens = true under [gateway] in config.toml",
            )
        return url_of(config)
