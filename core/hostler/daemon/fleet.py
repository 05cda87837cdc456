"""Adds, renames and removes host monitors as config.toml changes, and reloads it; a wrong config
changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping

from hostler.base.errors import ConfigError, StateError
from hostler.daemon.config_file import ConfigFiles
from hostler.daemon.context import Context
from hostler.daemon.host_environments import WantedEnvironments
from hostler.daemon.host_monitor import HostMonitor, OnEvent
from hostler.daemon.host_paths import WantedPrograms
from hostler.model.config import Config, HostConfig, MountConfig
from hostler.model.events import EventKind
from hostler.model.gateway_config import gateway_of
from hostler.model.hosts import Host, Look
from hostler.ports import Outside

OnLook = Callable[[Host, Look], None]
Settings = tuple[HostConfig, float, float, tuple[str, ...], tuple[MountConfig, ...]]
"""All of the config that a monitor is made from."""

_GONE = "no longer in the config"

_log = logging.getLogger("hostler.daemon")


class Fleet:
    """Owns the monitors of `context.monitors` and their tasks."""

    def __init__(
        self, context: Context, outside: Outside, on_look: OnLook, on_event: OnEvent
    ) -> None:
        self._context = context
        self._outside = outside
        self._on_look = on_look
        self._on_event = on_event
        self._faults: Mapping[tuple[str, str], str] = {}
        self._settings: dict[str, Settings] = {}
        self._programs = WantedPrograms(context.run_cache.runs)
        self._environments = WantedEnvironments(context.run_cache.runs)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running = asyncio.Event()
        self._waiting: dict[str, str] = {}
        """New name of a machine -> the old one, under which its work still runs. Two monitors of
        one machine would end each other's agents."""

    async def load(self) -> None:
        """Make the monitors for the context's config, without starting them."""
        await self._read_state()
        self._outside.use_settings(self._context.config.daemon)
        drains = await self._context.store.drains()
        self._context.drains |= {name: drain.reason for name, drain in drains.items()}
        for host in self._context.config.hosts:
            self._put(host, self._make(host, self._context.config))

    async def run(self) -> None:
        """Monitor every host until cancelled."""
        self._running.set()
        for name in self._context.monitors:
            self._begin(name)
        try:
            while True:
                await asyncio.sleep(self._context.timings.sweep_hosts_every)
                await self._sweep()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def apply(self, config: Config) -> None:
        """Apply a changed config. The monitor of a removed or changed host is ended. If this
        daemon's work still runs on a removed host, the host stays, drained, until the work ends;
        then the same machine under another name takes over.

        The change happens at once, so that no plan misses a host whose monitor is only replaced.
        Raises ConfigError or StateError; then nothing has changed.
        """
        context = self._context
        await self._read_state()
        changed = [h for h in config.hosts if self._settings.get(h.name) != _settings(h, config)]
        fresh = [(host, self._make(host, config)) for host in changed]
        context.config = config
        self._outside.use_settings(config.daemon)
        wanted = {host.name for host in config.hosts}
        ended = self._let_go(wanted)
        for host, monitor in fresh:
            ended += self._take_task(host.name)
            self._put(host, monitor)
        for name in wanted:
            context.monitors[name].configure(drained=context.drains.get(name))
        order = [host.name for host in config.hosts]
        order += [name for name in context.monitors if name not in wanted]
        context.monitors = {name: context.monitors[name] for name in order}
        self._waiting = self._renamed()
        await asyncio.gather(*ended, return_exceptions=True)
        for host in changed:
            self._begin(host.name)
        self._outside.reset()
        for monitor in context.monitors.values():
            monitor.retry_now()
        context.wake()

    async def _read_state(self) -> None:
        """Read the state that outlives a monitor: GPUs that no probe has found healthy."""
        self._faults = await self._context.store.gpu_faults()

    async def _sweep(self) -> None:
        """Drop removed hosts whose work has ended, and start the hosts that waited for it."""
        context = self._context
        wanted = {host.name for host in context.config.hosts}
        if context.monitors.keys() <= wanted:
            return
        ended = self._let_go(wanted)
        if not ended:
            return
        await asyncio.gather(*ended, return_exceptions=True)
        for name in [new for new, old in self._waiting.items() if old not in context.monitors]:
            del self._waiting[name]
            self._begin(name)
        context.hub.publish()
        context.wake()

    def _renamed(self) -> dict[str, str]:
        config, settings = self._context.config, self._settings
        wanted = {host.name for host in config.hosts}
        kept = {_machine(settings[n][0]): n for n in self._context.monitors if n not in wanted}
        return {h.name: kept[_machine(h)] for h in config.hosts if _machine(h) in kept}

    def _let_go(self, wanted: Collection[str]) -> list[asyncio.Task[None]]:
        """Forget hosts that left the config, unless this daemon's work is still there; returns
        their tasks."""
        context = self._context
        busy = {attempt.host for attempt in context.run_cache.open_attempts()}
        ended = []
        for name in [name for name in context.monitors if name not in wanted]:
            if name in busy or self._has_ours(name):
                if context.monitors[name].host.drained != _GONE:
                    context.monitors[name].configure(drained=_GONE)
            else:
                ended += self._take_task(name)
                del context.monitors[name]
                del self._settings[name]
        return ended

    def _has_ours(self, name: str) -> bool:
        """Whether the host has reported a lease or a workload that only this monitor can
        release."""
        monitor, ours = self._context.monitors[name], self._context.daemon_id
        look = monitor.host.look
        if look is not None and _has_gateway(look, ours):
            return True  # it serves until it is ended: a silent host is waited for
        if look is None or not monitor.is_connected:
            return False
        if monitor.removals:
            return True
        held = {lease.daemon_id for lease in look.leases}
        return ours in held | {workload.daemon_id for workload in look.workloads}

    def _put(self, host: HostConfig, monitor: HostMonitor) -> None:
        context = self._context
        self._settings[host.name] = _settings(host, context.config)
        context.monitors[host.name] = monitor

    def _make(self, host: HostConfig, config: Config) -> HostMonitor:
        context = self._context
        return HostMonitor(
            host,
            self._outside.link(host, context.daemon_id, context.standing.generation),
            clock=context.clock,
            timings=context.timings,
            interval=config.daemon.look_interval,
            look_timeout=config.daemon.look_timeout,
            shared_paths=config.shared.paths,
            mounts=config.mounts,
            programs=tuple if host.transport == "local" else self._programs,
            environments=self._environments,
            variables=lambda: context.config.env_of(host.name),
            drained=context.drains.get(host.name),
            unmerged=context.standing.is_unmerged(host.name),
            faults={gpu: how for (name, gpu), how in self._faults.items() if name == host.name},
            on_news=lambda: context.wake(),
            on_look=self._on_look,
            on_event=self._on_event,
            on_superseded=context.superseded,
        )

    def _begin(self, name: str) -> None:
        monitor = self._context.monitors[name]
        if name in self._waiting:
            monitor.explain(f"kept as {self._waiting[name]} until its work there has ended")
        elif self._running.is_set():
            self._tasks[name] = asyncio.create_task(monitor.run(), name=f"keep {name}")

    def _take_task(self, name: str) -> list[asyncio.Task[None]]:
        """The cancelled task of a dropped monitor; none if it does not run."""
        task = self._tasks.pop(name, None)
        if task is None:
            return []
        task.cancel()
        return [task]


