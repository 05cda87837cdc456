"""Drains a host, on request or because work there cannot be killed."""

from __future__ import annotations

import math

from hostler.daemon.context import Context
from hostler.model.calls import AuditEntry
from hostler.model.events import EventKind
from hostler.model.hosts import Workload
from hostler.model.records import Drain


async def drain(
    context: Context,
    name: str,
    reason: str,
    by: str,
    severity: str = "info",
    asked: AuditEntry | None = None,
) -> None:
    """Take a host out of placement, durably. Raises StateError."""
    said = f"{name} drained: {reason}"
    event = context.event(EventKind.HOST_DRAINED, said, severity=severity, host=name, actor=by)
    closed = Drain(host=name, reason=reason, by=by, at=context.clock.now())
    await context.store.set_drain(closed, event, asked)
    context.close_host(name, reason)


class Unkillables:
    """Handles processes that SIGKILL does not end: they hang in the kernel, in a GPU's driver or on
    a disk, and new work on that host usually hangs next."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._since: dict[tuple[str, str], float] = {}

    async def failed(self, host: str, workload: Workload) -> None:
        """The process did not end. If this is so minutes later, drain the host, only once: a user
        who undrains it decides. Raises StateError."""
        context, now = self._context, self._context.clock.now()
        since = self._since.setdefault((host, workload.ref), now)
        if (
            now - since < context.timings.unkillable_after
            or context.monitors[host].host.drained is not None
        ):
            return
        self._since[host, workload.ref] = math.inf
        said = (
            f"{workload.attempt_id} does not end after SIGKILL: a GPU or disk probably hangs; "
            f"after the repair: hostler undrain {host}"
        )
        await drain(context, host, said, "hostler", severity="error")

    def ended(self, host: str, workload: Workload) -> None:
        """The process has ended."""
        self._since.pop((host, workload.ref), None)
