"""Tests run the screen as people do: with tasks that start at once, where Python has them."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(autouse=True)
async def tasks_start_at_once() -> None:
    """As Textual's own `run` has it from Python 3.12 on; its `run_test` leaves it out."""
    eager = getattr(asyncio, "eager_task_factory", None)
    asyncio.get_running_loop().set_task_factory(eager)
