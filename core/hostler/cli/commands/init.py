"""`hostler init [HOST...]`: offers hosts of ssh_config, probes them (how long), and writes or
extends config.toml; the old file is kept as .bak."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from hostler.base.errors import ConfigError, InputError
from hostler.base.json_types import JsonTable
from hostler.base.keys import write_changes
from hostler.base.paths import user_config
from hostler.base.table import is_terminal, render_table, terminal_width
from hostler.base.text import first_of
from hostler.base.text_file import read_text
from hostler.base.units import counted
from hostler.cli.configured import expand, named_host
from hostler.cli.gpus_direct import look_direct
from hostler.cli.identity import add_trust_option, settle_keys
from hostler.cli.shared import DECLINED, add_common, add_yes, ask_line, confirm, note, note_for
from hostler.daemon.config_file import load_config
from hostler.link.factory import ssh_settings
from hostler.model.config import Config, DaemonConfig, HostConfig
from hostler.show.fleet import is_stale
from hostler.show.gpus import HOST_COLUMNS, host_rows, summary_line
from hostler.spec.config import read_config
from hostler.ssh.config import ListedHost, list_hosts
from hostler.ssh.target import SshSettings

_PROBE_DEADLINE = 15.0

EPILOG = """\
HOST is a name that SSH knows, also with a login or port (bo@gpu1:2222), a range like gpu[01-12],
or `local` for this machine. Without HOST, the command offers the hosts of your ~/.ssh/config. It
installs nothing on them.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST", help="[user@]host[:port], ranges, or `local`"
    )
    parser.add_argument(
        "--no-probe", action="store_true", help="only write the file, do not check the hosts"
    )
    add_trust_option(parser)
    add_yes(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Ask for missing values, trust keys with the user, probe the hosts, write the file."""
    daemon = _daemon_settings()
    settings = ssh_settings(daemon)
    named = _each_once([named_host(name) for name in expand(args.hosts) or _choose(settings)])
    path = Path(user_config())
    old = _present(path)
    present = {} if old is None else _hosts_in(path, old)
    new = [host for host in named if host.name not in present]
    if new and old is not None and not confirm(args, _question(path, new)):
        return DECLINED
    silent = () if args.no_probe else _probe(args, [_as_known(h) for h in named], daemon)
    if new:
        _write(args, path, old or "", new)
        _say_who_is_silent([host.name for host in new if host.name in silent])
    else:
        note_for(args)(f"{path} has {_all_of(named)} already: nothing to write")
    note_for(args)("next: hostler gpus   hostler doctor")
    return 0


def _each_once(named: list[HostConfig]) -> list[HostConfig]:
    """The hosts, each once. Raises InputError for a host with two logins: a host has one table."""
    found: dict[str, HostConfig] = {}
    for host in named:
        if found.setdefault(host.name, host) != host:
            raise InputError(
                f"{host.name} is named twice, with different logins or ports",
                remedy="Name it once. For a second login, add a host with another name and the "
                "same `address`",
            )
    return list(found.values())


def _present(path: Path) -> str | None:
    try:
        return read_text(str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _hosts_in(path: Path, text: str) -> dict[str, HostConfig]:
    """The hosts of the present file. Raises ConfigError where it is wrong: it would stay wrong."""
    hosts = read_config(text, file=str(path)).hosts
    # A file that names none means this machine, which is not said in it.
    return {host.name: host for host in hosts} if "hosts" in tomllib.loads(text) else {}


def _as_known(named: HostConfig) -> HostConfig:
    """What the present configuration, including the system's, says of a host."""
    try:
        return load_config().host(named.name) or named
    except ConfigError:  # the system's file; the person's own was read before
        return named


def _daemon_settings() -> DaemonConfig:
    try:
        return load_config().daemon
    except ConfigError:  # told where the person's own is read; the system's is not theirs to mend
        return DaemonConfig()


def _question(path: Path, new: list[HostConfig]) -> str:
    return f"{path} exists already. Add {_all_of(new)} to it?"


def _all_of(hosts: list[HostConfig]) -> str:
    return first_of([host.name for host in hosts], 5)


def _write(args: argparse.Namespace, path: Path, old: str, new: list[HostConfig]) -> None:
    text = extended(old, {host.name: write_changes(host) for host in new})
    count = len(read_config(text, file=str(path)).hosts)
    backup = write_config(path, text)
    say = note_for(args)
    if backup is not None:
        say(f"the old file is kept as {backup}")
    say(f"wrote {path}: {counted(count, 'host')}")


def _choose(settings: SshSettings) -> list[str]:
    """Hosts that the user picks from the ssh_config. Raises InputError without a terminal."""
    if not is_terminal(sys.stdin):
        raise InputError(
            "no hosts were named, and there is no terminal to ask on",
            remedy="Name them: hostler init gpu[01-12] or hostler init local",
        )
    listed = list_hosts(settings)
    for line in choice_lines(listed):
        note(line)
    answer = ask_line("Which hosts? Numbers, names or ranges; empty: `local`, this machine: ")
    return picked(answer, listed)


def choice_lines(listed: list[ListedHost]) -> list[str]:
    """The hosts of ssh_config, numbered."""
    if not listed:
        return ["~/.ssh/config names no hosts"]
    return [
        f"{n:3}  {host.alias}  ({host.user}@{host.hostname}:{host.port})"
        for n, host in enumerate(listed, 1)
    ]


def picked(answer: str, listed: list[ListedHost]) -> list[str]:
    """Host names from "1 3-5 gpu[01-04] all". Raises InputError."""
    names: list[str] = []
    for word in answer.replace(",", " ").split():
        first, _, last = word.partition("-")
        if word == "all":
            names += [host.alias for host in listed]
        elif first.isdigit() and (last.isdigit() or not last):
            numbers = range(int(first), int(last or first) + 1)
            if not numbers or numbers[0] < 1 or numbers[-1] > len(listed):
                raise InputError(f"there is no host number {word}")
            names += [listed[number - 1].alias for number in numbers]
        else:
            names += expand([word])
    return list(dict.fromkeys(names)) or ["local"]


def _probe(args: argparse.Namespace, hosts: list[HostConfig], daemon: DaemonConfig) -> set[str]:
    """Settle the hosts' keys, and show their hardware; the names of hosts that did not answer."""
    from hostler.cli.commands.host import scan_hosts

    say = note_for(args)
    remote = sum(host.transport == "ssh" for host in hosts)
    if remote:
        say(f"asking {counted(remote, 'host')} for {'its key' if remote == 1 else 'their keys'}")
        settle_keys(args, scan_hosts(hosts, ssh_settings(daemon)))
    say(f"checking {counted(len(hosts), 'host')}")
    fleet = look_direct(deadline=_PROBE_DEADLINE, config=Config(hosts=tuple(hosts), daemon=daemon))
    if not args.quiet:
        width = terminal_width(sys.stderr) if is_terminal(sys.stderr) else None
        table = render_table(HOST_COLUMNS, host_rows(fleet), width=width)
        sys.stderr.write(table)
        note(summary_line(fleet))
        for host in fleet["hosts"]:  # the table has no room for what to do about it
            if host.get("problem"):
                note(f"{host['host']}: {host['problem']}")
    return {str(host["host"]) for host in fleet["hosts"] if is_stale(host)}


def _say_who_is_silent(names: list[str]) -> None:
    if names:
        few = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        note(
            f"{few} cannot be used yet, but {'are' if names[1:] else 'is'} in the file. If a "
            f"name is wrong, delete its table there"
        )


def extended(old: str, hosts: Mapping[str, JsonTable]) -> str:
    """The text of a file with more hosts at its end. Existing text stays unchanged, including
    comments; existing hosts keep their tables. Raises ConfigError where the old text is not TOML.
    """
    try:
        document = tomllib.loads(old)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"the current configuration cannot be read: {error}",
            remedy="Correct it or move it away",
        ) from error
    present = document.get("hosts", {})
    new = {name: keys for name, keys in hosts.items() if name not in present}
    wanted = {**document, "hosts": {**present, **new}}
    if not new:
        return old
    head = f"{old.rstrip()}\n\n" if old.strip() else ""
    text = head + tomli_w.dumps({"hosts": new})
    # `hosts = { ... }` on one line cannot be gone on with: then the file is written anew.
    return text if _says(text, wanted) else tomli_w.dumps(wanted)


def _says(text: str, wanted: JsonTable) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def write_config(path: Path, text: str) -> Path | None:
    """Write a configuration as one step; the old file is kept beside it as `.bak`.

    Returns the backup, None if there was no old file. Raises ConfigError.
    """
    target = path.resolve()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        backup = _keep(target) if target.exists() else None
        _replace(target, text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    return backup


def _keep(target: Path) -> Path:
    backup = target.with_name(target.name + ".bak")
    _replace(backup, target.read_text(encoding="utf-8"))
    return backup


def _replace(target: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
