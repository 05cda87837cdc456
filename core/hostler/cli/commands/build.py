"""`hostler build [FOLDER]`: build one container image from a Dockerfile on a host of the lab;
its options and what it prints at the end."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hostler.base.table import is_terminal
from hostler.cli.follow import CommandView, Follower, ask_detach, detached_note
from hostler.cli.options import duration, pair
from hostler.cli.shared import (
    add_common,
    hint,
    named_by_option,
    note,
    note_for,
    open_client,
    out,
    out_json,
)
from hostler.client.submission import with_source
from hostler.show.progress import end_code, end_lines
from hostler.submit.build_body import build_body
from hostler.submit.secrets import told_variables

STILL_RUNNING = 8
_ARG_INSTEAD = (
    'it also stays readable in the image. Use a pipeline file with kind = "build" and '
    'secrets = ["{name}"]'
)

EPILOG = """\
The builder's output is printed as it comes, then the image's id and the host that has it. The
folder is sent as a run's code is, without what .dockerignore names. For a pipeline whose stages
use the image, see kind = "build" in docs/pipeline.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", nargs="?", default=".", metavar="FOLDER", help="with the files of the image"
    )
    parser.add_argument("-f", "--file", metavar="FILE", help="path of the Dockerfile in the folder")
    parser.add_argument(
        "-t", "--tag", metavar="NAME",
        help="a name by which your later runs use the image (--image NAME)",
    )  # fmt: skip
    parser.add_argument("--target", metavar="NAME", help="stage of the Dockerfile to build")
    parser.add_argument(
        "--arg", dest="args", type=pair, action="append", metavar="NAME=VALUE",
        help="value of an ARG of the Dockerfile; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--host", dest="hosts", action="append", metavar="NAME",
        help="only on this host; a glob; may be repeated",
    )  # fmt: skip
    parser.add_argument("-d", "--detach", action="store_true", help="print the run's id and return")
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME",
        help="follow at most this long, then exit with 8",
    )  # fmt: skip
    add_common(parser, json_output=True, timeout=False)


def run(args: argparse.Namespace) -> int:
    """Submit the build, and follow it to its end."""
    folder = Path(args.folder)
    body = build_body(
        folder,
        dockerfile=args.file,
        target=args.target,
        args=dict(args.args or ()),
        hosts=args.hosts or (),
        tag=args.tag,
    )
    said = ["=".join(pair) for pair in args.args or ()]
    for line in told_variables(said, {}, "--arg", _ARG_INSTEAD):
        note_for(args)(line)
    client = open_client(args)
    with named_by_option():
        submitted = client.submit(client.carry_out(with_source(body, folder, note_for(args))))
    run_id = submitted.run_id
    if not args.detach:
        return _followed(args, Follower(client, run_id, args.timeout))
    if args.json:
        out_json("run", submitted)
        return 0
    out(run_id)
    hint(args, f"see it: hostler show {run_id}   stop it: hostler cancel {run_id}")
    return 0


def _followed(args: argparse.Namespace, follower: Follower) -> int:
    """Follow the build to its end; the exit code."""
    silent = args.json or args.quiet
    show = follower.finish if silent else CommandView(follower).show
    while True:
        try:
            show()
            break
        except KeyboardInterrupt:
            asks = is_terminal() and is_terminal(sys.stdin)
            if not asks or ask_detach(follower.client, follower.run_id):
                detached_note(follower.run_id)
                raise
    if follower.run is None or not follower.is_over:
        note_for(args)(f"{follower.run_id} still runs")
        return STILL_RUNNING
    if args.json:
        out_json("run", follower.run)
    elif follower.run.outcome != "succeeded":
        for line in end_lines(follower.run):
            note(line)
    else:
        _say_built(args, follower)
        if args.tag is not None:
            hint(args, f"use it: hostler run --image {args.tag} -- CMD")
    return end_code(follower.run)


def _say_built(args: argparse.Namespace, follower: Follower) -> None:
    """The image's id, alone if no other output is wanted."""
    attempt = follower.run.stages[0].attempt if follower.run is not None else None
    if attempt is None or attempt.image_digest is None:
        return
    out(attempt.image_digest if args.quiet else f"{attempt.image_digest} on {attempt.host}")
