"""Writing config.toml: whole or not at all, and the old one is kept."""

from __future__ import annotations

import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from hostler.errors import ConfigError


def merged(old: str | None, hosts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The document of an old file with more hosts. A host that is there keeps what is said of it.

    Raises ConfigError where the old text is not TOML.
    """
    try:
        document = tomllib.loads(old) if old else {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"the present configuration cannot be read: {error}",
            remedy="Correct it or move it away",
        ) from error
    present = document.get("hosts", {})
    return {**document, "hosts": {**hosts, **present}}


def write_config(path: Path, document: dict[str, Any]) -> Path | None:
    """Write a configuration as one step; what was there is kept beside it as `.bak`.

    Returns the backup, None where there was nothing. Raises ConfigError.
    """
    target = path.resolve()
    text = tomli_w.dumps(document)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        backup = _keep(target) if target.exists() else None
        _replace(target, text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    return backup


def _keep(target: Path) -> Path:
    backup = target.with_name(target.name + ".bak")
    _replace(backup, target.read_text(encoding="utf-8"))
    return backup


def _replace(target: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
