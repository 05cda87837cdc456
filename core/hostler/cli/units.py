"""The texts of the systemd units, tmpfiles entry and first configuration of `daemon install`,
and the mark that shows whether a person changed one. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hostler.base.errors import InputError

UNIT = "hostler.service"
_MARK = "# Written by `hostler daemon install`. To change it, use "
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@+,-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_PROGRAM = re.compile(r"[\x00-\x1f\x7f\"'\\]")


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file to write."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Shared:
    """A shared daemon: who runs it, who uses it, and its folders."""

    login: str
    login_group: str
    group: str | None
    """Whose members may use it."""
    open_to_users: bool
    """Single users may use it, too: they need access through the socket's folder."""
    socket_folder: str | None
    """None: another tool manages it."""
    home: str | None
    """The folder that holds its state; None: the same."""


def system_unit(shared: Shared, argv: Sequence[str]) -> str:
    """The service of a shared daemon."""
    about = [
        "Description=Hostler, GPU machines over SSH, for a group",
        "Wants=network-online.target",
        "After=network-online.target nss-user-lookup.target systemd-tmpfiles-setup.service",
    ]
    settings = [
        f"User={shared.login}",
        f"ExecStart={command_line(argv)}",
        "LimitNOFILE=65536",
        *([f"SupplementaryGroups={shared.group}"] if shared.group else []),
    ]
    return marked("a drop-in: systemctl edit hostler", _unit(about, settings, "multi-user.target"))


def user_unit(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """The service of a person's own daemon."""
    named = ("HOSTLER_CONFIG", "HOSTLER_STATE")
    settings = [f"Environment={quoted(f'{k}={environ[k]}')}" for k in named if environ.get(k)]
    settings.append(f"ExecStart={command_line(argv)}")
    about = ["Description=Hostler, GPU machines over SSH"]
    return marked(
        "a drop-in: systemctl --user edit hostler", _unit(about, settings, "default.target")
    )


def _unit(about: Sequence[str], settings: Sequence[str], target: str) -> str:
    lines = [
        "[Unit]",
        *about,
        "",
        "[Service]",
        "Type=exec",
        *settings,
        "Restart=on-failure",
        "RestartSec=5",
        '# Work on this machine (transport = "local") outlives the daemon:',
        "KillMode=process",
        "OOMPolicy=continue",
        "TasksMax=infinity",
        "",
        "[Install]",
        f"WantedBy={target}",
    ]
    return "\n".join(lines) + "\n"


def tmpfiles(shared: Shared) -> str:
    """Folders that must exist after each boot, for systemd-tmpfiles."""
    lines = []
    if shared.socket_folder is not None:
        mode = "2755" if shared.open_to_users or shared.group is None else "2750"
        group = shared.group or shared.login_group
        lines.append(f"d {shared.socket_folder} {mode} {shared.login} {group} -")
    if shared.home is not None:
        lines.append(f"d {shared.home} 0700 {shared.login} {shared.login_group} -")
    text = "".join(f"{line}\n" for line in lines)
    return marked("a file that sorts before this one, see tmpfiles.d(5)", text)


def first_config(group: str, state: str) -> str:
    """The configuration of a shared daemon on a machine that has none."""
    return (
        "# Of this machine's shared daemon. docs/config.md describes every key.\n"
        "# Everybody may read this file: their commands do.\n\n"
        f'[daemon]\ngroup = "{group}"\nstate = "{state}"\n\n'
        "# One table a host; Hostler reads the SSH config and keys of the daemon's login.\n"
        "#[hosts.gpu1]\n"
    )


def command_line(argv: Sequence[str]) -> str:
    """A command as ExecStart takes it. Raises InputError where systemd does not run the program."""
    program, *words = argv
    if _NO_PROGRAM.search(program):
        raise InputError(
            "systemd runs no program whose path has a quote, a backslash or a control character: "
            f"{program!r}",
            remedy="Install Hostler in another folder",
        )
    # In the program's own path systemd fills in no variables.
    return " ".join([quoted(program), *(quoted(word, command=True) for word in words)])


def quoted(word: str, *, command: bool = False) -> str:
    """A word for a unit file, with %, line ends and, in commands, $ escaped."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    word = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", word)
    word = word.replace("$", "$$") if command else word
    return word if _PLAIN.fullmatch(word) else f'"{word}"'


def marked(instead: str, text: str) -> str:
    """A text below lines that show whether a user has changed it since."""
    return f"{_MARK}{instead}\n# sha256 {_digest(text)}\n{text}"


def is_unchanged(text: str) -> bool:
    """Whether a text is unchanged since `marked` made it, in any version."""
    first, _, rest = text.partition("\n")
    second, _, body = rest.partition("\n")
    return first.startswith(_MARK) and second == f"# sha256 {_digest(body)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
