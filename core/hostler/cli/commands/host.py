"""`hostler host trust HOST...` shows host keys and trusts them; `host clean HOST` removes
unneeded files (host_clean.py)."""

from __future__ import annotations

import argparse
import asyncio

from hostler.base.errors import HostlerError, InputError
from hostler.cli.configured import configured_or_named
from hostler.cli.identity import add_trust_option, settle_keys
from hostler.cli.shared import add_common, add_yes, note_for
from hostler.daemon.config_file import load_config
from hostler.link.factory import ssh_settings, ssh_target
from hostler.model.config import HostConfig
from hostler.ssh.connection import Dialler
from hostler.ssh.target import SshSettings, SshTarget
from hostler.ssh.trust import ScannedKey, scan


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=("trust", "clean"), help="what to do")
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="hosts; ranges like gpu[01-12]")
    add_trust_option(parser)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="clean: only show what would be removed"
    )
    parser.add_argument(
        "--checkpoints",
        action="store_true",
        help="clean: also checkpoints, except those of open and kept runs",
    )
    parser.add_argument(
        "--kept", action="store_true", help="clean: also kept files of ended stages"
    )
    add_yes(parser)
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Fetch keys, show them, ask once: exit 3 if a host could not be trusted. Or clean one host."""
    if args.action == "clean":
        from hostler.cli.host_clean import run as clean

        return clean(args)
    for option in ("dry_run", "checkpoints", "kept", "yes", "json"):
        if getattr(args, option):
            raise InputError(f"--{option.replace('_', '-')} is for hostler host clean")
    hosts = configured_or_named(args.hosts)
    settings = ssh_settings(load_config().daemon)
    scanned = scan_hosts(hosts, settings)
    added = settle_keys(args, scanned)
    failed = [entry for entry in scanned if isinstance(entry, HostlerError)]
    changed = [k for k in scanned if isinstance(k, ScannedKey) and k.known.value == "changed"]
    new = [k for k in scanned if isinstance(k, ScannedKey) and k.known.value == "no"]
    if not added and not failed and not changed and not new:
        note_for(args)("all keys are known already")
    return 3 if failed or changed or added < len(new) else 0


def scan_hosts(hosts: list[HostConfig], settings: SshSettings) -> list[ScannedKey | HostlerError]:
    """The keys of all hosts that are reached by SSH, fetched at once."""
    targets = [ssh_target(host) for host in hosts if host.transport == "ssh"]
    return asyncio.run(_scan(targets, settings)) if targets else []


async def _scan(targets: list[SshTarget], settings: SshSettings) -> list[ScannedKey | HostlerError]:
    return await scan(targets, Dialler(settings))
