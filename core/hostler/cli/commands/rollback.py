"""`hostler rollback SERVICE [RELEASE]`: undo the release that takes over, or bring an earlier
one back, after a question."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.cli.options import natural
from hostler.cli.release_follow import add_following, end, is_declined
from hostler.cli.shared import DECLINED, open_client, out, out_json
from hostler.show.releases import rollback_lines

if TYPE_CHECKING:
    from hostler.model.views.services import DeployView


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("service", metavar="SERVICE", help="name of its pipeline")
    parser.add_argument(
        "release", nargs="?", type=natural, metavar="RELEASE",
        help="its number; without one the last that was live before",
    )  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="only show what would be done, and how")
    add_following(parser)


def run(args: argparse.Namespace) -> int:
    """Show the effect, ask, start the rollback, and follow it."""
    client = open_client(args)
    if args.plan:
        return _show(args, client.plan_rollback(args.service, args.release))
    known = client.releases(args.service)
    opened = next((release for release in known if release.is_open), None)
    undoes = opened is not None and args.release is None
    what = f"release {opened.number}" if undoes and opened is not None else args.service
    question = f"Stop {what}?" if undoes else f"Roll {what} back?"

    def effects() -> list[str]:
        return rollback_lines(client.plan_rollback(args.service, args.release))

    if is_declined(args, question, effects):
        return DECLINED
    return end(args, client, client.rollback(args.service, args.release), undoes=undoes)


def _show(args: argparse.Namespace, plan: DeployView) -> int:
    if args.json:
        out_json("deploy", plan)
        return 0
    for line in rollback_lines(plan):
        out(line)
    return 0
