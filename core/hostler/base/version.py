"""Hostler's version, and the level of its API that daemon and client must share. They stand here so
that every layer can read them without loading the SDK.
"""

from __future__ import annotations

__version__ = "0.1.0"
API_LEVEL = 1
"""Daemon and client must have the same level."""
SERVER = f"Hostler/{__version__} API/{API_LEVEL}"
"""The daemon's `Server` header of each answer."""
