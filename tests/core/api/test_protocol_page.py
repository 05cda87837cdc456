"""docs/protocol.md names every call of the API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from hostler.api.app import make_app
from hostler.daemon.service import Service

PAGE = Path(__file__).resolve().parents[3] / "docs" / "protocol.md"


def documented() -> set[tuple[str, str]]:
    """(method, path) of the table, with every name in braces as `{}`."""
    found = set()
    for line in PAGE.read_text().splitlines():
        if not line.startswith("| `") or " /v1/" not in line:
            continue
        method = last = ""
        for words in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
            if words.startswith("{"):
                continue  # the body
            if " " in words:
                method, path = words.split(" ", 1)
                last = path
            else:
                path = last.rsplit("/", 1)[0] + words  # "/retry" after ".../cancel"
            found.add((method, re.sub(r"{[^}]+}", "{}", path.split("?")[0])))
    return found


def test_every_call_is_described_and_nothing_else_is() -> None:
    paths = make_app(cast("Service", None)).openapi()["paths"]
    routes = {
        (method.upper(), re.sub(r"{[^}]+}", "{}", path))
        for path, methods in paths.items()
        for method in methods
    }
    assert documented() == routes
