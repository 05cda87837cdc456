"""The metrics database: GPU measurements per minute, and metrics of stages.

It contains history, which the daemon can work without. So it is not synced at each commit, and a
damaged file is moved aside, so that the daemon can start.
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
        """Path to which a damaged file was moved; None: the file was not damaged."""

    @classmethod
    def open(cls, path: Path) -> MetricStore:
        """Open the file, or make it. Blocks. Raises StateError, SchemaTooNew."""
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
        """Writer and readers, for tables that most daemons do not use."""
        return self._writer, self._readers

    async def close(self) -> None:
        """Finish waiting changes, then close the file."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.close()
        self._writer.close()

    async def add_gpu_samples(self, samples: Sequence[GpuSample]) -> None:
        """Store the samples of all GPUs of one tick in one commit, and the averages of finished
        minutes."""
        if samples:
            await self._writer.submit(
                lambda connection: gpu_history.insert(connection, samples, self._gpu_ids)
            )

    async def put_stage_metrics(
        self, attempt_id: str, points: Sequence[MetricPoint], first: int = 0
    ) -> None:
        """Store points of an attempt's metrics file from row `first` on. They replace all stored
        rows from there on, so the call may be repeated."""
        if points:
            await self._writer.submit(
                lambda connection: stage_metrics.put(connection, attempt_id, points, first)
            )

    async def page_of_metrics(
        self, attempt_id: str, after: int, most: int
    ) -> tuple[list[StageMetric], int | None]:
        """At most `most` rows of an attempt from number `after` on, and the number of the next row;
        None: there are no more."""
        return await self._readers.run(
            lambda connection: stage_metrics.page(connection, attempt_id, after, most)
        )

    async def thinned_metrics(
        self, attempt_ids: Sequence[str], most: int, rows: int | None = None
    ) -> list[StageMetric]:
        """At most `most` points of each metric of each attempt, for charts; fewer if all metrics
        together would have more than `rows` points."""

        def read(db: sqlite3.Connection) -> list[StageMetric]:
            each = most
            if rows is not None:
                each = max(2, min(most, rows // max(1, stage_metrics.count_names(db, attempt_ids))))
            return [point for a in attempt_ids for point in stage_metrics.thinned(db, a, each)]

        return await self._readers.run(read)

    async def gpu_series_of(
        self, host: str, gpus: Sequence[str], since: float, until: float, step: int = 60
    ) -> dict[str, GpuSeries]:
        """The values of GPUs of a host, one point per `step` seconds (whole minutes), including the
        current minute. All are read from one state of the database."""
        every = _minutes(step)
        return await self._readers.run(
            lambda db: {u: gpu_history.series(db, (host, u), since, until, every) for u in gpus}
        )

    async def sample_series_of(
        self, host: str, gpus: Sequence[str], since: float, until: float, step: int
    ) -> dict[str, GpuSeries]:
        """The same from the samples only, with any `step`; empty where samples were deleted."""
        return await self._readers.run(
            lambda db: {
                u: gpu_history.sample_series(db, (host, u), since, until, step) for u in gpus
            }
        )

    async def gpus_of(self, host: str) -> list[str]:
        """UUIDs of all GPUs of a host that have samples."""
        return await self._readers.run(lambda connection: gpu_history.gpus_of(connection, host))

    async def totals(self, since: float, until: float) -> FleetSeries:
        """The values of all GPUs together per minute, including the current minute."""
        return await self._readers.run(
            lambda connection: gpu_history.totals(connection, since, until)
        )

    async def gpu_samples(self, host: str, gpu: str, since: float, until: float) -> list[GpuSample]:
        """The samples that are not deleted yet."""
        return await self._readers.run(
            lambda connection: gpu_history.samples(connection, (host, gpu), since, until)
        )

    async def prune(self, samples_before: float, minutes_before: float) -> int:
        """Delete samples and averages older than these times; returns the number of deleted
        rows."""
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
