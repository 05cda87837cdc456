"""`hostler daemon`: its actions (start, stop, restart, status, recover, backup, restore,
install), the output of status, and its exit code if none runs."""

from __future__ import annotations

import argparse
import time

from hostler.base.errors import ConflictError, InputError
from hostler.base.units import format_age
from hostler.cli.shared import add_common, add_yes, ensure_daemon, note_for, out, out_json, start
from hostler.quick.socket import Found, find_socket
from hostler_agent.json_values import number

NOT_RUNNING = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = (
        "start", "stop", "restart", "status", "recover", "backup", "restore", "install",
    )  # fmt: skip
    parser.add_argument("action", choices=actions, help="what to do")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="backup: the file to write; restore: to read"
    )
    parser.add_argument("--force", action="store_true", help="backup: overwrite an existing file")
    parser.add_argument(
        "--secrets",
        action="store_true",
        help="backup: include the secrets of all users, and their key",
    )
    parser.add_argument(
        "--without",
        metavar="HOST",
        action="append",
        default=[],
        help="recover: skip a host that is gone for good; may be repeated",
    )
    parser.add_argument(
        "--unsigned",
        metavar="RUN",
        action="append",
        default=[],
        help="recover: also take this unsigned run, or service as service:NAME, which a host may "
        "have forged; may be repeated",
    )
    parser.add_argument(
        "--print", action="store_true", help="install: only show what would be written"
    )
    parser.add_argument(
        "--user", action="store_true", help="install: a personal daemon, the default without root"
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        help="install: the group that may use the daemon (default hostler)",
    )
    parser.add_argument(
        "--login",
        metavar="USER",
        help="install: the user that the daemon runs as (default hostler)",
    )
    add_yes(parser)
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Run the command. Work on the hosts continues in every case."""
    if args.action == "recover":
        from hostler.cli.recover import run as recover

        return recover(args)
    if args.action == "install":
        from hostler.cli.daemon_install import run as install

        return install(args)
    if args.action in ("backup", "restore"):
        from hostler.cli import backup

        return backup.backup(args) if args.action == "backup" else backup.restore(args)
    if args.file is not None:
        raise InputError(f"hostler daemon {args.action} takes no file: {args.file}")
    found = find_socket(args.socket)
    if args.action == "status":
        return _status(args, found)
    if args.action == "start":
        ensure_daemon(args.socket, note_for(args))
        return _status(args, found)
    if not found.personal and args.action == "restart":
        raise ConflictError(
            f"the daemon at {found.path} is not your personal one",
            remedy="Restart it the way it was started",
        )
    from hostler.client.daemon_start import stop

    if not stop(found):
        note_for(args)("no daemon ran")
    if args.action == "restart":
        start(found)
        return _status(args, found)
    return 0


def _status(args: argparse.Namespace, found: Found) -> int:
    from hostler.cli.recover_hint import generation_sentence
    from hostler.client.daemon_start import running, view_of_daemon

    about = running(found)
    if args.json:
        out_json("daemon", {"socket": found.path, "origin": found.origin, "daemon": about})
    elif about is None:
        if not args.quiet:
            out(f"not running (socket {found.path})")
    elif not args.quiet:
        started_at = number(about.get("started_at")) or 0.0
        since = format_age(time.time() - started_at)
        out(f"running: version {about.get('version')}, pid {about.get('pid')}, for {since}")
        out(f"socket: {found.path} ({found.origin})")
        out(f"state: {about.get('state')}")
        said = generation_sentence(view_of_daemon(about))
        if said is not None:
            out(said)
    if found.hint and not args.json and not args.quiet:
        out(found.hint)
    return NOT_RUNNING if about is None else 0
