"""The metrics database: GPU measurements by the minute, and metrics of stages; a damaged one is put
aside.

It is history, not state: it syncs lazily, and a damaged one is put aside rather than trusted or
allowed to keep the daemon from starting.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from hostler.model.records import FleetSeries, GpuSample, GpuSeries, MetricPoint, StageMetric
from hostler.store import gpu_history, stage_metrics
from hostler.store.connections import Readers, Writer
from hostler.store.faults import CorruptError, disk_faults
from hostler.store.metrics_migrations import METRICS
from hostler.store.opening import open_for_writing


class MetricStore:
    """Opened by `Store.open` as its `metrics`. Times are seconds on the daemon's clock."""

    def __init__(self, writer: Writer, readers: Readers, put_aside: Path | None) -> None:
        self._writer = writer
        self._readers = readers
        self._gpu_ids = gpu_history.GpuIds()
        self.put_aside = put_aside
        """Where a damaged file was moved when this was opened; None: the file was undamaged."""

    @classmethod
    def open(cls, path: Path) -> MetricStore:
        """Open or make the file. Blocks. Raises StateError, SchemaTooNew."""
        put_aside = None
        try:
            connection = _connect(path)
        except CorruptError:
            put_aside = _put_aside(path)
            connection = _connect(path)
        try:
            return cls(Writer(connection, path), Readers(path), put_aside)
        except BaseException:
            connection.close()
            raise

    @property
    def connections(self) -> tuple[Writer, Readers]:
        """For tables of which few daemons have any rows."""
        return self._writer, self._readers

    async def close(self) -> None:
        """Finish what waits and close."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.close()
        self._writer.close()

    async def add_gpu_samples(self, samples: Sequence[GpuSample]) -> None:
        """One tick of the whole fleet in one commit. Minutes that are over are rolled up."""
        if samples:
            await self._writer.submit(
                lambda connection: gpu_history.insert(connection, samples, self._gpu_ids)
            )

    async def put_stage_metrics(
        self, attempt_id: str, points: Sequence[MetricPoint], first: int = 0
    ) -> None:
        """Points of an attempt's metrics file from its row `first` on. They take the place of all
        earlier ones from there on, and so may be put again."""
        if points:
            await self._writer.submit(
                lambda connection: stage_metrics.put(connection, attempt_id, points, first)
            )

    async def page_of_metrics(
        self, attempt_id: str, after: int, most: int
    ) -> tuple[list[StageMetric], int | None]:
        """At most so many rows of an attempt from number `after` on; where the next begin."""
        return await self._readers.run(
            lambda connection: stage_metrics.page(connection, attempt_id, after, most)
        )

    async def thinned_metrics(
        self, attempt_ids: Sequence[str], most: int, rows: int | None = None
    ) -> list[StageMetric]:
        """At most so many points of each metric of each attempt, for charts; fewer where there are
        so many metrics that it would be more than `rows` in all."""

        def read(db: sqlite3.Connection) -> list[StageMetric]:
            each = most
            if rows is not None:
                each = max(2, min(most, rows // max(1, stage_metrics.count_names(db, attempt_ids))))
            return [point for a in attempt_ids for point in stage_metrics.thinned(db, a, each)]

        return await self._readers.run(read)

    async def gpu_series_of(
        self, host: str, gpus: Sequence[str], since: float, until: float, step: int = 60
    ) -> dict[str, GpuSeries]:
        """GPUs of a host, a point each `step` seconds (whole minutes), the running one included.
        All are of one moment of the database."""
        every = _minutes(step)
        return await self._readers.run(
            lambda db: {u: gpu_history.series(db, (host, u), since, until, every) for u in gpus}
        )

    async def sample_series_of(
        self, host: str, gpus: Sequence[str], since: float, until: float, step: int
    ) -> dict[str, GpuSeries]:
        """The same from the samples alone, by any step; empty where they are pruned."""
        return await self._readers.run(
            lambda db: {
                u: gpu_history.sample_series(db, (host, u), since, until, step) for u in gpus
            }
        )

    async def gpus_of(self, host: str) -> list[str]:
        """UUIDs of the GPUs of which there are samples from a host."""
        return await self._readers.run(lambda connection: gpu_history.gpus_of(connection, host))

    async def totals(self, since: float, until: float) -> FleetSeries:
        """All GPUs together, minute by minute, the running one included."""
        return await self._readers.run(
            lambda connection: gpu_history.totals(connection, since, until)
        )

    async def gpu_samples(self, host: str, gpu: str, since: float, until: float) -> list[GpuSample]:
        """The samples themselves, where they are not yet pruned."""
        return await self._readers.run(
            lambda connection: gpu_history.samples(connection, (host, gpu), since, until)
        )

    async def prune(self, samples_before: float, minutes_before: float) -> int:
        """Drop samples and roll-ups older than these times; returns the number of deleted rows."""
        return await self._writer.submit(
            lambda connection: gpu_history.prune(connection, samples_before, minutes_before)
        )

    async def forget(self, attempt_ids: Sequence[str]) -> None:
        """Delete the metrics of these attempts."""
        if attempt_ids:
            await self._writer.submit(
                lambda connection: stage_metrics.forget(connection, attempt_ids)
            )


def _minutes(step: int) -> int:
    return max(1, round(step / 60)) * 60


def _connect(path: Path) -> sqlite3.Connection:
    return open_for_writing(path, METRICS, synchronous="NORMAL", backups=False)


def _put_aside(path: Path) -> Path:
    target = path.with_name(f"{path.name}.damaged-{int(time.time())}")
    with disk_faults(path):
        path.replace(target)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    return target
