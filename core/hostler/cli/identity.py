"""Shows unknown or changed host keys: the table of fingerprints, the question whether to trust
them, and --trust-fingerprints for use without a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hostler.base.errors import HostlerError, InputError
from hostler.base.table import Column, is_terminal, render_table
from hostler.base.units import counted
from hostler.cli.shared import ask_line, note
from hostler.ssh.trust import Known, ScannedKey, trust

COLUMNS = (
    Column("HOST"),
    Column("ADDRESS"),
    Column("KEY"),
    Column("FINGERPRINT"),
)


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """--trust-fingerprints, for use without a terminal."""
    parser.add_argument(
        "--trust-fingerprints",
        metavar="SHA256:...",
        action="append",
        help="trust keys with this fingerprint without asking; may be repeated, or separated by "
        "commas",
    )


def changed_text(key: ScannedKey) -> str:
    """The message about a host that shows another key than the known one."""
    return (
        f"{key.host}: ANOTHER KEY IS KNOWN ({', '.join(key.places)}), and {key.address} now shows "
        f"{key.algorithm} {key.fingerprint}. The connection may be intercepted; nothing was "
        "changed. "
        "Ask its administrator; if the change is correct, delete that line, then "
        f"`hostler host trust {key.host}`"
    )


def key_row(key: ScannedKey) -> list[str]:
    """A row of the table of fingerprints."""
    return [key.host, key.address, key.algorithm.removeprefix("ssh-"), key.fingerprint]


def settle_keys(
    args: argparse.Namespace,
    scanned: Sequence[ScannedKey | HostlerError],
) -> int:
    """Show what is new, ask once, and write what the person trusts to known_hosts.

    Returns how many keys were added. Raises InputError if there is no terminal to ask on and the
    fingerprints were not given; changed keys are only reported: they are never added.
    """
    keys = [key for key in scanned if isinstance(key, ScannedKey)]
    for error in scanned:
        if isinstance(error, HostlerError):
            note(f"{error}")
    for key in keys:
        if key.known is Known.CHANGED:
            note(changed_text(key))
    new = [key for key in keys if key.known is Known.NO]
    if not new:
        return 0
    accepted = _accepted(args, new)
    if accepted:
        trust(accepted)
        note(f"{counted(len(accepted), 'host key')} added to known_hosts")
    return len(accepted)


def _accepted(args: argparse.Namespace, new: Sequence[ScannedKey]) -> list[ScannedKey]:
    given = {
        part.strip()
        for text in args.trust_fingerprints or ()
        for part in text.split(",")
        if part.strip()
    }
    listed = [key for key in new if key.fingerprint in given]
    rest = [key for key in new if key.fingerprint not in given]
    if not rest:
        return listed
    for line in render_keys(rest).splitlines():
        note(line)
    if not is_terminal_for_asking():
        are = "is" if len(rest) == 1 else "are"
        raise InputError(
            f"{counted(len(rest), 'host key')} {are} not known, and there is no terminal to ask on",
            remedy="Compare the fingerprints above with what the hosts' administrator says, then "
            "add --trust-fingerprints SHA256:...",
        )
    question = "Are these the hosts' true fingerprints? Trust them all? [y/N] "
    if ask_line(question).strip().lower() in ("y", "yes"):
        return listed + rest
    note("not trusted; Hostler does not connect to these hosts until you trust their keys")
    return listed


def is_terminal_for_asking() -> bool:
    """Whether a user can answer a question."""
    return is_terminal(sys.stdin)


def render_keys(keys: Sequence[ScannedKey]) -> str:
    """The table of fingerprints, at full width: a cut fingerprint cannot be compared."""
    return render_table(COLUMNS, [key_row(key) for key in keys]).rstrip("\n")
