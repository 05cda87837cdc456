"""`hostler images`: list images that the daemon keeps for hosts (columns, times), send one to
hosts, remove one."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from hostler.base.errors import InputError
from hostler.base.table import Column
from hostler.base.text import clean_line
from hostler.base.units import format_age, format_size
from hostler.cli.shared import add_common, open_client, out, out_json, out_table

if TYPE_CHECKING:
    from hostler.model.views.images import ImageView, SentImage

EPILOG = """\
  hostler images                       images that the daemon keeps
  hostler images send NAME HOST...     copy an image to hosts, from a host that has it
  hostler images rm NAME...            remove images here; copies on hosts stay

Stages do not need `send`: the daemon copies an image to a host that cannot pull it.
"""
COLUMNS = (
    Column("IMAGE", flex=True, least=12),
    Column("SIZE", right=True),
    Column("FROM"),
    Column("USED", right=True),
    Column("DIGEST"),
)
_ACTIONS = ("ls", "send", "rm")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", nargs="?", default="ls", choices=_ACTIONS, help="what to do")
    parser.add_argument("names", nargs="*", metavar="NAME", help="an image, and for send hosts")
    add_common(parser, listing=True)


def run(args: argparse.Namespace) -> int:
    """List, send or forget images."""
    if args.json and args.action == "rm":
        raise InputError("--json is for hostler images ls and send")
    return {"ls": _list, "send": _send, "rm": _remove}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    if args.names:
        raise InputError("hostler images ls takes no names")
    found = open_client(args).images()
    if args.json:
        out_json("images", found)
        return 0
    out_table(args, COLUMNS, [_row(image, time.time()) for image in reversed(found.images)])
    return 0


def _send(args: argparse.Namespace) -> int:
    if len(args.names) < 2:
        raise InputError(
            "hostler images send needs an image and at least one host",
            remedy="hostler images send NAME HOST...",
        )
    image, *hosts = args.names
    found = open_client(args).send_image(image, hosts)
    if args.json:
        out_json("images", found)
    else:
        for each in found.sent:
            if each.image is None or not args.quiet:
                out(sent_line(each))
    return 0 if all(each.image is not None for each in found.sent) else 1


def _remove(args: argparse.Namespace) -> int:
    if not args.names:
        raise InputError("hostler images rm needs a name", remedy="hostler images ls shows them")
    client = open_client(args)
    for name in args.names:
        client.remove_image(name)
        if not args.quiet:
            out(f"{clean_line(name, 200)}: removed here; hostler gc frees its space")
    return 0


def sent_line(sent: SentImage) -> str:
    """The result of sending the image to one host."""
    if sent.image is None:
        return f"{sent.host}: not sent: {clean_line(sent.error, 1000)}"
    return f"{sent.host}: {clean_line(sent.name, 200)} ({clean_line(sent.image, 19)})"


def _row(image: ImageView, now: float) -> list[str]:
    used = format_age(max(0.0, now - image.used_at))
    return [image.name, format_size(image.size), image.host, used, image.digest[:19]]
