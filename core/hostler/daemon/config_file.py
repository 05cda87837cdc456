"""Finding and reading the config for a process that needs all of it."""

from __future__ import annotations

from pathlib import Path

from hostler.errors import ConfigError
from hostler.model.config import Config
from hostler.quick.places import config_files
from hostler.spec.config import read_config


def load_config(path: str | None = None) -> Config:
    """The config in `path`, else in the last of the usual files that exists, else the default.

    Raises ConfigError with every problem in it.
    """
    if path is not None:
        return _read(Path(path))
    for name in reversed(config_files()):
        if Path(name).exists():
            return _read(Path(name))
    return Config()


def _read(path: Path) -> Config:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}",
            remedy="write one: hostler init",
        ) from error
    return read_config(text, file=str(path))
