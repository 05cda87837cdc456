"""Creates the daemon from a config: makes the parts and connects them through the context."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import StateError
from hostler.daemon.after import add_to_cache
from hostler.daemon.apply import Applier
from hostler.daemon.config_file import ConfigFiles
from hostler.daemon.context import Context
from hostler.daemon.controller import Controller
from hostler.daemon.copy_format import Signer
from hostler.daemon.fleet import Fleet, Reloader
from hostler.daemon.health import Health
from hostler.daemon.hub import Hub
from hostler.daemon.late_modules import load_late
from hostler.daemon.merge import Merger
from hostler.daemon.nested import Nested
from hostler.daemon.record import Recorder
from hostler.daemon.run_cache import RunCache
from hostler.daemon.secrets import Secrets
from hostler.daemon.service import Service
from hostler.daemon.standing import LeftBehind, read_standing
from hostler.daemon.strays import Strays
from hostler.link.factory import Doors
from hostler.model.config import Config
from hostler.model.hosts import Host, Look
from hostler.model.timings import DEFAULT, Timings
from hostler.ports import Clock, MakeOutside, Outside
from hostler.runtimes.docker.builder import DockerBuilder
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.runtimes.process.runtime import ProcessRuntime
from hostler.store.content import ContentStore
from hostler.store.copy_key import ensure_copy_key
from hostler.store.database import Store
from hostler.store.secrets import SecretStore


@dataclass(slots=True)
class Daemon:
    """All parts of the daemon; runs and closes them."""

    context: Context
    fleet: Fleet
    controller: Controller
    applier: Applier
    recorder: Recorder
    service: Service
    merger: Merger
    files: ConfigFiles | None = None
    """The config files, watched for changes; None: the config is from no file."""

    async def run(self) -> None:
        """Monitor all hosts and run the controller until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.fleet.run(), name="fleet")
            group.create_task(self.recorder.run(), name="recorder")
            group.create_task(self.applier.followers.read_metrics(), name="metrics")
            group.create_task(self.controller.run(), name="controller")
            group.create_task(self.service.garbage.run(), name="gc")
            group.create_task(self.service.alerts.run(), name="alerts")
            group.create_task(self.service.expirer.run(), name="expiry")
            group.create_task(self.service.budgets.run(), name="budgets")
            group.create_task(self.service.gateways.run(), name="gateway")
            nested = Nested(self.context, self.service.nested)
            group.create_task(nested.run(), name="nested")
            if self.files is not None:
                reloader = Reloader(self.context, self.fleet, self.files)
                group.create_task(reloader.run(), name="reloader")
                group.create_task(load_late(self.context.timings.late_modules), name="modules")

    async def close(self) -> None:
        """Close runtimes and store; work on the hosts continues."""
        await self.merger.close()
        await self.applier.close()
        for runtime in self.context.runtimes.values():
            await runtime.close()
        await self.context.store.close()


def real_outside(blob_path: Callable[[str], Path], timings: Timings = DEFAULT) -> Outside:
    """Hosts behind SSH or this machine itself, Docker and plain processes."""
    doors = Doors(timings=timings)
    runtimes = (
        DockerRuntime(blob_path, timings.runtimes),
        ProcessRuntime(blob_path, timings.runtimes),
    )
    return Outside(
        link=doors.link,
        use_settings=doors.use_settings,
        runtimes={runtime.name: runtime for runtime in runtimes},
        builder=DockerBuilder(blob_path, timings.runtimes),
        reset=doors.reset,
        use_agent=doors.use_agent,
    )


class SystemClock:
    """Wall time at start plus monotonic time since: jumps of the system clock have no effect."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.monotonic() + self._offset


async def assemble(
    config: Config,
    state: Path,
    outside: MakeOutside = real_outside,
    clock: Clock | None = None,
    files: ConfigFiles | None = None,
    timings: Timings = DEFAULT,
) -> Daemon:
    """Open the state, read back open work, and connect all parts. Raises StateError."""
    made_anew = (state / "id").exists() and not (state / "hostler.db").exists()
    store = await Store.open(state)
    content = ContentStore(state)
    reached = outside(content.path)
    signer = Signer(store.daemon_id, ensure_copy_key(state))
    clock, run_cache = clock or SystemClock(), RunCache()
    secrets = Secrets(SecretStore(state), store, run_cache, clock, timings)
    context = Context(
        config=config,
        daemon_id=store.daemon_id,
        signer=signer,
        store=store,
        content=content,
        run_cache=run_cache,
        secrets=secrets,
        hub=Hub(),
        clock=clock,
        monitors={},
        runtimes=reached.runtimes,
        builder=reached.builder,
        timings=timings,
        health=Health(timings.start),
        standing=await read_standing(store.generations, signer, state),
    )
    has_runs = bool(await store.list_runs(limit=1))
    context.left_behind = LeftBehind(made_anew=made_anew, has_runs=has_runs)
    context.begun_at = context.clock.now()
    for run in await store.open_runs():
        await add_to_cache(context, run)
        context.earlier |= {attempt.attempt_id for attempt in run.attempts}
    if await store.has_services():
        from hostler.daemon.releases import load_services

        await load_services(context)
    await secrets.load()
    context.health.recall(context.run_cache.runs(), context.clock.now())
    applier = Applier(context)
    with contextlib.suppress(StateError):  # measurements alone must not keep the daemon from work
        await applier.recall()
    controller, recorder = Controller(context, applier), Recorder(context, applier.usage)
    merger, strays = Merger(context), Strays(context, recorder.note)

    on_look = _taking_looks(context, applier, recorder, strays, merger)
    fleet = Fleet(context, reached, on_look, recorder.host_event)
    await fleet.load()
    service = Service(context, controller, applier, reached)
    return Daemon(context, fleet, controller, applier, recorder, service, merger, files)


def _taking_looks(
    context: Context, applier: Applier, recorder: Recorder, strays: Strays, merger: Merger
) -> Callable[[Host, Look], None]:
    """The callback for each look at a host."""

    def on_look(host: Host, look: Look) -> None:
        if look.gpus or host.name in applier.usage.seen:
            recorder.saw(host, look)
            strays.saw(host, look)
        applier.followers.adopt(host, look)
        if context.standing.restored_at is not None and context.standing.is_unmerged(host.name):
            merger.seen(host.name)
        else:
            applier.copies.seen(host.name)

    return on_look
