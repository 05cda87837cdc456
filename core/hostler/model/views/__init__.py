"""The objects that cross the daemon's socket, each a frozen dataclass. The daemon makes them, its
OpenAPI page describes them, and the client returns them. `codec` writes and reads them.

States and causes are plain text here, since a newer daemon may have other ones. If an older
daemon's answer lacks a key, the field gets its default. If a value of the model is sent unchanged
(a host, an event), the view is another name for it.

Each module of views is loaded at its first use (`views.runs.RunView`), because loading one takes
milliseconds, and a command needs only a few.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostler.model.views import (
        alerts,
        audit,
        daemon,
        files,
        gpus,
        history,
        hosts,
        images,
        kept,
        plans,
        runs,
        secrets,
        services,
        tokens,
        traffic,
    )

__all__ = [
    "alerts",
    "audit",
    "daemon",
    "files",
    "gpus",
    "history",
    "hosts",
    "images",
    "kept",
    "plans",
    "runs",
    "secrets",
    "services",
    "tokens",
    "traffic",
]


def __getattr__(name: str) -> object:
    """Load a module of views."""
    if name.startswith("_"):
        raise AttributeError(f"views have no {name}")
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(f"there are no views {name}") from error
