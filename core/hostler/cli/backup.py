"""`hostler daemon backup FILE` and `restore FILE`: questions, progress and printed notes, such
as what a backup leaves out and other users' access to the file."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hostler.base.dates import clock_text
from hostler.base.errors import DaemonBusy, InputError, NoDaemonError
from hostler.base.paths import state_folder
from hostler.base.table import is_terminal
from hostler.base.units import counted, format_size
from hostler.cli.shared import note, out, out_json
from hostler.client.daemon_start import running
from hostler.daemon.config_file import load_config, state_path
from hostler.daemon.lock import StateLock
from hostler.quick.socket import Found, find_socket
from hostler.store.backup import Backup, Progress, back_up_to
from hostler.store.faults import disk_faults
from hostler.store.files import private_folder, require_local_disk
from hostler.store.restoring import Restored, restore_from
from hostler_agent.json_values import Outgoing, string

_TICK_S = 0.1


def backup(args: argparse.Namespace) -> int:
    """Write a backup of the daemon's folder, whether or not the daemon runs."""
    target, found = _file(args), find_socket(args.socket)
    state = _state_of(found)
    with _ending_well():
        progress = _progress(args)
        made = back_up_to(
            target, state, overwrite=args.force, progress=progress, secrets=args.secrets
        )
    if args.json:
        out_json("backup", _backup_json(made, state))
        return 0
    if not args.quiet:
        kept = "keys and the secrets of all users" if made.secrets else "keys"
        out(
            f"{made.path}: {format_size(made.size)}, {counted(made.runs, 'run')}, with the "
            f"daemon's {kept}: keep it secret"
        )
        for line in _left_out(made, state):
            note(line)
    return 0


def restore(args: argparse.Namespace) -> int:
    """Restore a backup into the daemon's folder, which must be empty."""
    source, found = _file(args), find_socket(args.socket)
    with disk_faults(source):
        is_there = source.is_file()
    if not is_there:
        raise InputError(f"there is no file {source}", remedy="name a backup")
    state = _named_or_configured(found)
    if running(found) is not None:
        raise DaemonBusy(
            f"a daemon answers at {found.path}",
            remedy="stop it first: hostler daemon stop, or systemctl stop hostler",
        )
    _warn_of_readers(source)
    require_local_disk(state)
    private_folder(state)
    with StateLock(state), _ending_well():
        told = restore_from(source, state, time.time(), _progress(args))
    if args.json:
        out_json("restore", _restored_json(told))
    elif not args.quiet:
        for line in restored_lines(told, "hostler daemon start" if found.personal else ""):
            out(line)
        if not found.personal and state != state_path(load_config(), personal=False):
            out(f'set this under [daemon] in config.toml before the start: state = "{state}"')
    return 0


@contextlib.contextmanager
def _ending_well() -> Iterator[None]:
    """A timer or a closed terminal that ends the command leaves nothing half done."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:  # nohup ignores the terminal's end
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _file(args: argparse.Namespace) -> Path:
    if args.file is None:
        raise InputError(
            f"hostler daemon {args.action} needs a file",
            remedy=f"hostler daemon {args.action} FILE",
        )
    return Path(args.file).expanduser().absolute()


def _state_of(found: Found) -> Path:
    """The folder that the running daemon reports; else the folder of the daemon that would
    start."""
    try:
        about = running(found) or {}
    except NoDaemonError:  # one that hangs is a reason to want a backup
        about = {}
    named = string(about.get("state"))
    return Path(named) if named else _named_or_configured(found)


def _named_or_configured(found: Found) -> Path:
    """A folder that the user names takes precedence over the configuration."""
    if os.environ.get("HOSTLER_STATE"):
        return Path(state_folder())
    return state_path(load_config(), personal=found.personal)


def _left_out(made: Backup, state: Path) -> list[str]:
    here = shlex.quote(str(state))
    lines = ["not included: configuration, SSH keys, known hosts, and logs of stages"]
    if not made.secrets:
        lines.append("secrets are not included: --secrets adds them and their key")
    if made.blobs:
        files = counted(made.blobs, "file")
        size = format_size(made.blob_bytes)
        lines.append(f"not included: {files} of sources and outputs ({size}), only listed")
    return [*lines, f"to copy them at any time: rsync -a {here}/content {here}/logs TARGET/"]


def restored_lines(told: Restored, start: str) -> list[str]:
    """What was restored, what is missing, and the next steps."""
    here = shlex.quote(str(told.state))
    since = clock_text(told.made_at)
    lines = [
        f"{told.state}: restored daemon {told.daemon_id[:8]} as of {since}, with "
        f"{counted(told.open_runs, 'open run')}"
    ]
    if told.missing:
        lines.append(
            f"missing: {told.missing} of {counted(told.blobs, 'file')} of sources and outputs "
            f"({format_size(told.missing_bytes)}); copy the old content folder to {here}/content "
            "before the start, or stages that need them fail"
        )
    if not told.secrets:
        lines.append(
            "secrets are not included: if the state folder contains none, users must set them "
            "again (hostler secret set)"
        )
    lines.append(
        "hosts refuse the previous daemon from now on; the restored one starts and stops nothing "
        "on a host until it has merged the host's notes since the backup"
    )
    return [*lines, f"start it: {start}"] if start else lines


def _backup_json(made: Backup, state: Path) -> Outgoing:
    return {
        "file": str(made.path),
        "size": made.size,
        "state": str(state),
        "generation": made.generation,
        "runs": made.runs,
        "secrets": made.secrets,
        "left_out": {"files": made.blobs, "bytes": made.blob_bytes},
    }


def _restored_json(told: Restored) -> Outgoing:
    return {
        "state": str(told.state),
        "daemon_id": told.daemon_id,
        "made_at": told.made_at,
        "generation": told.generation,
        "open_runs": told.open_runs,
        "secrets": told.secrets,
        "files": told.blobs,
        "missing": {"files": told.missing, "bytes": told.missing_bytes},
    }


def _warn_of_readers(source: Path) -> None:
    if stat.S_IMODE(source.stat().st_mode) & 0o077:
        note(
            f"{source} contains the daemon's keys, and other users can read it: chmod 600 {source}"
        )


def _progress(args: argparse.Namespace) -> Progress:
    """Rewrites one line on a terminal; writes nothing elsewhere."""
    if args.quiet or args.json or not is_terminal(sys.stderr):
        return _untold
    shown = 0.0

    def told(what: str, done: int, total: int) -> None:
        nonlocal shown
        now, is_last = time.monotonic(), done >= total
        if not is_last and now - shown < _TICK_S:
            return
        shown = now
        part = 100 * done // total if total else 100
        sys.stderr.write(f"\r\x1b[K{what} {part} %" if not is_last else "\r\x1b[K")
        sys.stderr.flush()

    return told


def _untold(_what: str, _done: int, _total: int) -> None:
    """Shows no progress."""
