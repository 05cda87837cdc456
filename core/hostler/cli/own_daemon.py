"""The person's own daemon, started by a command: where the configuration keeps it from starting,
each of its problems is reported."""

from __future__ import annotations

from hostler.base.errors import ConfigError
from hostler.client import daemon_start
from hostler.client.daemon_start import Say
from hostler.quick.socket import Found


def ensure_daemon(named: str | None = None, say: Say | None = None) -> Found:
    """A socket that a daemon answers on; see `daemon_start`."""
    return daemon_start.ensure_daemon(named, say, config_error)


def start(found: Found) -> Found:
    """Start the personal daemon and wait until it answers; see `daemon_start`."""
    return daemon_start.start(found, config_error)


def config_error() -> ConfigError | None:
    """What is wrong with the configuration."""
    from hostler.daemon.config_file import load_config  # slow, and rarely wanted

    try:
        load_config()
    except ConfigError as error:
        return error
    return None
