from __future__ import annotations

import asyncio

import pytest

from hostler.daemon.hub import Hub


async def test_a_change_before_the_wait_is_not_missed() -> None:
    hub = Hub()
    seen = hub.version
    hub.publish()
    assert await hub.wait(seen, timeout=5) == seen + 1


async def test_everybody_who_waits_is_woken() -> None:
    hub = Hub()
    waiting = [asyncio.create_task(hub.wait(hub.version)) for _ in range(3)]
    await asyncio.sleep(0)
    hub.publish()
    assert await asyncio.gather(*waiting) == [1, 1, 1]


async def test_nothing_new_within_the_time_gives_the_same_version() -> None:
    hub = Hub()
    assert await hub.wait(hub.version, timeout=0.01) == hub.version


async def test_closing_ends_every_wait() -> None:
    hub = Hub()
    waiting = asyncio.create_task(hub.wait(hub.version))
    await asyncio.sleep(0)
    hub.close()
    await asyncio.wait_for(waiting, 30)
    assert hub.is_closed
    await asyncio.wait_for(hub.wait(hub.version), 30)


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancellation_that_comes_with_the_news_is_not_swallowed(turns: int) -> None:
    hub = Hub()

    async def watch() -> None:
        seen = hub.version
        while True:
            seen = await hub.wait(seen, timeout=5)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    hub.publish()
    for _ in range(turns):
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait((watching,), timeout=5)
    assert watching.cancelled()
