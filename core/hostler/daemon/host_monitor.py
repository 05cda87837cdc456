"""Monitors one host: connects, looks, and says when it is unreachable, refused, restarted, or its
GPU failed and is healthy again.

A monitor never concludes anything from silence. It reports what it saw and since when; the planner
decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol, Unpack

from hostler.base.errors import AgentError, HostError, Refused, Superseded, Unreachable
from hostler.base.units import MIB
from hostler.daemon.host_environments import HostEnvironments
from hostler.daemon.host_paths import HostPaths
from hostler.daemon.overlay import ExitOverlay, FaultOverlay, FaultsTold, has_news
from hostler.model import xids
from hostler.model.config import HostConfig, MountConfig
from hostler.model.environments import Environment
from hostler.model.events import EventKind
from hostler.model.host_reports import GpuFault
from hostler.model.hosts import Host, HostChange, HostCondition, HostFacts, HostMount, Look
from hostler.model.timings import DEFAULT, Timings
from hostler.ports import Clock, Exited, HostLink, Left

_log = logging.getLogger("hostler.daemon")

_SILENT = ("does not answer", "has not answered")
"""Problems with querying a GPU, which do not tell whether it is in use."""
_LEFT_MOST = 256
_LEFT_BYTES = 16 * MIB
"""The list of left files is kept for this many ended workloads; for others it is requested
again."""


class OnEvent(Protocol):
    """Called with events of a host."""

    def __call__(
        self, host: str, kind: EventKind, message: str, severity: str, gpu: str | None = None
    ) -> None:
        """`gpu`: the UUID of the affected GPU."""


class HostMonitor:
    """Holds the link to one host. `host` is always its latest known state.

    `on_news` is called after changes that a decision may depend on; `on_look` for every look, for
    the record of measurements; `on_event` for every event. `faults`: GPUs (UUIDs) that had failed
    when the last monitor of this host ended, and how.
    """

    def __init__(
        self,
        config: HostConfig,
        link: HostLink,
        *,
        clock: Clock,
        timings: Timings = DEFAULT,
        interval: float,
        look_timeout: float,
        shared_paths: tuple[str, ...] = (),
        mounts: Sequence[MountConfig] = (),
        programs: Callable[[], Sequence[str]] = tuple,
        environments: Callable[[], Sequence[Environment]] = tuple,
        variables: Callable[[], Mapping[str, str]] = dict,
        drained: str | None = None,
        unmerged: bool = False,
        faults: Mapping[str, str] = MappingProxyType({}),
        on_news: Callable[[], None],
        on_look: Callable[[Host, Look], None],
        on_event: OnEvent,
        on_superseded: Callable[[Superseded], Awaitable[None]],
    ) -> None:
        self.link = link
        self.timings = timings
        self._config = config
        self._clock = clock
        self._interval = interval
        self._look_timeout = look_timeout
        self._on_news = on_news
        self._on_look = on_look
        self._on_event = on_event
        self._on_superseded = on_superseded
        self._overlay = ExitOverlay()
        self._ill = FaultOverlay()
        for gpu, how in faults.items():
            self._ill.add(gpu, how, clock.now())
        self._docker_lacks = True
        self._left: dict[str, Left] = {}
        self.removals = 0
        """The number of workloads that are being removed, or marked to stay: meanwhile they are in
        no look."""
        self._faults: dict[str, tuple[float, str]] = {}
        self._told = FaultsTold()
        self._aside: str | None = None
        self._hurry = asyncio.Event()
        self._retry = asyncio.Event()
        self._connected = asyncio.Event()
        self.host = Host(
            name=config.name,
            transport=config.transport,
            condition=HostCondition.CONNECTING,
            since=clock.now(),
            labels=config.labels,
            shared_paths=shared_paths,
            drained=drained,
            unmerged=unmerged,
        )
        self.paths = HostPaths(link, mounts, programs, self._found_paths, timings)
        self.environments = HostEnvironments(link, environments, variables, self._found, timings)

    @property
    def is_connected(self) -> bool:
        """Whether requests over the link can succeed now."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Wait until the link is up."""
        await self._connected.wait()

    def look_soon(self) -> None:
        """Look now, without waiting for the rest of the interval."""
        self._hurry.set()

    def retry_now(self) -> None:
        """Try to connect again at once."""
        self._retry.set()

    def put_aside(self, why: str) -> None:
        """Ignore the host for a while: it sends more than the daemon can process."""
        self._aside = why
        self._hurry.set()

    @contextlib.contextmanager
    def removing(self, ref: str) -> Iterator[None]:
        """Entered while a workload is being removed: if that fails, only a look after it shows the
        workload again. A look during the removal would cause a second removal."""
        self._left.pop(ref, None)
        self._hide(ref, math.inf)
        self.removals += 1
        try:
            yield
        finally:
            self.removals -= 1
            self._hide(ref, self._clock.now())

    def _hide(self, ref: str, until: float) -> None:
        self._overlay.remove(ref, until)
        if self.host.look is not None:
            self._change(look=self._overlay.apply(self.host.look))

    def left(self, ref: str) -> Left | None:
        """The list of files that an ended workload left, if its exit contained that."""
        return self._left.get(ref)

    def gpu_fault(self, gpus: Collection[str], since: float) -> str:
        """How one of these GPUs failed since then, by XIDs and the last look; "" if none did."""
        for uuid in gpus:
            at, message = self._faults.get(uuid, (0.0, ""))
            if message and at >= since:
                return f"{uuid}: {message}"
        for gpu in self.host.look.gpus if self.host.look is not None else ():
            if gpu.uuid in gpus and gpu.problem and not gpu.problem.startswith(_SILENT):
                return f"GPU {gpu.index}: {gpu.problem}"
        return ""

    def configure(self, *, drained: str | None) -> None:
        """Set the drain reason of users; None to undrain."""
        self._change(drained=drained)
        self._on_news()

    def merged(self) -> None:
        """The host's notes are in the database now."""
        self._change(unmerged=False)
        self._on_news()

    def explain(self, problem: str) -> None:
        """Set the reason why it is not connected yet."""
        self._change(problem=problem)
        self._on_news()

    async def run(self) -> None:
        """Connect, look, reconnect, until cancelled."""
        try:
            while True:
                try:
                    await self._connect()
                    await self._serve()
                except Refused as error:
                    self._lost(HostCondition.REFUSED, error)
                    await self._pause(self.timings.refused_pause)
                except Superseded as error:
                    self._lost(HostCondition.REFUSED, error)
                    await self._on_superseded(error)
                    await self._pause(self.timings.superseded_pause)
                except HostError as error:
                    self._lost(HostCondition.UNREACHABLE, error)
                    await self._pause(await self._let_be())
                except Exception as error:
                    # One host's trouble, whatever it is, must not blind the daemon for good.
                    _log.exception("%s: this is a bug in Hostler, please report it", self.host.name)
                    self._lost(HostCondition.UNREACHABLE, _odd(self.host.name, error))
                    await self._pause(self.timings.refused_pause)
                self._retry.clear()
        finally:
            await self.link.close()

    async def _let_be(self) -> float:
        """The time to wait before the next connection."""
        if self._aside is None:
            return self.timings.connect_pause
        self._aside = None
        await self.link.close()
        return self.timings.put_aside

    def _check_aside(self) -> None:
        if self._aside is not None:
            again = f"it is tried again after {self.timings.put_aside:g} s"
            remedy = f"check what runs there under your login; {again}"
            raise AgentError(self.host.name, self._aside, remedy=remedy)

    async def _pause(self, delay: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._retry.wait()

    async def _connect(self) -> None:
        hello = await self.link.connect()
        facts = hello.facts
        self.paths.forget()
        self.environments.forget()
        self._change(
            facts=facts,
            cpus=self._config.cpus or facts.cpus,
            memory=self._config.ram or facts.memory_total,
            runtimes=_allowed(facts, self._config.runtimes),
        )

    async def _serve(self) -> None:
        """Look and listen until the link drops; then raise the cause. Returns if the host needs a
        new hello."""
        listening = asyncio.create_task(self._listen(), name=f"listen to {self.host.name}")
        asking = asyncio.create_task(self._ask(), name=f"ask what {self.host.name} has")
        try:
            await self._look()
            self._connected.set()
            self._up()
            while not listening.done():
                if self._docker_came():
                    return
                await self._wait_interval(listening)
                self._check_aside()
                if not listening.done():
                    await self._look()
            raise Unreachable(self.host.name, listening.result())
        finally:
            self._connected.clear()
            listening.cancel()
            asking.cancel()
            await asyncio.gather(listening, asking, return_exceptions=True)

    async def _ask(self) -> None:
        await asyncio.gather(self.paths.run(), self.environments.run())

    async def _wait_interval(self, listening: asyncio.Task[str]) -> None:
        hurry, pause = asyncio.ensure_future(self._hurry.wait()), self._interval
        if self.host.look is not None and self.host.look.has_unready:
            pause = min(pause, self.timings.look_unready)
        try:
            await asyncio.wait(
                (hurry, listening), timeout=pause, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            hurry.cancel()
        self._hurry.clear()

    async def _look(self) -> None:
        asked_at = self._clock.now()
        seen = await self.link.look(asked_at, self._look_timeout)
        look = self._ill.apply(self._overlay.apply(seen), self.timings.gpu_healthy_for)
        before = self.host.look
        self._change(look=look)
        for gpu in self._ill.healed():
            self._told.forget(gpu)
            told = f"{self.host.name}: {gpu} is healthy again"
            self._on_event(self.host.name, EventKind.GPU_HEALTHY, told, "info", gpu)
        self._on_look(self.host, look)
        if before is None or has_news(before, look):
            self._on_news()

    def _docker_came(self) -> bool:
        """Whether Docker answers now, and did not at the agent's hello: only a hello contains its
        version and GPUs, which placement needs. True once each time."""
        look = self.host.look
        if self.host.facts.docker is not None or look is None:
            return False
        came = self._docker_lacks and look.docker_problem is None
        self._docker_lacks = look.docker_problem is not None
        return came

    async def _listen(self) -> str:
        """Take the agent's pushed messages; returns why they stopped."""
        async for push in self.link.pushes():
            if isinstance(push, Exited):
                self._exited(push)
            elif isinstance(push, GpuFault):
                self._failed(push)
            else:
                return push.reason
        return "the agent ended"

    def _failed(self, push: GpuFault) -> None:
        """A fatal fault takes the GPU out of placement at once; an application error is only
        reported."""
        name, look = self.host.name, self.host.look
        if not self._told.is_news(push.gpu, push.xid, self._clock.now(), self.timings.repeat_fault):
            return
        told = f"{name}: {push.gpu}: {push.message}"
        if push.xid in xids.FATAL:
            now = self._clock.now()
            self._faults[push.gpu] = (now, push.message)
            self._ill.add(push.gpu, push.message, now)
            if look is not None:
                self._change(look=self._ill.apply(look, self.timings.gpu_healthy_for))
            self._on_event(name, EventKind.GPU_FAULT, told, "error", push.gpu)
            self._on_news()
        else:
            self._on_event(name, EventKind.GPU_XID, told, "warning", push.gpu)
        self.look_soon()

    def _exited(self, push: Exited) -> None:
        self._overlay.add(push.workload, self._clock.now())
        if push.left is not None:
            self._left[push.workload.ref] = push.left
            while len(self._left) > _LEFT_MOST or self._left_bytes() > _LEFT_BYTES:
                del self._left[next(iter(self._left))]
        if self.host.look is not None:
            self._change(look=self._overlay.apply(self.host.look))
        self._on_news()

    def _left_bytes(self) -> int:
        return sum(len(left.log) for left in self._left.values())

    def _up(self) -> None:
        if self.host.condition is HostCondition.UP:
            return
        was, look = self.host.condition, self.host.look
        # Since the first look that was answered: it counts, those of before do not any more.
        since = self._clock.now() if look is None else look.asked_at
        self._change(condition=HostCondition.UP, since=since, problem=None)
        if was in (HostCondition.UNREACHABLE, HostCondition.REFUSED):
            name = self.host.name
            self._on_event(name, EventKind.HOST_RETURNED, f"{name} answers again", "info")
        self._on_news()

    def _found_paths(self, mounts: tuple[HostMount, ...], programs: Mapping[str, bool]) -> None:
        if (self.host.mounts, self.host.programs) != (mounts, programs):
            self._change(mounts=mounts, programs=programs)
            self._on_news()

    def _found(self, environments: Mapping[str, str | None]) -> None:
        if self.host.environments != environments:
            self._change(environments=environments)
            self._on_news()

    def _lost(self, condition: HostCondition, error: HostError) -> None:
        changed = self.host.condition is not condition
        since = self._clock.now() if changed else self.host.since
        # Shown beside the host's name, so without it.
        self._change(condition=condition, since=since, problem=error.told)
        if changed:
            severity = "error" if condition is HostCondition.REFUSED else "warning"
            self._on_event(self.host.name, EventKind(f"host.{condition}"), str(error), severity)
            self._on_news()

    def _change(self, **changes: Unpack[HostChange]) -> None:
        """Change fields of the current host: a value read before an await may be old."""
        self.host = replace(self.host, **changes)


def _odd(host: str, error: Exception) -> HostError:
    return Unreachable(
        host, f"Hostler failed there ({error})", remedy="the daemon's log has the details"
    )


def _allowed(facts: HostFacts, configured: Sequence[str]) -> tuple[str, ...]:
    if not configured:
        return facts.runtimes
    return tuple(name for name in facts.runtimes if name in configured)
