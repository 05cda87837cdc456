"""The note about the gateway's tokens on its host, so that they stay valid after a loss of the
database. Never a token itself: digests, owners and ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from hostler.base.errors import AgentError, InputError
from hostler.daemon.context import Context
from hostler.daemon.copy_format import Signer, loads
from hostler.daemon.service_notes import MOST_NOTE, TOKENS
from hostler.model.codec import from_json, to_json
from hostler.model.tokens import StoredToken, TokensNote
from hostler.ports import HostLink

_log = logging.getLogger("hostler.daemon")
_KIND = "tokens"


def encode_tokens(note: TokensNote, signer: Signer) -> str:
    """A note as one line of ASCII. Its signature counts for this daemon alone."""
    body = json.dumps(to_json(note), separators=(",", ":"))
    return f"{signer.sign(_KIND, '', body.encode('ascii')).hex()} {body}"


def decode_tokens(line: str, signer: Signer) -> TokensNote | None:
    """The tokens of a note; None: this daemon has not signed it."""
    signature, _, body = line.partition(" ")
    if len(line) > MOST_NOTE or not body.isascii():
        return None
    try:
        signed = bytes.fromhex(signature)
        if not signer.has_signed(_KIND, "", body.encode("ascii"), signed):
            return None
        note = from_json(TokensNote, loads(body))
        for token in note.tokens:
            token.to_gateway()
    except (ValueError, RecursionError, InputError):
        return None
    return note


async def read_tokens(link: HostLink, signer: Signer) -> TokensNote | None:
    """What a host keeps of a daemon's tokens; None: nothing that can be read. Raises
    Unreachable."""
    asked = {"daemon_id": signer.daemon_id, "name": TOKENS}
    try:
        return decode_tokens((await link.call("service.read", asked))["line"], signer)
    except AgentError:
        return None


async def note_tokens(
    context: Context, host: str, stored: Sequence[StoredToken], at: float
) -> None:
    """Write the tokens that were valid at a time to the gateway's host. Raises Unreachable."""
    valid = tuple(token for token in stored if token.revoked_at is None)
    number = context.standing.generation.number
    line = encode_tokens(TokensNote(number, at, valid), context.signer)
    asked = {"daemon_id": context.daemon_id, "name": TOKENS, "line": line}
    try:
        await context.link(host).call("service.keep", asked)
    except AgentError as error:
        _log.warning("no note about tokens on %s: %s", host, error)


def newest(notes: Sequence[TokensNote], now: float) -> tuple[StoredToken, ...]:
    """The tokens of the last note that have not expired."""
    last = max(notes, key=lambda note: (note.generation, note.at), default=None)
    return tuple(token for token in last.tokens if token.until > now) if last is not None else ()


async def merge_tokens(context: Context, host: str) -> None:
    """After a restore from a backup: take from the note of the gateway's host which tokens were
    made and revoked since. May be repeated. Raises Unreachable, StateError."""
    note = await read_tokens(context.link(host), context.signer)
    if note is None or note.generation >= context.standing.generation.number:
        return
    tokens, now = context.store.tokens, context.clock.now()
    for token in revoked_since(note, await tokens.all()):
        await tokens.remove(token.token_id)
        _log.info("token %s was revoked after the backup, and does not work again", token.token_id)
    await tokens.take(newest([note], now))


def revoked_since(note: TokensNote, stored: Sequence[StoredToken]) -> tuple[StoredToken, ...]:
    """Tokens of a backup that existed when a later daemon wrote the note, and were not valid."""
    valid = {token.token_id for token in note.tokens}
    return tuple(t for t in stored if t.made_at < note.at and t.token_id not in valid)
