"""Downloads of packages of several owners at the same time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from hostler.daemon.wheels import Wheels


def test_one_owners_downloads_keep_nobody_waiting() -> None:
    """One at a time of each, two in all, and nothing is remembered of who has none."""
    begun: list[str] = []
    context: Any = SimpleNamespace()

    async def several() -> None:
        wheels, ends = Wheels(context), asyncio.Event()

        async def download(name: str) -> None:
            async with wheels._turn(name[0], lambda what, done, total: None):
                begun.append(name)
                await ends.wait()

        tasks = [asyncio.create_task(download(name)) for name in ("a1", "a2", "a3", "b1", "c1")]
        for _ in range(10):
            await asyncio.sleep(0)
        assert begun == ["a1", "b1"]
        tasks[1].cancel()
        ends.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(begun) == ["a1", "a3", "b1", "c1"]
        assert not wheels._turns

    asyncio.run(several())
