"""What the agent of a hostile host may say: each line is a value that fits, or refused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostler.base.errors import AgentError
from hostler.link.answers import LookReader, answer_error, checked, read_hello, read_push
from hostler.link.lines import Hostile, LineReader, parse_object
from tests.fuzz.names import NASTY
from tests.fuzz.trial import Area
from tests.support.programs.scripted_agent import LOOK, hello

_WORKLOAD = {
    "attempt_id": "a", "daemon_id": "d", "runtime": "docker", "ref": "c", "running": True,
    "gpus": ["GPU-1"],
}  # fmt: skip
MESSAGES: tuple[dict[str, Any], ...] = (
    hello(),
    {"id": 1, "ok": LOOK},
    {"id": 1, "ok": {**LOOK, "work": [_WORKLOAD], "procs": {"GPU-1": [{"pid": 1}]}}},
    {"id": 1, "ok": {"lease_ids": ["l"], "refused": None}},
    {"id": 1, "error": {"kind": "EngineError", "message": "m", "remedy": "r"}},
    {"exit": _WORKLOAD, "left": {"log": base64.b64encode(b"hi").decode(), "metrics": True}},
    {"xid": {"gpu": "GPU-1", "xid": 79, "message": "fell off the bus"}},
)
_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**70,
    1e308,
    "",
    [],
    {},
    [[[]]],
    "9" * 5000,
    {"": {"": {}}},
)
_PIECE = 65_536
_CAP = 256 * 1024


def make(chance: random.Random) -> bytes:
    """A few lines of a stream."""
    lines = []
    for _ in range(chance.randrange(1, 5)):
        line = json.dumps(_changed(chance.choice(MESSAGES), chance)).encode()
        lines.append(_damaged(line, chance) if chance.random() < 0.5 else line)
    return b"\n".join(lines) + (b"\n" if chance.random() < 0.8 else b"")


def _changed(value: Any, chance: random.Random) -> Any:
    if chance.random() < 0.08:
        return chance.choice((*_ODD, chance.choice(NASTY)))
    if isinstance(value, dict):
        return {
            key: _changed(item, chance) for key, item in value.items() if chance.random() < 0.97
        }
    if isinstance(value, list):
        return [_changed(item, chance) for item in value] * chance.choice((1, 1, 1, 1, 3))
    return value


def _damaged(line: bytes, chance: random.Random) -> bytes:
    data = bytearray(line)
    at = chance.randrange(len(data) + 1)
    what = chance.randrange(5)
    if what == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif what == 1:
        del data[at:]
    elif what == 2:
        data[at:at] = chance.choice(
            (b"[", b'{"a":', b"NaN", b"1e999", b"\0", b"\xff", b"-Infinity")
        )
    elif what == 3:
        data[at:at] = chance.choice((b"[", b'{"a":')) * chance.choice((20, 2000, 100_000))
    else:
        data[at:at] = b"x" * chance.choice((100, 10_000, 2 * _CAP))
    return bytes(data)


class _Bytes:
    """A `ByteStream` of what is there."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, limit: int) -> bytes:
        """The next piece."""
        size = min(limit, _PIECE)
        piece, self._data = self._data[:size], self._data[size:]
        return piece

    async def write(self, data: bytes) -> None:
        """Nobody listens."""

    async def close(self) -> None:
        """Nothing is open."""

    async def wait_closed(self) -> None:
        """Nothing is open."""


def check(data: bytes, folder: Path) -> None:
    """Every line passes all readers with nothing but Hostile raised, or AgentError for a claim."""
    asyncio.run(_read(data))


async def _read(data: bytes) -> None:
    reader, looks = LineReader(_Bytes(data)), LookReader()  # type: ignore[arg-type]
    while True:
        try:
            line = await reader.line(_CAP)
        except Hostile:
            return  # such a link is closed, and its host quarantined
        if line is None:
            return
        assert len(line) <= 2 * _CAP
        message = _or_none(partial(parse_object, line))
        if isinstance(message, dict):
            _through_all(message, looks)


def _through_all(message: dict[str, Any], looks: LookReader) -> None:
    ok = message.get("ok")
    if isinstance(ok, dict):
        _or_none(lambda: looks.read(ok, 1.0))
        with contextlib.suppress(AgentError):
            checked("gpu1", "claim", ok)
    _or_none(lambda: read_hello(message))
    _or_none(lambda: read_push(message))
    error = _or_none(lambda: answer_error("gpu1", message.get("error")))
    assert error is None or "\x1b" not in error.message


def _or_none(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Hostile:
        return None


AREA = Area("agents", few=300, many=100_000, make=make, check=check)
