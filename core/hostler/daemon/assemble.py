"""From a config to a wired daemon, whose parts know each other only through the context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostler.daemon.apply import Applier
from hostler.daemon.book import Book
from hostler.daemon.clock import Clock, SystemClock
from hostler.daemon.context import Context
from hostler.daemon.controller import Controller
from hostler.daemon.hub import Hub
from hostler.daemon.keeper import HostKeeper
from hostler.daemon.record import Recorder
from hostler.daemon.service import Service
from hostler.link.factory import Doors
from hostler.model.config import Config, HostConfig
from hostler.ports import HostLink, MakeOutside, Outside
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.runtimes.process.runtime import ProcessRuntime
from hostler.store.content import ContentStore
from hostler.store.database import Store


@dataclass(slots=True)
class Daemon:
    """Everything that runs, and how it ends."""

    context: Context
    controller: Controller
    applier: Applier
    recorder: Recorder
    service: Service

    async def run(self) -> None:
        """Keep all hosts and step the controller until cancelled."""
        async with asyncio.TaskGroup() as group:
            for keeper in self.context.keepers.values():
                group.create_task(keeper.run(), name=f"keep {keeper.host.name}")
            group.create_task(self.recorder.run(), name="recorder")
            group.create_task(self.controller.run(), name="controller")

    async def close(self) -> None:
        """Close runtimes and store; what runs on the hosts goes on."""
        for runtime in self.context.runtimes.values():
            await runtime.close()
        await self.context.store.close()


def real_outside(blob_path: Callable[[str], Path]) -> Outside:
    """Hosts behind SSH or this machine itself, Docker and plain processes."""
    return Outside(
        link=Doors().link,
        runtimes={"docker": DockerRuntime(blob_path), "process": ProcessRuntime(blob_path)},
    )


async def assemble(
    config: Config,
    state: Path,
    outside: MakeOutside = real_outside,
    clock: Clock | None = None,
) -> Daemon:
    """Open the state, read back what is open, and wire everything. Raises StateError."""
    store = await Store.open(state)
    content = ContentStore(state)
    reached = outside(content.path)
    context = Context(
        config=config,
        daemon_id=store.daemon_id,
        store=store,
        content=content,
        book=Book(),
        hub=Hub(),
        clock=clock or SystemClock(),
        keepers={},
        runtimes=reached.runtimes,
    )
    for run in await store.open_runs():
        context.book.add(run)
    applier = Applier(context)
    controller = Controller(context, applier)
    recorder = Recorder(context, applier.usage)
    drains = await store.drains()
    for host in config.hosts:
        drain = drains.get(host.name)
        drained = drain.reason if drain is not None else None
        link = reached.link(host, context.daemon_id)
        context.keepers[host.name] = _keeper(context, recorder, host, link, drained)
    service = Service(context, controller, applier)
    return Daemon(context, controller, applier, recorder, service)


def _keeper(
    context: Context,
    recorder: Recorder,
    host: HostConfig,
    link: HostLink,
    drained: str | None,
) -> HostKeeper:
    return HostKeeper(
        host,
        link,
        clock=context.clock,
        interval=context.config.daemon.look_interval,
        look_timeout=context.config.daemon.look_timeout,
        shared_paths=context.config.shared_paths,
        drained=drained,
        on_news=lambda: context.wake(),
        on_look=recorder.saw,
        on_event=recorder.host_event,
    )
