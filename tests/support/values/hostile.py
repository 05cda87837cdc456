"""Strings that anybody on a shared machine can put into a name, and what may never come of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from hostler.base.wire import encode_request
from hostler.quick.socket import exchange
from tests.support.daemons.scripted_daemon import Answer, Asked, json_lines
from tests.support.programs.simserved import SimServed

EVIL = (
    "a\x1b]52;c;UFdORUQ=\x07b\x1b]0;TITLE\x07c\x1b[2J\x1b[?1049ld\x9b31me"
    "\u202eRTL\u2066iso\u200bzero [bold]m[/bold] x [/foo] y [kworker/0:1] [@click=app.quit]q[/]"
    "\r\n\x00\x08\x7f漢字é\u0301"
)
"""Clipboard, title, clear, alternate screen, C1 CSI, bidirectional, markup, wide and combining."""

LONG = "L" * 10_000

FORBIDDEN = (
    b"\x1b]52", b"\x1b]0;", b"\x1b[2J\x1b[?1049l", b"\x9b31m", "\u202e".encode(),
    "\u2066".encode(), "\u200b".encode(), "\x9b".encode(), b"\x00", b"\x08", b"\x7f",
)  # fmt: skip
"""Bytes that only data could have brought to the terminal."""


def poison(value: Any) -> Any:
    """A JSON value whose free texts are hostile. Words that programs branch on stay."""
    if isinstance(value, dict):
        return {key: value[key] if key in _KEPT else poison(value[key]) for key in value}
    if isinstance(value, list):
        return [poison(item) for item in value]
    return f"{value}{EVIL}" if isinstance(value, str) else value


_KEPT = {
    "schema", "state", "status", "phase", "kind", "condition", "transport", "uuid", "run_id",
    "attempt_id", "outcome", "severity", "source", "gpus_free", "base",
}  # fmt: skip


def found_in(output: bytes) -> list[bytes]:
    """Which of the forbidden bytes reached the terminal."""
    return [bad for bad in FORBIDDEN if bad in output]


def poisoned(lab: SimServed, ends: threading.Event) -> Callable[[Asked], Answer]:
    """Answers of a real daemon, with every free text made hostile. Streams stay open."""

    def answer(asked: Asked) -> Answer:
        query = {key: value for key, value in asked.query.items() if key != "follow"}
        # What was made hostile comes back as the name of a host or a stage.
        path = quote(asked.path.replace(EVIL, ""))
        target = path + (f"?{urlencode(query)}" if query else "")
        encoded = encode_request(asked.method, target, body=asked.body)
        status, payload = exchange(lab.found, encoded)
        if "/logs/" in asked.path:
            evil = f"{EVIL}\n{LONG}\n".encode() * 50
            return Answer(parts=[evil, payload, ends], headers={"X-Hostler-Attempt": "a-1"})
        if asked.path.endswith("/events"):
            lines = [poison(json.loads(line)) for line in payload.splitlines() if line.strip()]
            return Answer(parts=[*json_lines(*lines), *([ends] if "follow" in asked.query else [])])
        return Answer(poison(json.loads(payload)) if payload else None, status)

    return answer
