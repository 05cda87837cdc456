"""`hostler deploy [FILE]`: make the service of a pipeline file the one that answers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.base.errors import InputError
from hostler.cli.options import pair
from hostler.cli.release_follow import add_following, end, is_declined
from hostler.cli.shared import DECLINED, note_for, open_client, out, out_json
from hostler.client.submission import choose_code, with_source
from hostler.show.releases import deploy_lines
from hostler.submit.body import DEFAULT_FILE, pipeline_body, with_file_names

if TYPE_CHECKING:
    from hostler.base.json_types import JsonTable
    from hostler.model.views.services import DeployView

EPILOG = """\
The new release takes over once it answers; else what was live before serves again, the end of the
failed replica's log is printed, and the command exits with 6. While a release takes over, no other
one can be deployed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file", nargs="?", default=".", metavar="FILE",
        help=f"a pipeline file with one service, or the folder of its {DEFAULT_FILE}",
    )  # fmt: skip
    parser.add_argument(
        "--env", dest="set_env", type=pair, action="append", metavar="NAME=VALUE",
        help="another value of a variable of the service; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "-p", "--param", dest="params", type=pair, action="append", metavar="NAME=VALUE",
        help="value of a parameter; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--strategy", choices=("surge", "recreate"),
        help="surge: beside what serves, where there is room; recreate: in its slots",
    )  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="only show what would change, and how")
    add_following(parser)


def run(args: argparse.Namespace) -> int:
    """Show what changes, ask, deploy, and follow it."""
    file = _file(Path(args.file))
    how: JsonTable = {"set_env": dict(args.set_env or ()), "strategy": args.strategy}
    body = pipeline_body(file, dict(args.params or ()), os.environ)
    client = open_client(args)
    body = client.carry_out(choose_code(body, file.parent))
    plan = client.plan_deploy({**with_file_names(body, file.parent), **how})
    if args.plan:
        return _show(args, plan)
    if not args.json:
        for line in deploy_lines(plan):
            note_for(args)(line)
    if is_declined(args, f"Deploy {plan.service}?"):
        return DECLINED
    body = client.carry_out(with_source(body, file.parent, note_for(args)))
    return end(args, client, client.deploy({**body, **how}))


def _file(given: Path) -> Path:
    if not given.is_dir():
        return given
    if (given / DEFAULT_FILE).is_file():
        return given / DEFAULT_FILE
    raise InputError(
        f"{given} has no {DEFAULT_FILE}",
        remedy='write one with a stage of kind = "service", see docs/pipeline.md; of a folder '
        'with a Dockerfile, also one of kind = "build"',
    )


def _show(args: argparse.Namespace, plan: DeployView) -> int:
    if args.json:
        out_json("deploy", plan)
        return 0
    for line in deploy_lines(plan):
        out(line)
    return 0
