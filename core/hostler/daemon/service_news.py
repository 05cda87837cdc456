"""Events about replicas of services: ready, failing again and again (with 3 lines of the log)."""

from __future__ import annotations

import asyncio

from hostler.base.failpoints import failpoint
from hostler.base.text import clean_line
from hostler.base.units import format_duration
from hostler.daemon.context import Context
from hostler.decide.lifecycle.service import FAILING, failures_in_a_row
from hostler.model.events import EventKind
from hostler.model.plans import MarkReady
from hostler.model.runs import Attempt, AttemptChange, Phase

_LINES = 3
_LONGEST = 200


async def mark_ready(context: Context, action: MarkReady) -> None:
    """Store that a replica is ready, once for each attempt: stages that need it start then."""
    attempt, now = action.attempt, context.clock.now()
    failpoint("before_ready")
    after = now - (attempt.launched_at if attempt.launched_at is not None else now)
    address = _known_address(context, action)
    where = "" if action.port is None else f" ({address or '127.0.0.1'}:{action.port} there)"
    said = f"{attempt.stage} is ready on {attempt.host}{where} after {format_duration(after)}"
    event = context.event(EventKind.ATTEMPT_READY, said, attempt)
    await context.change_attempt(
        attempt.attempt_id, lambda known: _became_ready(known, now, action.port, address), event
    )


def _known_address(context: Context, action: MarkReady) -> str | None:
    """Use only the address in the config: a false report of a host must not redirect requests."""
    host = context.config.host(action.attempt.host)
    return action.address if host is not None and action.address == host.lan_address else None


def _became_ready(
    attempt: Attempt, now: float, port: int | None, address: str | None
) -> AttemptChange | None:
    if not attempt.phase.is_at_work or attempt.ready_at is not None:
        return None
    return {"ready_at": now, "port": port, "address": address}


async def tell_failing(context: Context, ended: Attempt) -> None:
    """Raise an alert, with the last lines of the log, about a replica that keeps failing."""
    run = context.run_cache.find(ended.run_id)
    tries = [a for a in run.attempts if a.stage == ended.stage] if run is not None else []
    times = failures_in_a_row(tries)
    if times < FAILING or run is None or ended.phase is Phase.CANCELLED:
        return
    tail = await asyncio.to_thread(context.store.logs.tail, ended.run_id, ended.attempt_id, _LINES)
    lines = [clean_line(line, _LONGEST) for line in tail.decode("utf-8", "replace").splitlines()]
    last = f"; last lines: {' | '.join(lines)}" if lines else ""
    said = (
        f"{ended.stage} failed {times} times in a row, last on {ended.host}: {ended.detail}{last}"
    )
    event = context.event(EventKind.SERVICE_FAILING, said, ended, severity="error")
    await context.tell(event)
