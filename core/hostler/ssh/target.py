"""SSH targets and settings as plain values: default paths of keys and known_hosts, connect timeout,
keepalive, the SSH agent's socket."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A host of the config. Values that are None come from `ssh_config` or its defaults."""

    name: str
    """The host's name in Hostler's config, and in messages."""
    address: str | None = None
    """A name, an address or a `Host` alias of `ssh_config`; None: `name` itself."""
    user: str | None = None
    port: int | None = None
    key: str | None = None
    """Private key file. If it is set, no other key is offered."""
    jump: str | None = None
    """`ProxyJump` syntax (`user@host:port,...`); "none" ignores `ProxyJump` of `ssh_config`."""
    docker_socket: str | None = None
    """Path on the host; None: the usual paths are tried."""

    @property
    def destination(self) -> str:
        """The name that is looked up in `ssh_config`."""
        return self.address or self.name


@dataclass(frozen=True, slots=True)
class SshSettings:
    """The paths of this user's SSH files, and time limits in seconds."""

    home: str
    config_files: tuple[str, ...]
    """If an option has several values, the first is used, as in OpenSSH; the user's file comes
    first."""
    system_known_hosts: tuple[str, ...] = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
    agent_socket: str | None = None
    """None: `$SSH_AUTH_SOCK` at the time of the connect."""
    connect_timeout: float = 10.0
    """For connect and login together; sshd must also answer within it."""
    keepalive: float = 3.0
    keepalive_count: int = 2
    """A connection ends after `keepalive * (keepalive_count + 1)` seconds without an answer."""

    @property
    def tcp_timeout(self) -> float:
        """Time limit for the TCP connection: half of it, so that a machine that is off is reported
        soon."""
        return self.connect_timeout / 2

    @property
    def default_known_hosts(self) -> tuple[str, ...]:
        """OpenSSH's defaults for `UserKnownHostsFile`."""
        return (f"{self.home}/.ssh/known_hosts", f"{self.home}/.ssh/known_hosts2")

    @property
    def default_keys(self) -> tuple[str, ...]:
        """OpenSSH's defaults for `IdentityFile`."""
        names = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
        return tuple(f"{self.home}/.ssh/{name}" for name in names)

    def agent(self) -> str | None:
        """The SSH agent's socket now."""
        return self.agent_socket or os.environ.get("SSH_AUTH_SOCK") or None


def user_settings(home: str | None = None) -> SshSettings:
    """The settings of the user who runs Hostler; `home`: the home folder of another user."""
    folder = home or str(Path.home())
    return SshSettings(home=folder, config_files=(f"{folder}/.ssh/config", "/etc/ssh/ssh_config"))