def _has_gateway(look: Look, daemon_id: str) -> bool:
    return any(w.running and w.daemon_id == gateway_of(daemon_id) for w in look.workloads)


def _machine(host: HostConfig) -> tuple[str, str, str | None, int | None, str | None]:
    """A key that is equal for two entries if they are the same login on the same machine."""
    target = "" if host.transport == "local" else host.target
    return host.transport, target, host.user, host.port, host.jump


def _settings(host: HostConfig, config: Config) -> Settings:
    daemon = config.daemon
    return host, daemon.look_interval, daemon.look_timeout, config.shared.paths, config.mounts


class Reloader:
    """Checks the config files every second; they are small, and file watches do not work
    everywhere."""

    def __init__(self, context: Context, fleet: Fleet, files: ConfigFiles) -> None:
        self._context = context
        self._fleet = fleet
        self._files = files
        self._wanted = False
        """The files have changed, and the new config is not used yet."""

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await asyncio.sleep(self._context.timings.reload_every)
            if self._files.has_changed():
                self._wanted = True
            if self._wanted:
                await self._try_reload()

    async def _try_reload(self) -> None:
        """Reload, and try again later if the state cannot be written now; no failure ends the
        daemon."""
        try:
            await self.reload()
            self._wanted = False
        except StateError as error:
            _log.error("the changed config is not used yet: %s", error)
        except Exception:
            self._wanted = False
            _log.exception("reloading failed: this is a bug in Hostler, please report it")

    async def reload(self) -> None:
        """Read the config again and apply it, or report why not."""
        context = self._context
        try:
            config = self._files.load()
            await self._fleet.apply(config)
        except ConfigError as error:
            problems = "; ".join(str(problem) for problem in error.untold)
            message = f"the changed config is not used: {error} {problems}".rstrip()
            _log.warning("%s", message)
            await context.tell(context.event(EventKind.CONFIG_REFUSED, message, severity="error"))
            return
        count = len(config.hosts)
        message = f"the changed config is used: {count} host{'' if count == 1 else 's'}"
        _log.info("%s", message)
        await context.tell(context.event(EventKind.CONFIG_LOADED, message))
