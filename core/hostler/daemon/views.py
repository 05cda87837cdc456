"""The API's objects for runs, plans, retries and the daemon: state words of a run, one line for
each stage in `hostler why`, warnings about GPUs. They change nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import hostler
from hostler.base.own_gpus import VARIABLES
from hostler.base.units import format_size, requeued_text
from hostler.daemon.context import Context
from hostler.daemon.standing import LeftBehind, Standing
from hostler.decide.again import RetryPlan, changed_params
from hostler.decide.causes import trouble_of
from hostler.decide.gpu_names import told_of_models
from hostler.decide.own_gpus import told_of_own_gpus
from hostler.decide.plan import preview
from hostler.decide.progress import Progress, progress_of
from hostler.decide.requeue import requeues
from hostler.model.calls import Call, Caller
from hostler.model.causes import Cause
from hostler.model.codec import view_of
from hostler.model.config import LimitsConfig
from hostler.model.hosts import Host, HostCondition
from hostler.model.pipelines import Stage
from hostler.model.plans import Reason, Snapshot
from hostler.model.runs import Attempt, Run, Source, StageStatus
from hostler.model.views.daemon import DaemonView, GenerationView, LeftBehindView, SlurmView
from hostler.model.views.plans import ChangedParam, PlanView, RetryView, WhyStage
from hostler.model.views.runs import (
    KeptOrigin,
    OriginView,
    ProgressView,
    RunSource,
    RunView,
    SourceView,
    StageView,
)

_MOST_SHOWN = 20

Reasons = Mapping[tuple[str, str], Reason]
ProgressTable = Mapping[str, tuple[str, int, int | None]]
Troubles = Mapping[str, str]
"""Attempt id -> the problem that it has while it runs."""


def plan_view(snapshot: Snapshot, run: Run) -> PlanView:
    """Where the stages of a run would be placed now, and notes for its submitter."""
    return PlanView(
        pipeline=run.pipeline,
        stages=tuple(preview(snapshot, run)),
        gpu_models=told_of_models(snapshot.hosts, run.stages),
        own_gpus=told_of_own_gpus(run.stages),
    )


def notes_on_gpus(run: Run, hosts: Callable[[], Sequence[Host]]) -> dict[str, str | None]:
    """Notes for the submitter of a run about the GPUs that it asks for or names."""
    asks_model = any(stage.resources.gpu_models for stage in run.stages)
    names_some = any(VARIABLES in word for stage in run.stages for word in stage.command)
    return {
        "gpu_models": told_of_models(hosts(), run.stages) if asks_model else None,
        "own_gpus": told_of_own_gpus(run.stages) if names_some else None,
    }


def troubles_of(context: Context, run: Run) -> Troubles:
    """The problems of a run's attempts."""
    if run.outcome is not None:
        return {}
    found = {}
    for attempt in run.attempts:
        monitor = context.monitors.get(attempt.host)
        host = monitor.host if monitor is not None else None
        held_up = context.held_up.get(attempt.attempt_id)
        _, stray = context.strays.get(attempt.attempt_id, (None, None))
        trouble = trouble_of(attempt, host, held_up, stray)
        if trouble is not None:
            found[attempt.attempt_id] = trouble
    return found


def run_view(run: Run, reasons: Reasons, progress: ProgressTable, troubles: Troubles) -> RunView:
    """The `hostler.run/1` object."""
    progressed = progress_of(run)
    after = [each for stage in run.stages for each in stage.after]
    return view_of(
        RunView,
        run,
        state=run_state(run, progressed.status),
        source=_short_source(run.source),
        file=run.file or None,
        after=tuple(dict.fromkeys(a.run_id for a in after if not a.only_end)),
        after_any=tuple(dict.fromkeys(a.run_id for a in after if a.only_end)),
        origins={
            run_id: OriginView(source=_short_source(origin.source), params=origin.params)
            for run_id, origin in run.origins.items()
        },
        stages=tuple(
            _stage_view(progressed, stage, reasons, progress, troubles) for stage in run.stages
        ),
    )


def _short_source(source: Source) -> SourceView:
    """Without the diff: up to a mebibyte, for those who ask for the source itself."""
    return view_of(SourceView, source)


