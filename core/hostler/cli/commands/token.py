"""`hostler token`: make (--for a time), list and revoke tokens for services behind the gateway;
its columns and warnings."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text, exact_time
from hostler.base.errors import InputError
from hostler.base.table import Column, is_terminal
from hostler.base.units import parse_duration
from hostler.cli.shared import (
    DECLINED,
    add_common,
    add_yes,
    confirm,
    each,
    hint,
    note_for,
    open_client,
    out,
    out_json,
    out_table,
)

if TYPE_CHECKING:
    from hostler.model.views.tokens import TokenView

EPILOG = """\
  hostler token new                      for every service, for 90 days
  hostler token new digits --for 7d      for one
  hostler token ls
  hostler token revoke ID

Send the token as "Authorization: Bearer TOKEN"; in a browser, enter it as the password.
"""
INTERMIXED = True
COLUMNS = (
    Column("ID"), Column("OWNER"), Column("SERVICES", flex=True, least=12), Column("MADE"),
    Column("UNTIL"), Column("STATE"),
)  # fmt: skip
_EFFECT = "requests with it are refused from now on, and its open streams are closed"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=("new", "ls", "revoke"), help="what to do")
    parser.add_argument("names", nargs="*", metavar="NAME", help="services, or ids of tokens")
    parser.add_argument(
        "--for", dest="time", metavar="TIME", help="new: how long it works, like 7d (default: 90d)"
    )
    add_yes(parser)
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """Make one, list them, or revoke some."""
    if args.action != "new" and args.time:
        raise InputError("--for is for hostler token new")
    return {"new": _new, "ls": _list, "revoke": _revoke}[args.action](args)


def _new(args: argparse.Namespace) -> int:
    try:
        seconds = parse_duration(args.time or "90d")
    except ValueError as error:
        raise InputError(f"--for: {error}") from None
    made = open_client(args).new_token(args.names, seconds)
    if args.json:
        out_json("token", made)
        return 0
    say = note_for(args)
    services = "every service" if "*" in made.services else ", ".join(made.services)
    say(f"token {made.token_id} for {services} until {clock_text(made.until)}, shown only now:")
    out(made.token)
    for url in made.urls.values() or (f"{made.url}/NAME/",):
        say(f'use it: curl -H "Authorization: Bearer ..." {url}')
    return 0


def _list(args: argparse.Namespace) -> int:
    if args.names:
        raise InputError("hostler token ls takes no name: it lists all")
    found = open_client(args).tokens()
    if args.json:
        out_json("tokens", {"tokens": found})
    elif found:
        out_table(args, COLUMNS, [_row(token) for token in found])
    else:
        hint(args, "there are no tokens; create one: hostler token new")
    return 0


def _row(token: TokenView) -> list[str]:
    made, until = (
        clock_text(at) if is_terminal() else exact_time(at) for at in (token.made_at, token.until)
    )
    services = "all" if "*" in token.services else ", ".join(token.services)
    return [token.token_id, token.owner, services, made, until, token.state]


def _revoke(args: argparse.Namespace) -> int:
    if args.json:
        raise InputError("--json is for hostler token new and ls")
    ids = list(dict.fromkeys(args.names))
    if not ids:
        raise InputError("ID is missing", remedy="See yours: hostler token ls")
    what = f"the token {ids[0]}" if len(ids) == 1 else f"{len(ids)} tokens"
    if not confirm(args, f"Revoke {what}?", [_EFFECT]):
        return DECLINED
    client = open_client(args)

    def revoke(token_id: str) -> None:
        client.revoke_token(token_id)
        if not args.quiet:
            out(f"{token_id}: revoked")

    return each(ids, revoke)
