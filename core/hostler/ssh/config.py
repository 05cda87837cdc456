"""Reads the user's `ssh_config`: its hosts, the settings for one of them, and which options are
used or ignored."""

from __future__ import annotations

import fnmatch
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from hostler.base.errors import Refused
from hostler.ssh.target import SshSettings, SshTarget

_MAX_INCLUDES = 16
_NOWHERE = frozenset({"none", "/dev/null"})


@dataclass(frozen=True, slots=True)
class ListedHost:
    """A host that `ssh_config` names without wildcards."""

    alias: str
    hostname: str
    user: str
    port: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """The values that OpenSSH would use for a destination, without those that Hostler ignores."""

    destination: str
    hostname: str
    port: int
    user: str
    known_as: str
    """The name under which its key is looked up: `HostKeyAlias` or the host name."""
    jumps: tuple[str, ...]
    """Jump hosts, nearest first, in `user@host:port` form."""
    identity_files: tuple[str, ...]
    """Named files first; missing files stay in the list."""
    identities_only: bool
    agent: str | None
    known_hosts: tuple[str, ...]
    """The user's files, then the system's."""
    config_files: tuple[str, ...]
    host_key_algorithms: bool = False
    """Whether `HostKeyAlgorithms` is set."""
    ciphers: bool = False
    """Whether `Ciphers` is set."""

    @property
    def login(self) -> str:
        """For people: user@host, with the port if it is not 22."""
        port = "" if self.port == 22 else f":{self.port}"
        return f"{self.user}@{self.hostname}{port}"


def resolve(target: SshTarget, settings: SshSettings) -> Resolved:
    """Read `ssh_config` for a target. Raises Refused if the file cannot be used."""
    files = _readable(settings.config_files)
    try:
        options = _options(target, files)
    except (ValueError, OSError, RecursionError) as error:
        raise Refused(
            target.name,
            f"ssh_config cannot be used: {error}",
            remedy="correct that line; `ssh -G HOST` shows what OpenSSH reads",
        ) from error
    config = options.config
    alias = options.host_key_alias
    identities = _strings(config.get("IdentityFile"))
    named = (target.key,) if target.key else tuple(identities)
    return Resolved(
        destination=target.destination,
        hostname=options.host,
        port=options.port,
        user=options.username,
        known_as=alias if isinstance(alias, str) else options.host,
        jumps=_jumps(target, config.get("ProxyJump")),
        identity_files=tuple(_expand(f, settings) for f in named) or settings.default_keys,
        identities_only=bool(target.key) or bool(config.get("IdentitiesOnly")),
        agent=_agent(config.get("IdentityAgent", "SSH_AUTH_SOCK"), settings),
        known_hosts=_known_hosts(config.get("UserKnownHostsFile"), settings),
        config_files=files,
        host_key_algorithms=config.get("HostKeyAlgorithms") is not None,
        ciphers=config.get("Ciphers") is not None,
    )


def list_hosts(settings: SshSettings) -> list[ListedHost]:
    """The hosts of the user's own `ssh_config`, in file order, with their resolved values.

    Names with wildcards or negations are left out, and so are hosts that only the system's file
    names.
    """
    listed: dict[str, ListedHost] = {}
    for key, args in _entries(Path(settings.config_files[0]), settings, 0):
        if key != "host":
            continue
        for alias in args:
            if alias in listed or any(char in alias for char in "*?!"):
                continue
            found = resolve(SshTarget(name=alias), settings)
            listed[alias] = ListedHost(alias, found.hostname, found.user, found.port)
    return list(listed.values())


def hashes_names(settings: SshSettings, destination: str) -> bool:
    """Whether `HashKnownHosts` is on for a destination. `Match` blocks other than `Match all` are
    ignored: asyncssh does not read this option, and it changes only how the file looks."""
    for name in settings.config_files:
        applies = True
        for key, args in _entries(Path(name), settings, 0):
            if key == "host":
                applies = _matches(destination, args)
            elif key == "match":
                applies = [arg.lower() for arg in args] == ["all"]
            elif applies and key == "hashknownhosts" and args:
                return args[0].lower() in {"yes", "true"}
    return False


def _options(target: SshTarget, files: Sequence[str]) -> asyncssh.SSHClientConnectionOptions:
    return asyncssh.SSHClientConnectionOptions(
        host=target.destination,
        config=list(files),
        port=target.port if target.port is not None else (),
        username=target.user if target.user is not None else (),
        known_hosts=b"",
        client_keys=None,
        x509_trusted_certs=None,
    )


def _readable(files: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in files if os.access(name, os.R_OK) and Path(name).is_file())


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _jumps(target: SshTarget, configured: object) -> tuple[str, ...]:
    text = target.jump if target.jump is not None else configured
    if not isinstance(text, str) or text.lower() == "none":
        return ()
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _expand(name: str, settings: SshSettings) -> str:
    if name.startswith("~/"):
        return f"{settings.home}/{name[2:]}"
    return name.replace("%d", settings.home)


def _agent(configured: object, settings: SshSettings) -> str | None:
    if configured is None:  # "none"
        return None
    text = str(configured)
    if text == "SSH_AUTH_SOCK":
        return settings.agent()
    if text.startswith("$"):
        return os.environ.get(text.strip("${}")) or None
    return _expand(text, settings)


def _known_hosts(configured: object, settings: SshSettings) -> tuple[str, ...]:
    """The files of `UserKnownHostsFile`. `none` and /dev/null do not switch off the check: the
    default file is read instead."""
    named = [f for f in _strings(configured) if f.lower() not in _NOWHERE]
    own = tuple(_expand(f, settings) for f in named) or settings.default_known_hosts
    return (*own, *settings.system_known_hosts)


def _matches(destination: str, patterns: Sequence[str]) -> bool:
    hit = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if fnmatch.fnmatchcase(destination, pattern[1:]):
                return False
        elif fnmatch.fnmatchcase(destination, pattern):
            hit = True
    return hit


def _entries(path: Path, settings: SshSettings, depth: int) -> Iterator[tuple[str, list[str]]]:
    """(lower-case keyword, arguments) of a file and of the files that it includes, in order."""
    if depth > _MAX_INCLUDES or not os.access(path, os.R_OK) or not path.is_file():
        return
    for line in path.read_text(errors="replace").splitlines():
        words = _words(line)
        if not words:
            continue
        key, args = words[0].lower(), words[1:]
        if key != "include":
            yield key, args
            continue
        for pattern in args:
            for included in _included(pattern, path, settings):
                yield from _entries(included, settings, depth + 1)


def _words(line: str) -> list[str]:
    text = line.strip()
    if not text or text.startswith("#"):
        return []
    keyword, separator, rest = text.partition("=")
    if separator and keyword.strip().isalnum():
        text = f"{keyword} {rest}"
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _included(pattern: str, within: Path, settings: SshSettings) -> list[Path]:
    name = _expand(pattern, settings)
    folder = Path(f"{settings.home}/.ssh")
    if str(within).startswith("/etc/"):
        folder = Path("/etc/ssh")
    full = Path(name) if name.startswith("/") else folder / name
    return sorted(Path(full.anchor).glob(str(full.relative_to(full.anchor))))