def source_view(run: Run) -> RunSource:
    """The code of a run with its diff, and that of the stages which a retry has kept."""
    return view_of(
        RunSource,
        run.source,
        origins={
            run_id: view_of(
                KeptOrigin,
                origin,
                stages=tuple(name for name, kept in run.kept.items() if kept.run_id == run_id),
            )
            for run_id, origin in run.origins.items()
        },
    )


def run_state(run: Run, statuses: Mapping[str, StageStatus]) -> str:
    """ "waiting" (nothing started yet), "running", or the outcome."""
    if run.outcome is not None:
        return run.outcome.value
    begun = any(status is not StageStatus.WAITING for status in statuses.values())
    return "running" if begun or run.attempts else "waiting"


def why_stages(
    run: Run, reasons: Reasons, progress: ProgressTable, troubles: Troubles
) -> tuple[WhyStage, ...]:
    """For each stage one line for users, and the full reason while it waits."""
    progressed = progress_of(run)
    lines = []
    for stage in run.stages:
        reason = reasons.get((run.run_id, stage.name))
        line = WhyStage(
            name=stage.name,
            base=stage.base,
            label=stage.label,
            status=progressed.status[stage.name],
            sentence=_sentence(progressed, stage, reason, progress, troubles),
            reason=reason,
        )
        lines.append(line)
    return tuple(lines)


def _sentence(
    progressed: Progress,
    stage: Stage,
    reason: Reason | None,
    progress: ProgressTable,
    troubles: Troubles,
) -> str:
    run, status = progressed.run, progressed.status[stage.name]
    tries = progressed.tries.get(stage.name, [])
    again = requeued_text(requeues(tries))
    if status is StageStatus.WAITING:
        waits = reason.sentence if reason else "will be checked in a moment"
        return "; ".join(filter(None, (waits, again)))
    note = progressed.notes.get(stage.name)
    if status is StageStatus.SKIPPED:
        return note or "skipped"
    if not tries:
        of = run.kept.get(stage.name)
        return note or ("never started" if of is None else f"kept from run {of.run_id}")
    last = tries[-1]
    if last.verdict is not None:
        return _collecting(last, troubles.get(last.attempt_id))
    if last.cause is not None:
        tail = f": {last.detail}" if last.detail else ""
        if last.cause is Cause.REQUEUED:  # stored as failed, and it did not fail
            return f"requeued on {last.host}{tail}"
        return f"{last.phase.value} on {last.host}, {last.cause.value}{tail}"
    gpus = f" with {len(last.gpus)} GPU{'s' if len(last.gpus) != 1 else ''}" if last.gpus else ""
    doing = _doing(progress.get(last.attempt_id))
    more = filter(None, (troubles.get(last.attempt_id), doing, last.warning, again))
    return "; ".join((f"{last.phase.value} on {last.host}{gpus}", *more))


def _doing(entry: tuple[str, int, int | None] | None) -> str | None:
    """ "copying image train:3 from gpu1: 120 MiB of 300 MiB"."""
    if entry is None or not (entry[1] or entry[2]):
        return None if entry is None else entry[0]
    what, done, total = entry
    return f"{what}: {format_size(done)}" + (f" of {format_size(total)}" if total else "")


def _collecting(attempt: Attempt, trouble: str | None) -> str:
    how = "" if attempt.cause is None else f" ({attempt.cause.value}: {attempt.detail})"
    said = f"its command has ended{how}; its files are being copied from {attempt.host}"
    return said + (f"; {trouble}" if trouble else "")


def _stage_view(
    progressed: Progress,
    stage: Stage,
    reasons: Reasons,
    progress: ProgressTable,
    troubles: Troubles,
) -> StageView:
    run = progressed.run
    tries = tuple(progressed.tries.get(stage.name, ()))
    kept = run.kept.get(stage.name)
    last = tries[-1] if tries else kept
    return view_of(
        StageView,
        stage,
        label=stage.label,
        needs_ended=tuple(name for name in stage.needs if name in stage.needs_ended),
        status=progressed.status[stage.name],
        gpus=stage.resources.gpus,
        attempt=last,
        attempts=tries,
        reason=reasons.get((run.run_id, stage.name)),
        progress=_progress(progress.get(last.attempt_id) if last else None),
        trouble=troubles.get(last.attempt_id) if last else None,
        kept=kept is not None,
        note=progressed.notes.get(stage.name),
    )


