"""Deleting what is past its time: logs, snapshots, outputs, runs that people remove."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from hostler.daemon.context import Context
from hostler.store.retention import Blob, GcPlan, RetentionLimits, plan_gc


class GarbageCollector:
    """Plans with values, then deletes. A run that has not ended loses nothing."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def remove_run(self, run_id: str) -> None:
        """Forget a finished run: rows, metrics, logs. Its blobs go with the next `collect`."""
        await self._context.store.delete_run(run_id)
        self._context.hub.publish()

    async def collect(self, dry_run: bool) -> dict[str, Any]:
        """Delete what is past its time; what was (or with `dry_run` would be) deleted."""
        context = self._context
        plan = await self._plan()
        if not dry_run:
            for run_id in plan.logs:
                await asyncio.to_thread(context.store.logs.remove_run, run_id)
            await asyncio.to_thread(context.content.remove, plan.blobs)
        return {
            "dry_run": dry_run,
            "freed": plan.freed,
            "logs": {"runs": list(plan.logs), "bytes": plan.log_bytes},
            "content": {"blobs": len(plan.blobs), "bytes": plan.blob_bytes},
        }

    async def _plan(self) -> GcPlan:
        context = self._context
        limits = context.config.limits
        sizes = await asyncio.to_thread(context.store.logs.sizes)
        blobs = await asyncio.to_thread(context.content.sizes)
        uses = await context.store.run_uses()
        return plan_gc(
            [replace(use, log_bytes=sizes.get(use.run_id, 0)) for use in uses],
            {digest: Blob(size, taken_in) for digest, (size, taken_in) in blobs.items()},
            RetentionLimits(logs_for=limits.keep_logs, outputs_for=limits.keep_outputs),
            context.clock.now(),
        )
