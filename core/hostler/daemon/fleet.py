"""All hosts of the config, kept: one keeper each, added and let go as the config changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hostler.daemon.context import Context
from hostler.daemon.keeper import HostKeeper
from hostler.model.config import Config, HostConfig
from hostler.model.hosts import Host, Look
from hostler.ports import Outside

OnLook = Callable[[Host, Look], None]
OnEvent = Callable[[str, str, str, str], None]

_GONE = "no longer in the config"


class Fleet:
    """Owns the keepers of `context.keepers` and their tasks."""

    def __init__(
        self, context: Context, outside: Outside, on_look: OnLook, on_event: OnEvent
    ) -> None:
        self._context = context
        self._outside = outside
        self._on_look = on_look
        self._on_event = on_event
        self._drains: dict[str, str] = {}
        self._configs: dict[str, HostConfig] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running = asyncio.Event()

    async def load(self) -> None:
        """Make the keepers of the context's config, not running yet."""
        drains = await self._context.store.drains()
        self._drains = {name: drain.reason for name, drain in drains.items()}
        for host in self._context.config.hosts:
            self._add(host)

    async def run(self) -> None:
        """Keep every host until cancelled."""
        self._running.set()
        for name in self._context.keepers:
            self._begin(name)
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def apply(self, config: Config) -> None:
        """Go over to a changed config. A host that is no longer in it, or differs, is let go;
        where something of ours still runs on a removed one, it stays, drained, to the end."""
        context = self._context
        context.config = config
        self._drains |= {n: d.reason for n, d in (await context.store.drains()).items()}
        wanted = {host.name: host for host in config.hosts}
        busy = {attempt.host for attempt in context.book.open_attempts()}
        for name in tuple(context.keepers):
            if name not in wanted and name in busy:
                context.keepers[name].configure(drained=_GONE)
            elif wanted.get(name) != self._configs.get(name):
                await self._drop(name)
        for host in config.hosts:
            if host.name not in context.keepers:
                self._add(host)
                self._begin(host.name)
        context.keepers = {
            name: context.keepers[name]
            for name in (*wanted, *(n for n in context.keepers if n not in wanted))
        }
        self._outside.reset()
        for keeper in context.keepers.values():
            keeper.retry_now()
        context.wake()

    def _add(self, host: HostConfig) -> None:
        context = self._context
        self._configs[host.name] = host
        context.keepers[host.name] = HostKeeper(
            host,
            self._outside.link(host, context.daemon_id),
            clock=context.clock,
            interval=context.config.daemon.look_interval,
            look_timeout=context.config.daemon.look_timeout,
            shared_paths=context.config.shared_paths,
            drained=self._drains.get(host.name),
            on_news=lambda: context.wake(),
            on_look=self._on_look,
            on_event=self._on_event,
        )

    def _begin(self, name: str) -> None:
        if self._running.is_set():
            keeper = self._context.keepers[name]
            self._tasks[name] = asyncio.create_task(keeper.run(), name=f"keep {name}")

    async def _drop(self, name: str) -> None:
        self._context.keepers.pop(name)
        self._configs.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
