"""Loads config.toml for the daemon (which files, in which order), and notices when it changes; its
keys are in `model.config`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hostler.base.errors import ConfigError
from hostler.base.paths import config_files, state_folder
from hostler.base.text_file import read_text
from hostler.model.config import Config
from hostler.spec.config import read_configs

Stamp = tuple[tuple[int, int, int] | None, ...]


class ConfigFiles:
    """The files of the config: the named one, else the usual ones; later files override earlier
    ones.

    A personal daemon ignores the users in the system's file: those are the users of the shared
    daemon.
    """

    def __init__(self, path: str | None = None, *, personal: bool = False) -> None:
        self._is_personal = personal
        self._named = path is not None
        self._paths = [Path(name) for name in ([path] if path is not None else config_files())]
        self._read_at = self._stamp()

    def load(self) -> Config:
        """The current config; the default if there is no file.

        Raises ConfigError with every problem in it.
        """
        self._read_at = self._stamp()
        found = [path for path in self._paths if self._named or path.exists()]
        config = read_configs([(str(path), _text(path)) for path in found])
        return _of_one_user(config) if self._is_personal else config

    def has_changed(self) -> bool:
        """Whether a file has changed since `load`."""
        return self._stamp() != self._read_at

    def _stamp(self) -> Stamp:
        return tuple(_stamp(path) for path in self._paths)


def load_config(path: str | None = None) -> Config:
    """The config in `path`, else in the usual files, else the default. Raises ConfigError."""
    return ConfigFiles(path).load()


def state_path(config: Config, *, personal: bool) -> Path:
    """The daemon's state folder by the config; for a shared daemon also by the system's file."""
    named = None if personal else config.daemon.state
    return Path(named).expanduser() if named else Path(state_folder())


def _of_one_user(config: Config) -> Config:
    return replace(config, daemon=replace(config.daemon, group=None, allow=(), operators=()))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _text(path: Path) -> str:
    try:
        return read_text(str(path))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}",
            remedy="write one: hostler init",
        ) from error
