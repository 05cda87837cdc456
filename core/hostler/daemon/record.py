"""Writes looks into the history: GPU samples and events of hosts, with limits for each host; how
often: `model.timings`. One commit per tick.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from hostler.base.errors import StateError
from hostler.daemon.context import Context
from hostler.daemon.usage import Usage
from hostler.model.events import EventKind
from hostler.model.hosts import Host, Look
from hostler.model.records import GpuSample, NewEvent

_log = logging.getLogger("hostler.daemon")
_MOST_WAITING = 50_000
_MOST_EVENTS = 1000
_MOST_GPUS = 256
"""A host that reports more different GPUs gets no history for them: the names could grow without
limit."""


class Recorder:
    """Collects reports of monitors and writes them in batches, so that no look waits for the
    disk."""

    def __init__(self, context: Context, usage: Usage) -> None:
        self._context = context
        self._usage = usage
        self._samples: list[GpuSample] = []
        self._events: list[NewEvent] = []
        self._gpus: dict[str, set[str]] = {}
        self._has_some = asyncio.Event()
        """Set when there is data to write."""
        self._wake = asyncio.Event()
        """Set to write at once."""

    def saw(self, host: Host, look: Look) -> None:
        """Record one look."""
        self._usage.saw(host, look)
        if len(self._samples) > _MOST_WAITING:
            return  # the disk is full or gone; what cannot be written must not fill the memory
        known = self._gpus.setdefault(host.name, set())
        if len(known) < _MOST_GPUS:
            known.update(gpu.uuid for gpu in look.gpus)
        self._samples.extend(
            GpuSample(
                host=host.name,
                gpu=gpu.uuid,
                at=look.asked_at,
                utilization=gpu.utilization,
                memory_used=gpu.memory_used,
                power=gpu.power,
                temperature=gpu.temperature,
            )
            for gpu in look.gpus
            if gpu.uuid in known
        )
        if self._samples:
            self._has_some.set()

    def host_event(
        self, host: str, kind: EventKind, message: str, severity: str, gpu: str | None = None
    ) -> None:
        """Record an event of a host, or of one of its GPUs."""
        self.note(self._context.event(kind, message, severity=severity, host=host, gpu=gpu))

    def note(self, event: NewEvent) -> None:
        """Add data to write soon."""
        admitted = self._context.admit(event)
        if admitted is not None:
            self._events.append(admitted)
            self._has_some.set()
            self._wake.set()

    async def run(self) -> None:
        """Write collected data every two seconds, events at once, until cancelled."""
        while True:
            await self._has_some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._context.timings.record_every):
                    await self._wake.wait()
            self._wake.clear()
            await self._write()
            if not self._samples and not self._events:
                self._has_some.clear()

    async def _write(self) -> None:
        context = self._context
        try:
            while self._events:
                await context.write(self._events[0])
                del self._events[0]
            samples, self._samples = self._samples, []
            if samples:
                await context.store.metrics.add_gpu_samples(samples)
        except StateError as error:
            # Events wait until they can be written; measurements are worth no memory.
            del self._events[:-_MOST_EVENTS]
            _log.warning("measurements were not written: %s", error)
        except Exception:
            _log.exception("recording failed: this is a bug in Hostler, please report it")
