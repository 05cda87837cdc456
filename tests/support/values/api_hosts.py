"""Hosts as the API sends them."""

from __future__ import annotations

from typing import Any


def api_host(name: str, transport: str) -> dict[str, Any]:
    """A host that is up and was not looked at yet."""
    return {"name": name, "transport": transport, "condition": "up", "since": 0.0}
