"""Reads known_hosts of user and system: the known host keys, with file and line; `trust` writes
it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

_MAX_FILE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a known_hosts file that matches a host."""

    file: str
    line: int
    """Line number, from 1."""
    algorithm: str
    fingerprint: str
    marker: str
    """"", "cert-authority" or "revoked"."""

    @property
    def place(self) -> str:
        """File and line, for people."""
        return f"{self.file} line {self.line}"


class KnownHosts:
    """The lines of some known_hosts files. Invalid lines are skipped, as in OpenSSH; otherwise they
    would make every host unreachable."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = tuple(files)
        self._lines: list[tuple[str, int, str]] = []
        self.trusted = asyncssh.SSHKnownHosts()
        """For asyncssh. Never None or an empty list: both would switch off the check."""
        for name in files:
            self._load(name)

    def find(self, host: str, port: int) -> list[Entry]:
        """The lines for exactly this name and port, in file order."""
        wanted = spelled(host, port)
        found = []
        for name, number, line in self._lines:
            single = asyncssh.import_known_hosts(line)
            match = asyncssh.match_known_hosts(single, wanted, "", None)
            for marker, keys in zip(("", "cert-authority", "revoked"), match[:3], strict=True):
                found += [
                    Entry(name, number, key.get_algorithm(), key.get_fingerprint(), marker)
                    for key in keys
                    if isinstance(key, asyncssh.SSHKey)
                ]
        return found

    def _load(self, name: str) -> None:
        try:
            with Path(name).open("rb") as file:
                text = file.read(_MAX_FILE).decode("utf-8", "replace")
        except OSError:
            return
        for number, line in enumerate(text.split("\n"), 1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            try:
                self.trusted.load(stripped)
            except ValueError:
                continue
            self._lines.append((name, number, stripped))


_cache: dict[tuple[str, ...], tuple[object, KnownHosts]] = {}


def load_known_hosts(files: Sequence[str]) -> KnownHosts:
    """Read the files, or return the cached content if none has changed."""
    key, now = tuple(files), stamp(files)
    held = _cache.get(key)
    if held is not None and held[0] == now:
        return held[1]
    known = KnownHosts(files)
    _cache[key] = (now, known)
    return known


def stamp(files: Sequence[str]) -> tuple[object, ...]:
    """A value that changes if one of the files changes."""
    result: list[object] = []
    for name in files:
        try:
            info = Path(name).stat()
        except OSError:
            result.append((name, None))
        else:
            result.append((name, info.st_mtime_ns, info.st_size, info.st_ino))
    return tuple(result)


def spelled(host: str, port: int) -> str:
    """The name of a host in known_hosts: `name`, or `[name]:port` for a port other than 22."""
    return host if port == 22 else f"[{host}]:{port}"


def hashed(name: str) -> str:
    """A name in the form of `HashKnownHosts`."""
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
