"""`hostler deploy [FILE]`: options, the changes shown before the question, and deployment of a
service as a release."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from hostler.base.text import clean
from hostler.cli.deploy_target import Target, add_folder_options, target_of
from hostler.cli.options import pair
from hostler.cli.release_follow import add_following, end, is_declined
from hostler.cli.shared import DECLINED, hint, named_by_option, note_for, open_client, out, out_json
from hostler.client.submission import parcel_of, sent
from hostler.show.releases import deploy_lines
from hostler.submit.body import DEFAULT_FILE, text_body
from hostler.submit.secrets import told_variables

if TYPE_CHECKING:
    from hostler.base.json_types import JsonTable
    from hostler.model.views.services import DeployView

EPILOG = """\
In a folder with a Dockerfile and no pipeline file, the command builds the image first. It takes
command, port, folder and health path from the Dockerfile (CMD, EXPOSE, WORKDIR, HEALTHCHECK) or
from the options above; --print shows the pipeline file made from them. Unchanged parts are not
built again. The new release takes over once it answers. If it fails, the previous release serves
again, the command prints the end of the failed replica's log and exits with 6. Only one release
of a service can be deployed at a time.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file", nargs="?", default=".", metavar="FILE",
        help=f"a pipeline file with one service, the folder of its {DEFAULT_FILE}, or a folder "
             "with a Dockerfile",
    )  # fmt: skip
    parser.add_argument(
        "--env", dest="set_env", type=pair, action="append", metavar="NAME=VALUE",
        help="override a variable of the service; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "-p", "--param", dest="params", type=pair, action="append", metavar="NAME=VALUE",
        help="value of a parameter; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--strategy", choices=("surge", "recreate"),
        help="surge: start new replicas beside the old ones; recreate: replace the old ones",
    )  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="only show what would change, and how")
    parser.add_argument(
        "--rebuild", action="store_true",
        help="rebuild images and rerun other stages even if they have not changed",
    )  # fmt: skip
    add_folder_options(parser)
    add_following(parser)


def run(args: argparse.Namespace) -> int:
    """Show what changes, ask, deploy, and follow it."""
    target = target_of(args)
    if args.print:
        sys.stdout.write(clean(target.text, keep_newlines=True))
        hint(args, f"keep it: hostler deploy --print > {DEFAULT_FILE}")
        return 0
    how: JsonTable = {
        "set_env": dict(args.set_env or ()), "strategy": args.strategy, "rebuild": args.rebuild,
    }  # fmt: skip
    for line in _told(args):
        note_for(args)(line)
    body = text_body(target.text, target.file, dict(args.params or ()), os.environ)
    client = open_client(args)
    with named_by_option(when=target.is_made):
        parcel = client.carry_out(parcel_of(body, target.file.parent))
    try:
        with named_by_option(when=target.is_made):
            plan = client.plan_deploy({**parcel.plan, **how})
        if args.plan:
            return _show(args, plan, target)
        for line in (*target.lines(), *deploy_lines(plan)):
            note_for(args)(line)
        if is_declined(args, f"Deploy {plan.service}?"):
            return DECLINED
        body = client.carry_out(sent(parcel, note_for(args)))
    finally:
        parcel.drop()
    return end(args, client, client.deploy({**body, **how}))


def _told(args: argparse.Namespace) -> list[str]:
    """Variables whose values should be secrets instead."""
    said = ["=".join(pair) for pair in args.set_env or ()]
    return told_variables(said, {}, instead='secrets = ["{name}"] in the pipeline file are not')


def _show(args: argparse.Namespace, plan: DeployView, target: Target) -> int:
    if args.json:
        out_json("deploy", plan)
        return 0
    for line in (*deploy_lines(plan), *target.lines(whole=True)):
        out(line)
    return 0
