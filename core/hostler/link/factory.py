"""Chooses door and link (SSH or local) for each host of a config, with its SSH settings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import program_for
from hostler.local.door import LocalDoor
from hostler.model.config import DaemonConfig, HostConfig
from hostler.model.generations import Generation
from hostler.model.timings import DEFAULT, Timings
from hostler.ports import Door
from hostler.ssh.target import SshSettings, SshTarget, user_settings

if TYPE_CHECKING:
    from hostler.ssh.connection import Dialler


class Doors:
    """Makes the doors and links of one process; they share caps, back-off and jump hosts."""

    def __init__(self, settings: SshSettings | None = None, timings: Timings = DEFAULT) -> None:
        self._timings = timings
        self._settings = settings or user_settings()
        self._made: Dialler | None = None

    @property
    def _dialler(self) -> Dialler:
        """Created for the first host that is reached by SSH: asyncssh takes 80 ms to load."""
        if self._made is None:
            from hostler.ssh.connection import Dialler

            self._made = Dialler(self._settings, timings=self._timings.ssh)
        return self._made

    def use_settings(self, config: DaemonConfig) -> None:
        """Use the config's connection settings for new connections."""
        self._settings = replace(self._settings, connect_timeout=config.connect_timeout)
        if self._made is not None:
            self._made.settings = self._settings

    def door(self, config: HostConfig) -> Door:
        """A way onto a host, not connected yet."""
        if config.transport == "local":
            return LocalDoor(config.name, config.docker_socket)
        from hostler.ssh.door import SshDoor

        return SshDoor(ssh_target(config), self._dialler)

    def link(
        self, config: HostConfig, daemon_id: str, generation: Generation | None = None
    ) -> AgentLink:
        """A host with the agent of one daemon, not connected yet."""
        program = program_for(config)
        return AgentLink(self.door(config), program, daemon_id, generation, self._timings.link)

    def reset(self, host: str | None = None) -> None:
        """Let refused and waiting hosts (None: all) be tried again at once: a user has changed the
        config, trusted a key or requested it."""
        if self._made is not None:
            self._made.connects.reset(host)

    def use_agent(self, socket: str) -> None:
        """Use the SSH agent of a client's shell: the SSH agent of the shell that started this
        process is gone after logout. Refused logins are then tried again automatically, because
        their evidence has changed."""
        os.environ["SSH_AUTH_SOCK"] = socket


def ssh_settings(config: DaemonConfig) -> SshSettings:
    """The SSH settings of this user from the config."""
    return replace(user_settings(), connect_timeout=config.connect_timeout)


def ssh_target(config: HostConfig) -> SshTarget:
    """A host of the config in the form for SSH."""
    return SshTarget(
        name=config.name,
        address=config.address,
        user=config.user,
        port=config.port,
        key=str(Path(config.key).expanduser()) if config.key else None,
        jump=config.jump,
        docker_socket=config.docker_socket,
    )
