"""The API's objects for services and replicas, and how many stopped services are listed (100)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from hostler.base.errors import InputError, NotFoundError
from hostler.base.units import format_duration
from hostler.daemon.context import Context
from hostler.daemon.releases import releases_of
from hostler.daemon.views import Reasons, troubles_of
from hostler.decide.index import fresh_look
from hostler.decide.lifecycle.service import FAILING, failures_in_a_row, is_ready
from hostler.decide.progress import Progress, progress_of
from hostler.decide.services import service_ends
from hostler.model.hosts import Host, Look
from hostler.model.pipelines import Stage
from hostler.model.releases import ServiceState
from hostler.model.runs import Attempt, Run, StageStatus
from hostler.model.service_wishes import why_unwanted
from hostler.model.views.services import ReplicaView, ServiceList, ServiceView
from hostler.store.releases import LastRelease

MOST_STOPPED = 100
"""Most stopped services that are listed: the last ones."""


def list_services(
    context: Context, reasons: Reasons, runs: Iterable[Run] | None = None
) -> ServiceList:
    """The services of all open runs, or of the given ones, the oldest first."""
    among = context.run_cache.runs() if runs is None else runs
    found = (view for run in among for view in _of_run(context, run, reasons))
    return ServiceList(services=tuple(found))


async def list_stopped(context: Context) -> ServiceList:
    """Deployed services without a running release, the last ended first; without replicas. They can
    be deployed again or rolled back."""
    ended = [name for name, state in context.services.items() if _is_stopped(context, state)]
    found = await releases_of(context).last(ended)
    views = [_stopped(context.services[last.service], last) for last in found]
    return ServiceList(services=tuple(sorted(views, key=lambda view: -view.since)[:MOST_STOPPED]))


def _is_stopped(context: Context, state: ServiceState) -> bool:
    runs = (release.run_id for release in state.releases)
    return state.opened is None and all(context.run_cache.find(run) is None for run in runs)


def _stopped(state: ServiceState, last: LastRelease) -> ServiceView:
    deployment = state.deployment
    why = "it was stopped" if deployment.live is not None else last.reason
    return ServiceView(
        name=deployment.name, run_id=last.run_id, pipeline=deployment.name, owner=deployment.owner,
        state="stopped", since=last.ended_at or 0.0, stopped=why or None, release=last.number,
    )  # fmt: skip


def show_service(context: Context, reasons: Reasons, run: Run, base: str) -> ServiceView:
    """The current state of one service of an open run."""
    run = context.run_cache.find(run.run_id) or run
    progress, troubles = progress_of(run), troubles_of(context, run)
    stages = [stage for stage in run.stages if stage.base == base]
    replicas = [_replica(context, progress, stage, reasons, troubles) for stage in stages]
    return _service(context, run, base, progress, replicas)


def _release_number(context: Context, run: Run) -> int | None:
    states = context.services.values()
    found = (each.number for s in states for each in s.releases if each.run_id == run.run_id)
    return next(found, None)


async def run_meant(context: Context, resolve: Callable[[str], Awaitable[str]], name: str) -> str:
    """The run with that id; else the run of the service with that name, of its live release or the
    one that takes over; else the run that the shortened id means. Raises as `resolve`."""
    state = context.services.get(name)
    release = (state.live or state.opened) if state is not None else None
    if context.run_cache.find(name) is not None:
        return name
    if release is None or name == "last":
        return await resolve(name)
    with suppress(NotFoundError, InputError):
        if await resolve(name) == name:
            return name
    return release.run_id


def _released(context: Context, run: Run) -> int | None:
    """The wanted number of replicas of a release; None: it is no release, or another one comes."""
    for state in context.services.values():
        if state.live is not None and state.live.run_id == run.run_id:
            return state.deployment.replicas if state.opened is None else None
    return None


def _of_run(context: Context, run: Run, reasons: Reasons) -> Iterator[ServiceView]:
    bases = dict.fromkeys(s.base for s in run.stages if s.service is not None)
    if not bases:
        return
    progress, troubles = progress_of(run), troubles_of(context, run)
    for base in bases:
        stages = [stage for stage in run.stages if stage.base == base]
        if all(progress.status[stage.name].is_final for stage in stages):
            continue
        replicas = [_replica(context, progress, stage, reasons, troubles) for stage in stages]
        yield _service(context, run, base, progress, replicas)


def _service(
    context: Context, run: Run, base: str, progress: Progress, replicas: list[ReplicaView]
) -> ServiceView:
    released = _released(context, run)
    wish, replicas = run.services.get(base), _shown(replicas, released)
    ready = [r for r in replicas if r.state == "ready"]
    stages = (stage for stage in run.stages if stage.base == base)
    wanted = sum(not why_unwanted(stage, run.services) for stage in stages)
    wanted = wanted if released is None else min(wanted, released)
    fails = any(
        r.state in ("waiting", "starting", "unhealthy")
        and failures_in_a_row(progress.tries.get(r.name, ())) >= FAILING
        for r in replicas
    )
    paused = "it was scaled to 0" if released == 0 and not replicas else None
    since = min((r.since for r in ready if r.since is not None), default=run.submitted_at)
    return ServiceView(
        name=base,
        run_id=run.run_id,
        pipeline=run.pipeline,
        owner=run.owner,
        state=_state(replicas, len(ready), wanted, fails=fails),
        ready=len(ready),
        wanted=wanted,
        since=since,
        restarts=sum(r.restarts for r in replicas),
        error=next((r.error for r in replicas if r.error and r.state != "ready"), paused),
        replicas=tuple(replicas),
        until=service_ends(progress).get(base),
        stopped=wish.stopped or None if wish is not None else None,
        release=_release_number(context, run),
    )


def _shown(replicas: list[ReplicaView], released: int | None) -> list[ReplicaView]:
    """The replicas that run or are wanted. The slots of a release stay when it is scaled down."""
    return [
        replica
        for number, replica in enumerate(replicas)
        if replica.state != "ended"
        and (released is None or number < released or replica.state != "waiting")
    ]


def _state(replicas: Sequence[ReplicaView], ready: int, wanted: int, *, fails: bool) -> str:
    if not wanted:
        return "stopping" if any(r.state != "waiting" for r in replicas) else "waiting"
    if ready:
        return "ready" if ready >= wanted else "degraded"
    if fails:
        return "failing"
    waits = all(r.state == "waiting" for r in replicas)
    return "waiting" if waits else "starting"


def _replica(
    context: Context,
    progress: Progress,
    stage: Stage,
    reasons: Reasons,
    troubles: Mapping[str, str],
) -> ReplicaView:
    tries, status = progress.tries.get(stage.name, []), progress.status[stage.name]
    last = tries[-1] if tries else None
    if last is None or last.phase.is_final or status is StageStatus.COLLECTING:
        reason = reasons.get((progress.run.run_id, stage.name))
        error = _ended(last) if last is not None else reason.sentence if reason else None
        state = "ended" if status.is_final else "waiting"
        return ReplicaView(name=stage.name, state=state, restarts=_restarts(last), error=error)
    state = _live_state(context, last)
    before = tries[-2] if len(tries) > 1 else None
    trouble = troubles.get(last.attempt_id)
    if state == "unknown":
        trouble = _unheard(context, last, stage) or trouble
    return ReplicaView(
        name=stage.name,
        state=state,
        host=last.host,
        gpus=last.gpus,
        port=last.port,
        address=last.address,
        since=last.ready_at if last.ready_at is not None else last.started_at,
        restarts=_restarts(last),
        error=trouble or (_ended(before) if before is not None else None),
    )


def _unheard(context: Context, attempt: Attempt, stage: Stage) -> str | None:
    """What happens to a replica if its host does not answer, by the table of `decide.silence`."""
    server = context.at_gateway.get(attempt.attempt_id)
    if server is None:
        return None
    if server.is_up:
        return f"{attempt.host} does not answer; the gateway reaches this replica, so it is kept"
    after = format_duration(stage.lost_after)
    return f"daemon and gateway cannot reach it; after {after} a replacement starts on another host"


def _live_state(context: Context, attempt: Attempt) -> str:
    monitor = context.monitors.get(attempt.host)
    look = _look(context, monitor.host if monitor is not None else None)
    if attempt.launched_at is None:
        return "starting"
    if look is None:
        return "unknown"
    if not is_ready(attempt):
        return "starting"
    health = look.health.get(attempt.attempt_id)
    return "unhealthy" if health is not None and not health.ok else "ready"


def _look(context: Context, host: Host | None) -> Look | None:
    return fresh_look(host, context.clock.now(), context.config.policy)


def _restarts(last: Attempt | None) -> int:
    return 0 if last is None else last.number - 1


def _ended(attempt: Attempt) -> str | None:
    if attempt.cause is None:
        return None
    return f"{attempt.cause.value}: {attempt.detail}" if attempt.detail else attempt.cause.value
