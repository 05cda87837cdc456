"""Scans host keys and writes confirmed ones to known_hosts (no other module writes there); refuses
a key if another one is known."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import asyncssh

from hostler.base.errors import HostlerError, StateError, Unreachable
from hostler.ssh.config import Resolved, hashes_names, resolve
from hostler.ssh.connection import Dialler
from hostler.ssh.faults import Login, mapped_login
from hostler.ssh.known_hosts import Entry, hashed, load_known_hosts, spelled
from hostler.ssh.target import SshSettings, SshTarget

_ALGORITHMS = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip
_AT_ONCE = 20


class Known(StrEnum):
    """The state of a key in known_hosts."""

    YES = "yes"
    NO = "no"
    CHANGED = "changed"
    """Another key is known, so the connection may be intercepted."""
    BY_AUTHORITY = "by authority"
    """A certificate authority signs the host's key; this is checked at the connect."""


@dataclass(frozen=True, slots=True)
class ScannedKey:
    """The key that a host sent. It proves nothing until a user has compared the fingerprint."""

    host: str
    """The name in Hostler's config."""
    address: str
    """The name in known_hosts: "gpu1.lab" or "[gpu1.lab]:2222"."""
    algorithm: str
    fingerprint: str
    """"SHA256:..."."""
    known: Known
    public: str
    """Its line in known_hosts, without the host: "ssh-ed25519 AAAA..."."""
    file: str
    """The known_hosts file to which it would be added."""
    hash_name: bool = False
    """Whether `HashKnownHosts` is on for it."""
    places: tuple[str, ...] = ()
    """"FILE line N" of each known entry for the host."""


async def scan(targets: Iterable[SshTarget], dialler: Dialler) -> list[ScannedKey | HostlerError]:
    """Fetch the host keys of hosts without logging in to them; in the given order.

    Hostler logs in to jump hosts on the way, which must be trusted already.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(target: SshTarget) -> ScannedKey | HostlerError:
        async with places:
            try:
                return await scan_one(target, dialler)
            except HostlerError as error:
                return error

    return list(await asyncio.gather(*(one(target) for target in targets)))


async def scan_one(target: SshTarget, dialler: Dialler) -> ScannedKey:
    """Fetch the host key of one host. Raises Unreachable or Refused."""
    found = resolve(target, dialler.settings)
    entries = load_known_hosts(found.known_hosts).find(found.known_as, found.port)
    hop = await dialler.borrow_hop(target.name, found.jumps)
    try:
        login = Login(target.name, found, via=hop.found.login if hop else "")
        login.deadline = dialler.settings.connect_timeout
        with mapped_login(login):
            async with dialler.connects.gate(f"{found.hostname}:{found.port}"):
                async with asyncio.timeout(login.deadline):
                    key = await asyncssh.get_server_host_key(
                        target.destination,
                        port=target.port if target.port is not None else (),
                        tunnel=hop.raw if hop else None,
                        proxy_command=None if target.jump is not None else (),
                        config=list(found.config_files),
                        server_host_key_algs=_algorithms(entries),
                    )
    finally:
        await dialler.give_back(found.jumps)
    if key is None:
        raise Unreachable(target.name, f"{found.login} showed no host key")
    return _scanned(target, found, key, entries, dialler.settings)


def trust(keys: Sequence[ScannedKey]) -> list[ScannedKey]:
    """Append keys that a user has compared to the user's known_hosts (0600), as one step. Known
    keys are skipped. Returns the added keys.

    Raises StateError for a changed key: a person must remove the old line first.
    """
    changed = [key for key in keys if key.known is Known.CHANGED]
    if changed:
        places = "; ".join(place for key in changed for place in key.places)
        raise StateError(
            f"another key of {', '.join(key.host for key in changed)} is known",
            remedy=f"if its administrator confirms the change, delete {places} first",
        )
    new: dict[str, dict[str, ScannedKey]] = {}
    for key in keys:
        if key.known is Known.NO:
            new.setdefault(key.file, {})[f"{key.address} {key.public}"] = key
    for file, added in new.items():
        try:
            _append(Path(file), [_line(key) for key in added.values()])
        except OSError as error:
            raise StateError(f"{file} cannot be written: {error.strerror}") from error
    return [key for added in new.values() for key in added.values()]


def _algorithms(entries: Sequence[Entry]) -> list[str]:
    """Key types to request: known types come first, so that known keys are compared."""
    known = [entry.algorithm for entry in entries if not entry.marker]
    kinds = [a for name in known for a in _signing(name)]
    return list(dict.fromkeys([*(k for k in kinds if k in _ALGORITHMS), *_ALGORITHMS]))


def _signing(algorithm: str) -> tuple[str, ...]:
    return ("rsa-sha2-512", "rsa-sha2-256") if algorithm == "ssh-rsa" else (algorithm,)


def _scanned(
    target: SshTarget,
    found: Resolved,
    key: asyncssh.SSHKey,
    entries: Sequence[Entry],
    settings: SshSettings,
) -> ScannedKey:
    fingerprint = key.get_fingerprint()
    plain = [entry for entry in entries if not entry.marker]
    if any(entry.fingerprint == fingerprint for entry in plain):
        known = Known.YES
    elif plain:
        known = Known.CHANGED
    elif any(entry.marker == "cert-authority" for entry in entries):
        known = Known.BY_AUTHORITY
    else:
        known = Known.NO
    public = key.export_public_key("openssh").decode().split()
    return ScannedKey(
        host=target.name,
        address=spelled(found.known_as, found.port),
        algorithm=key.get_algorithm(),
        fingerprint=fingerprint,
        known=known,
        public=" ".join(public[:2]),
        file=found.known_hosts[0],
        hash_name=hashes_names(settings, target.destination),
        places=tuple(entry.place for entry in entries),
    )


def _line(key: ScannedKey) -> str:
    return f"{hashed(key.address) if key.hash_name else key.address} {key.public}"


def _append(file: Path, lines: Sequence[str]) -> None:
    """Add lines by replacing the file, so that a reader sees all of them or none."""
    file = file.resolve()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = file.read_bytes() if file.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    handle, temporary = tempfile.mkstemp(prefix=".known_hosts-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(before + "".join(f"{line}\n" for line in lines).encode())
            new.flush()
            os.fsync(new.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
