"""Hostler's version, and the level of its API. They stand here so that every layer can read them
without loading the SDK."""

from __future__ import annotations

from hostler.base.errors import HostlerError

__version__ = "0.1.0"
API_LEVEL = 1
"""Daemon and client have to have the same."""
SERVER = f"Hostler/{__version__} API/{API_LEVEL}"
"""What a daemon says of itself with each answer."""


def check_level(level: object, version: object) -> None:
    """Raise HostlerError where a daemon of this version speaks another level of the API."""
    if level == API_LEVEL:
        return
    newer = isinstance(level, int) and level > API_LEVEL
    raise HostlerError(
        f"the daemon (version {version}) uses API level {level}, this client uses level "
        f"{API_LEVEL}",
        remedy="Upgrade hostler here" if newer else "Ask the owner of the daemon to upgrade it",
    )


def check_server(server: str) -> None:
    """The same by the `Server` header of an answer. Daemons that send none are of level 1."""
    words = dict(word.partition("/")[::2] for word in server.split())
    level = words.get("API", "1")
    check_level(int(level) if level.isdecimal() else level, words.get("Hostler", "unknown"))
