"""The fleet as it was last seen, kept so that the first picture needs no daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIMIT = 4 * 1024 * 1024
"""Bytes; a larger file is not ours."""


def path() -> Path:
    """Where it lies."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "hostler" / "fleet.json"


def load(file: Path | None = None) -> tuple[Mapping[str, Any] | None, float | None]:
    """The fleet and when it was seen; (None, None) where there is nothing sound."""
    try:
        with (file or path()).open("rb") as opened:
            stored = json.loads(opened.read(LIMIT))
        fleet = stored["fleet"]
        if fleet.get("schema") != "hostler.gpus/1":
            return None, None
        return fleet, float(fleet["at"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, None  # it only saves a moment


def save(fleet: Mapping[str, Any], file: Path | None = None) -> None:
    """Keep it; a disk that refuses costs nothing but the moment."""
    target = file or path()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"fleet": fleet}))
        fresh.replace(target)
    except OSError:
        return
