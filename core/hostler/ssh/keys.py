"""The keys offered at login: the user's files and SSH agent, in OpenSSH's order; an agent that does
not answer within 2 seconds is ignored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from hostler.ssh.config import Resolved
from hostler.ssh.known_hosts import stamp

_AGENT_DEADLINE = 2.0

Offer = asyncssh.SSHKeyPair | asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]


@dataclass(slots=True)
class Keyring:
    """The keys for one login. Call `close` after the login, not before: the agent signs during
    it."""

    offers: list[Offer] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """The offered keys, for people."""
    remarks: list[str] = field(default_factory=list)
    """Why a named key is not offered."""
    agent: asyncssh.SSHAgentClient | None = None

    def close(self) -> None:
        """Close the connection to the agent."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None


async def gather_keys(found: Resolved, named: bool) -> Keyring:
    """The keys for a login. `named`: a user named `found.identity_files`. They then come before the
    other keys of the agent, and a missing one is reported as a remark."""
    ring = Keyring()
    held = await _agent_keys(ring, found.agent)
    files = [await _load(name) for name in found.identity_files]
    own: list[tuple[str, Offer]] = []
    for loaded in files:
        if loaded.public is not None and loaded.public in held:
            own.append((f"{loaded.name} (agent)", held.pop(loaded.public)))
        elif loaded.offers:
            own += [(loaded.name, offer) for offer in loaded.offers]
        elif named or loaded.problem != "not there":
            ring.remarks.append(f"{loaded.name}: {loaded.problem}")
    others = [] if found.identities_only else [(_title(pair), pair) for pair in held.values()]
    ordered = [*own, *others] if named else [*_of_agent(own), *others, *_of_files(own)]
    ring.names = list(dict.fromkeys(name for name, _ in ordered))
    ring.offers = [offer for _, offer in ordered]
    return ring


@dataclass(frozen=True, slots=True)
class _Loaded:
    name: str
    offers: tuple[Offer, ...] = ()
    public: bytes | None = None
    problem: str = ""


_cache: dict[str, tuple[object, _Loaded]] = {}


async def _load(name: str) -> _Loaded:
    """A key file, from the cache while it has not changed. Only immutable keys are cached: a key
    pair has state that belongs to one login."""
    now = await asyncio.to_thread(stamp, (name, f"{name}.pub", f"{name}-cert.pub"))
    cached = _cache.get(name)
    if cached is None or cached[0] != now:
        cached = (now, await asyncio.to_thread(_read, name))
        _cache[name] = cached
    return cached[1]


def _read(name: str) -> _Loaded:
    if not Path(name).is_file():
        return _Loaded(name, problem="not there")
    public = _public(f"{name}.pub")
    try:
        key = asyncssh.read_private_key(name)
    except asyncssh.KeyImportError as error:
        if "assphrase" in str(error):
            return _Loaded(
                name, public=public, problem="has a passphrase and is not in the SSH agent"
            )
        return _Loaded(name, public=public, problem=f"cannot be read: {error}")
    except (OSError, ValueError) as error:
        return _Loaded(name, public=public, problem=f"cannot be read: {error}")
    offers: list[Offer] = [key]
    if Path(f"{name}-cert.pub").is_file():
        try:
            offers.insert(0, (key, asyncssh.read_certificate(f"{name}-cert.pub")))
        except (OSError, ValueError):
            return _Loaded(name, (key,), key.public_data, "its certificate cannot be read")
    return _Loaded(name, tuple(offers), key.public_data)


def _public(name: str) -> bytes | None:
    try:
        return asyncssh.read_public_key(name).public_data
    except (OSError, ValueError):
        return None


async def _agent_keys(ring: Keyring, path: str | None) -> dict[bytes, asyncssh.SSHKeyPair]:
    if not path:
        return {}
    try:
        async with asyncio.timeout(_AGENT_DEADLINE):
            ring.agent = await asyncssh.connect_agent(path)
            if ring.agent is None:
                return {}
            pairs = await ring.agent.get_keys()
    except TimeoutError:
        ring.close()
        ring.remarks.append(f"the SSH agent at {path} does not answer")
        return {}
    except (OSError, ValueError) as error:
        ring.close()
        ring.remarks.append(f"the SSH agent at {path} cannot be used: {error}")
        return {}
    return {pair.public_data: pair for pair in pairs}


def _title(pair: asyncssh.SSHKeyPair) -> str:
    return f"agent key {pair.get_comment()!r}"


def _of_agent(own: Sequence[tuple[str, Offer]]) -> list[tuple[str, Offer]]:
    return [item for item in own if isinstance(item[1], asyncssh.SSHKeyPair)]


def _of_files(own: Sequence[tuple[str, Offer]]) -> list[tuple[str, Offer]]:
    return [item for item in own if not isinstance(item[1], asyncssh.SSHKeyPair)]