def _progress(entry: tuple[str, int, int | None] | None) -> ProgressView | None:
    if entry is None:
        return None
    what, done, total = entry
    return ProgressView(what=what, done=done, total=total)


def retry_view(old: Run, run: Run, plan: RetryPlan, limits: LimitsConfig) -> RetryView:
    """The `hostler.retry/1` object."""
    changed = changed_params(old.params, run.params)
    return RetryView(
        run_id=old.run_id,
        pipeline=run.pipeline,
        params={
            name: ChangedParam(before=old.params.get(name), now=run.params.get(name))
            for name in changed
        },
        stages=plan.stages,
        snapshot=any(s.code == "snapshot" and s.name in plan.again for s in run.stages),
        source_size=limits.source_size,
        source_file=limits.source_file,
    )


def hosts_for(context: Context, who: Caller | None) -> list[Host]:
    """All hosts. Users see the needed programs and environments of their own runs, operators those
    of all runs."""
    hosts = context.hosts()
    asked = any(host.programs or host.environments for host in hosts)
    if who is None or not asked or context.rights.allows(who, Call.DRAIN):
        return list(hosts)
    own = [run for run in context.run_cache.runs() if run.uid == who.uid]
    names = {path for run in own for path in run.programs}
    names |= {str(each) for run in own for each in run.environments}
    return [
        replace(
            host,
            programs={path: is_there for path, is_there in host.programs.items() if path in names},
            environments={each: lack for each, lack in host.environments.items() if each in names},
        )
        for host in hosts
    ]


def daemon_view(context: Context, started_at: float, api: int) -> DaemonView:
    """Version, database id, process, state folder, and whether the lab is simulated."""
    hosts = context.config.hosts
    return DaemonView(
        api=api,
        version=hostler.__version__,
        daemon_id=context.daemon_id,
        pid=os.getpid(),
        started_at=started_at,
        state=str(context.store.folder),
        ssh_agent=os.environ.get("SSH_AUTH_SOCK"),
        open_runs=len(context.run_cache.runs()),
        left_behind=left_behind_view(context.left_behind, context.monitors.keys()),
        generation=generation_view(context.standing, [host.name for host in hosts]),
        simulated=any(host.transport == "sim" for host in hosts),
        local=_is_local(context),
        gpus=_count_gpus(context),
        slurm=SlurmView(
            partitions=context.config.slurm.partitions, features=context.config.slurm.features
        ),
    )


def _is_local(context: Context) -> bool:
    hosts = [monitor.host for monitor in context.monitors.values()]
    return bool(hosts) and all(host.transport == "local" for host in hosts)


def _count_gpus(context: Context) -> int | None:
    """GPUs of all hosts, as last seen; None: some host has not answered yet."""
    hosts = [monitor.host for monitor in context.monitors.values()]
    if any(host.condition is HostCondition.CONNECTING for host in hosts):
        return None
    return sum(len(host.look.gpus) for host in hosts if host.look is not None)


def generation_view(standing: Standing, hosts: Collection[str]) -> GenerationView:
    """Whether this daemon may still work, and the hosts whose notes are missing after a restore."""
    waiting = standing.unmerged(hosts) if standing.restored_at is not None else []
    return GenerationView(
        number=standing.generation.number,
        restored_at=standing.restored_at,
        superseded_by=standing.superseded_by,
        halted=standing.halted() if standing.superseded_by is not None else "",
        unmerged=tuple(waiting),
        problems={host: standing.problems[host] for host in waiting if host in standing.problems},
    )


def left_behind_view(left: LeftBehind, hosts: Collection[str]) -> LeftBehindView | None:
    """Runs on hosts that are missing in the database; None: none are missing. `hosts`: all of the
    config."""
    runs = sorted({run_id for found in left.unknown.values() for run_id in found})
    others = sorted({one for found in left.others.values() for one in found})
    still_open = left.made_anew and not set(hosts) <= left.unknown.keys()
    if left.has_runs and not runs and not still_open:
        return None
    if not (runs or still_open or others):
        return None
    return LeftBehindView(
        runs=tuple(runs[:_MOST_SHOWN]),
        count=len(runs),
        hosts=tuple(sorted(host for host, found in left.unknown.items() if found)),
        made_anew=left.made_anew,
        daemons=() if left.has_runs else tuple(others[:_MOST_SHOWN]),
    )
