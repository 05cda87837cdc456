"""The last seen fleet on disk, which is drawn at the start before the daemon answers: where it
lies, and its largest size."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from hostler.model.views.gpus import FleetView

LIMIT = 4 * 1024 * 1024
"""Bytes; a larger file is not ours."""


def path(socket: str, env: Mapping[str, str] = os.environ) -> Path:
    """The file for the daemon at a socket: next to its state if that has its own folder, like a
    demo's, which is removed with it."""
    caches = env.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = Path(env.get("HOSTLER_STATE") or Path(caches) / "hostler")
    name = hashlib.blake2s(socket.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return base / f"seen-{name}.json"


def load(file: Path) -> tuple[FleetView | None, float | None]:
    """The fleet and its time; (None, None) if there is no valid file."""
    try:
        with file.open("rb") as opened:
            stored = json.loads(opened.read(LIMIT))
        fleet: FleetView = stored["fleet"]
        if fleet.get("schema") != "hostler.gpus/1":
            return None, None
        return fleet, float(fleet["at"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, None  # it only saves a moment


def save(fleet: FleetView, file: Path) -> None:
    """Store it; disk errors are ignored."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"fleet": fleet}))
        fresh.replace(file)
    except OSError:
        return
