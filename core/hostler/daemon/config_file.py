"""Finding and reading the config for a process that needs all of it."""

from __future__ import annotations

from pathlib import Path

from hostler.errors import ConfigError
from hostler.model.config import Config
from hostler.quick.places import config_files
from hostler.spec.config import read_configs


def load_config(path: str | None = None) -> Config:
    """The config in `path`, else in the usual files (the later wins, key by key), else the default.

    Raises ConfigError with every problem in it.
    """
    names = config_files() if path is None else [path]
    paths = [Path(name) for name in names if path is not None or Path(name).exists()]
    return read_configs([(str(found), _text(found)) for found in paths])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}",
            remedy="write one: hostler init",
        ) from error
