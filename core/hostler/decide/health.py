"""Hosts where starts fail: which stage may try such a host next and when, and when the stage is to
blame; the pauses are `StartPauses` in `model.timings`.

After a failed start, a host gets no more stages of that kind. Only a pending stage that finds no
other place is tried there: one at a time, after pauses that grow. A stage that failed there waits
longer than the others. So a stage (or a person's sweep) whose request breaks every host cannot keep
those hosts closed. If other stages start there after a stage has failed, the stage is the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hostler.model.pipelines import Cause, Stage
from hostler.model.plans import Ailment, Site
from hostler.model.runs import Attempt, Run
from hostler.model.timings import DEFAULT, StartPauses

_DOUBTS = 2
"""If other stages started after so many failures of a stage, the host is not the cause."""


def after_fault(
    before: Ailment | None, attempt: Attempt, stage: Stage, owner: str, why: str, now: float,
    *, gpus_only: bool, pauses: StartPauses = DEFAULT.start,
) -> Ailment:  # fmt: skip
    """The ailment of a host after its fault made a start fail."""
    owners, images = frozenset({owner}), frozenset({stage.image or ""})
    if before is None:
        first = pauses.first
        return Ailment(
            why, now, first, now + first, gpus_only, owners, images, head_start=pauses.head_start
        )
    known = replace(
        before,
        why=why,
        gpus_only=before.gpus_only and gpus_only,
        owners=before.owners | owners,
        images=before.images | images,
    )
    if attempt.placed_at < before.probe_at:
        return known  # it was placed before the last probe: no new information
    pause = min(before.pause * 2, pauses.longest)
    return replace(known, pause=pause, probe_at=now + pause)


def concerns(ailment: Ailment | None, gpus: bool) -> bool:
    """Whether an ailment prevents the start of a stage with or without GPUs."""
    return ailment is not None and (gpus or not ailment.gpus_only)


def may_probe(ailment: Ailment, stage: Stage, owner: str, now: float) -> bool:
    """Whether this stage may test now whether the host is healthy again."""
    met = (owner in ailment.owners) + ((stage.image or "") in ailment.images)
    return now >= _probe_at(ailment, met)


def probe_times(ailment: Ailment) -> Iterable[float]:
    """The times at which another stage may try the host."""
    return (_probe_at(ailment, met) for met in range(3))


def _probe_at(ailment: Ailment, met: int) -> float:
    """When a stage may try the host. `met`: 2 if both its owner and its image had the failure
    there, 0 if neither did."""
    return ailment.probe_at + min(ailment.pause, ailment.head_start) * met / 2


def is_suspect(tries: Sequence[Attempt], proven: Mapping[tuple[str, str, bool], float]) -> bool:
    """Whether a stage that failed to start by a host's fault is itself the cause. `proven`: when a
    stage last started, by host, runtime and whether it had GPUs."""
    return sum(_is_disproved(each, proven) for each in tries) >= _DOUBTS


def _is_disproved(attempt: Attempt, proven: Mapping[tuple[str, str, bool], float]) -> bool:
    if attempt.cause is not Cause.HOST_FAULT or attempt.finished_at is None:
        return False
    kinds = (True,) if attempt.gpus else (True, False)
    return any(
        proven.get((attempt.host, attempt.runtime, gpus), 0.0) > attempt.finished_at
        for gpus in kinds
    )


def remembered(
    runs: Iterable[Run], now: float, pauses: StartPauses = DEFAULT.start
) -> dict[Site, Ailment]:
    """The ailments of hosts after a restart of the daemon, from the last results of open runs
    there."""
    found: dict[Site, Ailment] = {}
    last: dict[Site, tuple[Attempt, Run]] = {}
    for run in runs:
        for attempt in run.attempts:
            site = (attempt.host, attempt.runtime)
            told = attempt.launched_at is not None or attempt.cause is Cause.HOST_FAULT
            if told and (site not in last or _at(attempt) >= _at(last[site][0])):
                last[site] = (attempt, run)
    for site, (attempt, run) in last.items():
        stage = next((s for s in run.stages if s.name == attempt.stage), None)
        if attempt.cause is Cause.HOST_FAULT and stage is not None:
            known = after_fault(
                None, attempt, stage, run.owner, attempt.detail, now,
                gpus_only=bool(attempt.gpus), pauses=pauses,
            )  # fmt: skip
            found[site] = replace(known, probe_at=now)
    return found


def _at(attempt: Attempt) -> float:
    """When the attempt showed whether its host can start work."""
    if attempt.launched_at is not None:
        return attempt.launched_at
    return attempt.finished_at if attempt.finished_at is not None else attempt.placed_at
