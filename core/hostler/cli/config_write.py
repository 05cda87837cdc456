"""Writing config.toml: whole or not at all, and the old one is kept."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from hostler.base.errors import ConfigError
from hostler.base.json_types import JsonTable


def extended(old: str, hosts: Mapping[str, JsonTable]) -> str:
    """The text of a file with more hosts at its end. What is there stays as it is, comments too; a
    host that is there keeps what is said of it. Raises ConfigError where the old text is not TOML.
    """
    try:
        document = tomllib.loads(old)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"the present configuration cannot be read: {error}",
            remedy="Correct it or move it away",
        ) from error
    present = document.get("hosts", {})
    new = {name: keys for name, keys in hosts.items() if name not in present}
    wanted = {**document, "hosts": {**present, **new}}
    if not new:
        return old
    head = f"{old.rstrip()}\n\n" if old.strip() else ""
    text = head + tomli_w.dumps({"hosts": new})
    # `hosts = { ... }` on one line cannot be gone on with: then the file is written anew.
    return text if _says(text, wanted) else tomli_w.dumps(wanted)


def _says(text: str, wanted: JsonTable) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def write_config(path: Path, text: str) -> Path | None:
    """Write a configuration as one step; what was there is kept beside it as `.bak`.

    Returns the backup, None where there was nothing. Raises ConfigError.
    """
    target = path.resolve()
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
