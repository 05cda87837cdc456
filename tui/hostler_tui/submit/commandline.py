"""Hostler's own command line as a child process: what packs source is written once, there."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hostler.base.programs import own_argv, safe_environ
from hostler.base.text import clean

_LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of the longest line: a plan of 10,000 stages is one."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    errors: tuple[str, ...]
    """What it told people, line by line."""


def command_text(args: Sequence[str]) -> str:
    """As a person would type it."""
    return shlex.join(["hostler", *args])


async def run_command(
    args: Sequence[str], socket: str, tell: Callable[[str], object] = lambda line: None
) -> Ended:
    """Run it against this daemon; `tell` gets its progress as it comes. Ends it when cancelled."""
    process = await asyncio.create_subprocess_exec(
        *own_argv(*args),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, limit=_LINE_LIMIT,
        env={**safe_environ(), "HOSTLER_SOCKET": socket, "NO_COLOR": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        out, errors = await asyncio.gather(process.stdout.read(), _told(process.stderr, tell))
        return Ended(await process.wait(), out.decode("utf-8", "replace"), errors)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _told(stream: asyncio.StreamReader, tell: Callable[[str], object]) -> tuple[str, ...]:
    lines = []
    async for raw in stream:
        text = clean(raw.decode("utf-8", "replace").rstrip("\n"))
        lines.append(text)
        tell(text)
    return tuple(lines)
