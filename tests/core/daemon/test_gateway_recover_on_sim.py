"""A lost database and a gateway that runs on: what it serves, and whose tokens it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hostler.daemon.copy_format import Signer
from hostler.daemon.recover import Survey, known_identity, restore, survey
from hostler.daemon.token_notes import decode_tokens, encode_tokens, newest, revoked_since
from hostler.model.tokens import StoredToken, TokensNote
from tests.core.daemon.test_recover_on_sim import lose_database
from tests.core.daemon.test_service_kills_on_sim import ANA, Lab, begun, submission
from tests.support.daemons.restoring import back_up, put_back

pytestmark = pytest.mark.timeout(60)
OURS = Signer("d" * 32, b"k" * 32)
TOKEN = StoredToken("abc", "ana", 1000, "a" * 64, ("*",), 1.0, 2.0e9)


async def look_around(lab: Lab) -> Survey:
    daemon = lab.daemon
    reached = lab.gateway.outside(lambda digest: daemon.state / digest)
    identity = known_identity(daemon.state)
    return await survey(daemon.config.hosts, daemon.state, identity, reached, daemon.timings)


async def test_a_gateway_serves_on_until_its_daemon_knows_again_what_it_serves(
    tmp_path: Path,
) -> None:
    async with begun(tmp_path) as lab:
        await lab.serve_first()
        served = {**lab.gateway.servers}
        await lab.daemon.kill()
        lose_database(tmp_path)
        await lab.daemon.begin()  # by somebody who does not know that it is lost
        gateways = lab.daemon.daemon.service.gateways
        await lab.daemon.until(lambda: "not in the database" in str(gateways.problem), "it is said")
        assert "hostler daemon recover" in str(gateways.problem)
        assert lab.gateway.servers == served
        await lab.daemon.kill()
        told = await look_around(lab)
        await restore(tmp_path, told.recovery.runs, "ana", told.services, told.tokens)
        await lab.daemon.begin()
        assert await lab.deploy(submission(2))
        await lab.settle()
        assert lab.live() == 2
        lab.check()


def lines(lab: Lab) -> list[str]:
    """The note about tokens on the gateway's host."""
    notes = lab.gateway.lab.host("gpu1").notes.items()
    return [line for (_, name), line in notes if name == "TOKENS"]


def noted(lab: Lab) -> set[str]:
    """The tokens in it."""
    found = decode_tokens(lines(lab)[0], lab.daemon.daemon.context.signer) if lines(lab) else None
    return {token.token_id for token in found.tokens} if found is not None else set()


async def test_tokens_go_on_working_and_revoked_ones_do_not_come_back(tmp_path: Path) -> None:
    async with begun(tmp_path, asks_for_tokens=True) as lab:
        await lab.serve_first()
        tokens = lab.daemon.daemon.service.tokens
        kept = await tokens.new(ANA, ("digits",), 3600)
        gone = await tokens.new(ANA, (), 3600)

        assert noted(lab) == {kept.token_id, gone.token_id}
        for made in (kept, gone):  # a token works once its owner has it
            assert made.token_id in str(lab.gateway.maps)
        await tokens.revoke(ANA, gone.token_id)
        assert noted(lab) == {kept.token_id}
        maps = {name: {**rows} for name, rows in lab.gateway.maps.items()}
        await lab.daemon.kill()
        lose_database(tmp_path)
        told = await look_around(lab)
        assert [token.token_id for token in told.tokens] == [kept.token_id]
        assert "TOKENS" not in str(told.problems)
        for _ in range(2):  # it may be repeated
            await restore(tmp_path, told.recovery.runs, "ana", told.services, told.tokens)
        await lab.daemon.begin()
        await lab.settle()
        (shown,) = (await lab.daemon.daemon.service.tokens.list(ANA)).tokens
        assert (shown.token_id, shown.owner, shown.state) == (kept.token_id, "ana", "valid")
        assert lab.gateway.maps == maps
        lab.check()


async def test_a_restore_gives_back_no_token_that_was_revoked_since_the_backup(
    tmp_path: Path,
) -> None:
    async with begun(tmp_path / "old", asks_for_tokens=True) as lab:
        await lab.serve_first()
        tokens = lab.daemon.daemon.service.tokens
        kept, gone = await tokens.new(ANA, ("digits",), 3600), await tokens.new(ANA, (), 3600)
        file = await back_up(lab.daemon)
        later = await tokens.new(ANA, (), 3600)
        await tokens.revoke(ANA, gone.token_id)
        maps = {name: {**rows} for name, rows in lab.gateway.maps.items()}
        before = lines(lab)
        await lab.daemon.kill()
        put_back(file, tmp_path / "new")
        async with lab.gateway.daemon(tmp_path / "new") as daemon:
            context = daemon.daemon.context
            assert context.standing.generation.number > 1
            valid = {kept.token_id, later.token_id}
            again = Lab(daemon, lab.gateway)
            await again.settle()
            await daemon.until(lambda: lines(again) != before, "the tokens are noted anew")
            shown = (await daemon.daemon.service.tokens.list(ANA)).tokens
            assert {token.token_id for token in shown} == valid == noted(again)
            assert lab.gateway.maps == maps
            lab.check()


def test_what_a_note_does_not_say_of_a_token_is_not_taken_for_a_revocation() -> None:
    """As of one that was made after the note was written."""
    gone, new = replace(TOKEN, token_id="gone"), replace(TOKEN, token_id="new", made_at=5.0)
    note = TokensNote(1, 5.0, (TOKEN,))
    assert revoked_since(note, (TOKEN, gone, new)) == (gone,)


def test_a_note_about_tokens_counts_only_if_it_is_signed_and_fits() -> None:
    note = TokensNote(1, 5.0, (TOKEN,))
    line = encode_tokens(note, OURS)
    assert decode_tokens(line, OURS) == note
    for forged in (line.replace("ana", "eve"), line[:-1], "", "zz {}", f"{line[:64]} []"):
        assert decode_tokens(forged, OURS) is None
    for other in (Signer("e" * 32, OURS.key), Signer("d" * 32, b"x" * 32), Signer("d" * 32, None)):
        assert decode_tokens(line, other) is None
    odd = TokensNote(1, 5.0, (replace(TOKEN, owner="a\nb"),))
    assert decode_tokens(encode_tokens(odd, OURS), OURS) is None


def test_the_last_note_about_tokens_counts_without_those_that_have_ended() -> None:
    old, ended = replace(TOKEN, token_id="old"), replace(TOKEN, token_id="end", until=50.0)
    notes = [TokensNote(1, 9.0, (old,)), TokensNote(2, 3.0, (TOKEN, ended)), TokensNote(2, 1.0, ())]
    assert newest(notes, 60.0) == (TOKEN,)
    assert newest([], 60.0) == ()
