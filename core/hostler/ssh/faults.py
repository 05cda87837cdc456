"""The texts of SSH errors, with remedies: unknown or changed host key, refused login, no answer,
unknown name, no session, no Docker socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import asyncssh

from hostler.base.errors import EngineError, HostError, Refused, Unreachable
from hostler.base.text import clean_line
from hostler.ssh.config import Resolved
from hostler.ssh.known_hosts import load_known_hosts

_TOO_MANY = "too many authentication failures"


@dataclass(slots=True)
class Login:
    """The progress of a login, for its error message."""

    host: str
    """The name in Hostler's config."""
    found: Resolved
    via: str = ""
    """The jump host that is used, for people."""
    doing: str = "connecting"
    deadline: float = 0.0
    """Time limit of this step, in seconds."""
    offered_key: asyncssh.SSHKey | None = None
    """The host key that the host sent and that is unknown here."""
    keys: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        """For people: the login and the host."""
        return f"{self.found.login} through {self.via}" if self.via else self.found.login


@contextmanager
def mapped_login(login: Login) -> Iterator[None]:
    """Turn errors during a connect into Unreachable or Refused."""
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        raise _host_key(login, error) from error
    except asyncssh.KeyExchangeFailed as error:
        raise _key_exchange(login, error) from error
    except asyncssh.PermissionDenied as error:
        raise _denied(login) from error
    except asyncssh.DisconnectError as error:
        if _TOO_MANY in error.reason.lower():
            raise _denied(login) from error
        raise Unreachable(
            login.host, f"{login.where} ended the connection while {login.doing}: {_why(error)}"
        ) from error
    except TimeoutError as error:
        raise Unreachable(
            login.host,
            f"{login.where} did not answer within {login.deadline:g} s while {login.doing}",
        ) from error
    except asyncssh.ChannelOpenError as error:
        raise Unreachable(
            login.host, f"{login.via} cannot reach {login.found.login}: {_why(error)}"
        ) from error
    except socket.gaierror as error:
        raise Unreachable(
            login.host,
            f"{login.found.hostname} is not a known name: {error.strerror}",
            remedy="check `address` in config.toml and `HostName` in ssh_config",
        ) from error
    except OSError as error:
        raise Unreachable(login.host, f"{login.where}: {_why(error)}") from error
    except ValueError as error:
        raise Refused(login.host, f"{login.where}: {error}") from error


@contextmanager
def mapped_use(host: str, doing: str, lost: asyncio.Future[str]) -> Iterator[None]:
    """Turn errors on an open connection into Unreachable. `lost`: the reason of a lost connection.
    asyncssh reports channels that were still opening as refused by the other side; then this reason
    is used."""
    try:
        yield
    except asyncssh.ChannelOpenError as error:
        if lost.done():
            raise Unreachable(host, f"{doing}: {lost.result()}") from error
        raise Unreachable(
            host,
            f"{doing}: sshd opened no session: {_why(error)}",
            remedy="raise MaxSessions in its sshd_config (Hostler uses at most 6), "
            "and check that it does not force another command on logins",
        ) from error
    except (asyncssh.Error, OSError) as error:
        raise Unreachable(host, f"{doing}: {_why(error)}") from error


@contextmanager
def mapped_docker(host: str, path: str, lost: asyncio.Future[str]) -> Iterator[None]:
    """Turn errors at Docker's socket into EngineError. A lost connection (`lost`) becomes
    Unreachable."""
    try:
        yield
    except asyncssh.ChannelOpenError as error:
        if lost.done():
            raise Unreachable(host, f"opening {path}: {lost.result()}") from error
        raise no_docker(host, path, _why(error)) from error
    except (asyncssh.Error, OSError) as error:
        raise Unreachable(host, f"opening {path}: {_why(error)}") from error


@contextmanager
def mapped_socket(host: str, path: str, lost: asyncio.Future[str]) -> Iterator[None]:
    """The same for any other socket of the host."""
    try:
        yield
    except asyncssh.ChannelOpenError as error:
        if lost.done():
            raise Unreachable(host, f"opening {path}: {lost.result()}") from error
        raise EngineError(
            host,
            f"nothing answers at {path}: {_why(error)}",
            remedy="check that its sshd has AllowStreamLocalForwarding on",
        ) from error
    except (asyncssh.Error, OSError) as error:
        raise Unreachable(host, f"opening {path}: {_why(error)}") from error


def no_docker(host: str, path: str, why: str) -> EngineError:
    """The error if nothing answers at the host's Docker socket."""
    return EngineError(
        host,
        f"no Docker at {path}: {why}",
        remedy="check that dockerd runs there, that the login is in group docker, and that sshd "
        "has AllowStreamLocalForwarding on",
    )


def lost_reason(error: Exception | None, silence: float) -> str:
    """Why a connection was closed or lost, for people."""
    if error is None:
        return "the connection was closed"
    if "keepalive" in str(error):
        return f"no answer for {silence:g} s"
    return _why(error)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    reason = getattr(error, "reason", None) or str(error)
    return clean_line(str(reason), 300) or type(error).__name__


def _host_key(login: Login, error: asyncssh.HostKeyNotVerifiable) -> HostError:
    key, found = login.offered_key, login.found
    if key is None:
        remedy = "its administrator has to renew the certificate or the entry in known_hosts"
        return Refused(login.host, f"the host key of {login.where}: {_why(error)}", remedy=remedy)
    shown = f"{key.get_algorithm()} {key.get_fingerprint()}"
    entries = load_known_hosts(found.known_hosts).find(found.known_as, found.port)
    known = [entry for entry in entries if not entry.marker]
    if not known:
        return Refused(
            login.host,
            f"the host key of {login.where} is not known ({shown}); nothing was sent",
            remedy=f"compare the fingerprint, then `hostler host trust {login.host}`",
        )
    was = ", ".join(f"{entry.algorithm} {entry.fingerprint}" for entry in known)
    lines = "; ".join(entry.place for entry in known)
    return _changed(login, f"it is now {shown}, it was {was}", lines)


def _key_exchange(login: Login, error: asyncssh.KeyExchangeFailed) -> HostError:
    return Refused(
        login.host,
        f"{login.where}: no common algorithm in the key exchange: {_why(error)}",
        remedy="update its sshd, or allow its algorithms in ssh_config",
    )


def _changed(login: Login, how: str, lines: str) -> HostError:
    return Refused(
        login.host,
        f"THE HOST KEY OF {login.where} HAS CHANGED: {how}. The connection may be intercepted. "
        "Nothing was sent",
        remedy=f"ask its administrator; if the change is correct, delete {lines}, "
        f"then `hostler host trust {login.host}`",
    )


def _denied(login: Login) -> HostError:
    offered = f"offered: {', '.join(login.keys)}" if login.keys else "there was no key to offer"
    remarks = f"; {'; '.join(login.remarks)}" if login.remarks else ""
    return Refused(
        login.host,
        f"{login.where} refused the login ({offered}{remarks})",
        remedy="check `user` and `key` in config.toml, load the key with ssh-add, or add it to "
        "authorized_keys there; it is not tried again until something changes",
    )
