"""Where a run would go if it were submitted now: `hostler run --plan`. Changes nothing."""

from __future__ import annotations

from dataclasses import replace

from hostler.decide.groups import Group, groups_of
from hostler.decide.holding import HolderKind
from hostler.decide.host_capacity import HostCapacity, candidates
from hostler.decide.index import Index
from hostler.decide.lifecycle import has_groups
from hostler.decide.obstacles import host_reason, is_free
from hostler.decide.plan import plan
from hostler.decide.reasons import by_distance, is_as_asked
from hostler.decide.requests import Request, request_of, wanted
from hostler.decide.together import summed
from hostler.model.pipelines import GroupHosts, Stage
from hostler.model.plans import HostReason, PreviewLine, Reason, RemedyKind, Snapshot, Start
from hostler.model.runs import Run, StageStatus


def preview(snapshot: Snapshot, run: Run) -> list[PreviewLine]:
    """A line for each stage in file order: where it would start now and why, or why it would wait;
    for stages that come later, which hosts could take them."""
    others = tuple(r for r in snapshot.runs if r.run_id != run.run_id)
    with_run = replace(snapshot, runs=(*others, run))
    decided = plan(with_run)
    index = Index(with_run)
    starts = {
        action.stage.name: action
        for action in decided.actions
        if isinstance(action, Start) and action.attempt.run_id == run.run_id
    }
    capacities = _capacities(index)
    lines = []
    for stage in run.stages:
        able = tuple(c.capacity.host.name for c in candidates(capacities, request_of(run, stage)))
        start = starts.get(stage.name)
        reason = decided.reasons.get((run.run_id, stage.name))
        if start is not None:
            lines.append(_now(start, index, able))
        elif reason is not None:
            lines.append(_waits(stage, run, reason, able))
        else:
            lines.append(_over(stage, index, run, able))
    return [_without_id(line, run) for line in lines]


def unplaceable(snapshot: Snapshot, run: Run) -> str | None:
    """That no host can ever take a stage of this run as it is asked for: the first such stage.
    None: each has a host, or may have one among those that have not answered yet."""
    index = Index(replace(snapshot, runs=()))
    capacities = list(map(_emptied, _capacities(index)))
    requests: dict[tuple[Request, int], Stage] = {}
    groups = groups_of(run) if has_groups(run.stages) else {}
    for stage in run.stages:
        requests.setdefault(_asked(run, stage, groups.get(stage.name)), stage)
    for (request, hosts), stage in requests.items():
        if len(candidates(capacities, request)) >= hosts:
            continue  # as usual; what is in the way elsewhere need not be found out
        reasons = _hopeless(capacities, request, index, hosts)
        if reasons is not None:
            best = next(iter(by_distance(reasons, request)), None)
            what = f"nearest {best.host}: {best.sentence}" if best else "there are no more hosts"
            if hosts > 1:
                return f"no {hosts} hosts can take {stage.name} as requested: {what}"
            what = what if best else "there are no hosts"
            return f"no host can take {stage.name} as requested: {what}"
    return None


def _asked(run: Run, stage: Stage, group: Group | None) -> tuple[Request, int]:
    """What a stage asks for with its group, and of how many hosts."""
    request = request_of(run, stage)
    if group is None:
        return request, 1
    if group.hosts is GroupHosts.SAME:
        return summed([request] * len(group.stages)), 1
    return request, len(group.stages)


def _hopeless(
    capacities: list[HostCapacity], request: Request, index: Index, hosts: int
) -> list[HostReason] | None:
    """What is in the way on each host; None as soon as so many could take it, given time."""
    reasons, able = [], 0
    for capacity in capacities:
        reason = host_reason(capacity, request, index, None)
        if is_as_asked(reason) or is_free(capacity, request, index):
            able += 1
        else:
            reasons.append(reason)
        if able == hosts:
            return None
    return reasons


def _capacities(index: Index) -> list[HostCapacity]:
    ordered = sorted(index.snapshot.hosts, key=lambda host: host.name)
    return [HostCapacity(host, i, index) for i, host in enumerate(ordered)]


def _emptied(capacity: HostCapacity) -> HostCapacity:
    """The host as it is when all that holds its GPUs has ended."""
    for uuid, held in capacity.held.items():
        capacity.held[uuid] = tuple(h for h in held if h.kind is HolderKind.UNHEALTHY)
    return capacity


def _without_id(line: PreviewLine, run: Run) -> PreviewLine:
    """The line without the run's id, which nobody will ever find."""

    def told(text: str) -> str:
        return text.replace(f"{run.owner}'s {run.run_id}", "this run's").replace(
            run.run_id, "this run"
        )

    reason = line.reason
    if reason is not None:
        hosts = tuple(replace(host, sentence=told(host.sentence)) for host in reason.hosts)
        reason = replace(reason, sentence=told(reason.sentence), hosts=hosts)
    return replace(line, why=told(line.why), reason=reason)


def _now(start: Start, index: Index, able: tuple[str, ...]) -> PreviewLine:
    attempt = start.attempt
    look = index.hosts[attempt.host].look
    gpus = look.gpus if look is not None else ()
    indices = tuple(gpu.index for gpu in gpus if gpu.uuid in attempt.gpus)
    return PreviewLine(start.stage.name, attempt.host, indices, start.why, hosts=able)


def _waits(stage: Stage, run: Run, reason: Reason, able: tuple[str, ...]) -> PreviewLine:
    later = any(r.kind is RemedyKind.WAIT_FOR_STAGE for r in reason.remedies)
    if not later:
        return PreviewLine(stage.name, why=reason.sentence, reason=reason, hosts=able)
    first = (f"{'the end of ' if n in stage.needs_ended else ''}{n}" for n in stage.needs[:3])
    after = ", ".join(first) + (", ..." if len(stage.needs) > 3 else "")
    where = f"{', '.join(able)} could take it" if able else "no host that is up could take it"
    why = f"after {after}: {wanted(request_of(run, stage))}; {where}"
    return PreviewLine(stage.name, why=why, later=True, hosts=able)


def _over(stage: Stage, index: Index, run: Run, able: tuple[str, ...]) -> PreviewLine:
    progress = index.progress[run.run_id]
    status = progress.status[stage.name]
    words = {StageStatus.SUCCEEDED: "done in the run that this one repeats"}
    why = progress.notes.get(stage.name) or words.get(status, str(status))
    return PreviewLine(stage.name, why=why, hosts=able)
