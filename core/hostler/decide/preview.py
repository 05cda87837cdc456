"""Where a run would go if it were submitted now: `hostler run --plan`. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hostler.decide.host_capacity import HostCapacity, candidates, capacities_of
from hostler.decide.index import Index
from hostler.decide.plan import plan
from hostler.decide.requests import Request, requests_of, wanted_of
from hostler.model.pipelines import Stage
from hostler.model.plans import PreviewLine, Reason, RemedyKind, Snapshot, Start
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
    capacities = capacities_of(index)
    lines = []
    for stage in run.stages:
        able = _able(capacities, requests_of(run, stage))
        start = starts.get(stage.name)
        reason = decided.reasons.get((run.run_id, stage.name))
        if start is not None:
            lines.append(_now(start, index, able))
        elif reason is not None:
            lines.append(_waits(stage, run, reason, able))
        else:
            lines.append(_over(stage, index, run, able))
    return [_without_id(line, run) for line in lines]


def _able(capacities: list[HostCapacity], requests: Sequence[Request]) -> tuple[str, ...]:
    """The hosts that could take any of these."""
    found = [c.capacity.host.name for each in requests for c in candidates(capacities, each)]
    return tuple(dict.fromkeys(found))


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
    why = f"after {after}: {wanted_of(requests_of(run, stage))}; {where}"
    return PreviewLine(stage.name, why=why, later=True, hosts=able)


def _over(stage: Stage, index: Index, run: Run, able: tuple[str, ...]) -> PreviewLine:
    progress = index.progress[run.run_id]
    status = progress.status[stage.name]
    words = {StageStatus.SUCCEEDED: "done in the run that this one repeats"}
    why = progress.notes.get(stage.name) or words.get(status, str(status))
    return PreviewLine(stage.name, why=why, hosts=able)
