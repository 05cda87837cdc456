"""Which stages a retry keeps and which run again: the keys whose change makes a stage run again,
and the reasons that `hostler retry` shows. Pure.

A stage that succeeded is kept unless its definition changed, `--from` names it, a stage that it
needs runs again, or an output of it that is needed is gone.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hostler.base.errors import InputError, NotFoundError
from hostler.decide.expressions import names_in
from hostler.decide.groups import mates
from hostler.decide.progress import progress_of
from hostler.model.pipelines import Scalar, Stage
from hostler.model.runs import Attempt, Origin, Phase, Run
from hostler.model.views.plans import RetriedStage

_RESULT_KEYS = (
    "command", "shell", "plain_shell", "kind", "cell", "image", "runtime", "venv", "conda",
    "modules", "setup", "env", "workdir", "slurm_commands", "slurm_output", "slurm_error",
    "mounts", "mount_targets", "code", "when", "spread", "context", "dockerfile", "target", "args",
)  # fmt: skip
"""Keys that decide the result of a stage. Limits, priorities and places are not among them."""
_CALLED = {"cell": "matrix", "mount_targets": "mounts"}
"""The name of a key in a file, if it is not the first word of the field's name."""
_MOST_NAMED = 20
_VARIABLE = "HOSTLER_PARAM_"
_VARIABLES = re.compile(rf"{_VARIABLE}\w+")


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why a stage runs again."""

    text: str
    is_unfinished: bool = False
    """Whether the only reason is that it did not succeed: it may then continue from its
    checkpoint."""


_Reasons = dict[str, _Reason]


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """What a retry does, stage by stage, in file order."""

    stages: tuple[RetriedStage, ...]
    kept: Mapping[str, Attempt]
    """Stage -> the succeeded attempt that is kept."""
    again: frozenset[str]
    """The stages that run again."""
    anew: frozenset[str]
    """The stages of `again` that begin without their checkpoint."""


def plan_retry(
    old: Run,
    stages: Sequence[Stage],
    params: Mapping[str, Scalar],
    starts: Collection[str],
    has: Callable[[str], bool],
) -> RetryPlan:
    """What a retry of `old` with these stages and parameters does. `starts`: stages, or bases of
    cells, that run again in any case. `has` returns whether an output's content is still kept.

    Raises NotFoundError if the start is not a stage.
    """
    _check_starts(starts, stages)
    counterparts = _counterparts(old.stages, stages)
    was = succeeded(old)
    done = {
        name: replace(was[counterpart.name], stage=name)
        for name, counterpart in counterparts.items()
        if counterpart.name in was
    }
    reasons = _first_reasons(old, stages, params, frozenset(starts), counterparts)
    _add_others(reasons, stages, done, functools.cache(has))
    for name in done.keys() & reasons.keys():
        del done[name]
    begun = _begun(old, stages, counterparts)
    planned = tuple(_again(stage, reasons, done, begun) for stage in stages)
    return RetryPlan(
        planned,
        {stage.name: done[stage.name] for stage in stages if stage.name in done},
        again=frozenset(stage.name for stage in planned if not stage.kept),
        anew=frozenset(stage.name for stage in planned if stage.anew),
    )


def succeeded(run: Run) -> dict[str, Attempt]:
    """Stage -> its succeeded attempt, in this run or kept of an earlier one."""
    done = dict(run.kept)
    return done | {a.stage: a for a in run.attempts if a.phase is Phase.SUCCEEDED}


def origins_of(old: Run, run: Run) -> dict[str, Origin]:
    """Run -> the code and parameters of the stages that `run`, a retry of `old`, keeps from it, if
    they differ from those of `run`."""
    own = Origin(run.source, run.params)
    found = {a.run_id: old.origin_of(stage) for stage, a in run.kept.items()}
    return {run_id: origin for run_id, origin in found.items() if origin != own}


def changed_params(before: Mapping[str, Scalar], now: Mapping[str, Scalar]) -> list[str]:
    """Names of the parameters that differ, new and missing ones included."""
    return [
        name
        for name in dict.fromkeys((*before, *now))
        if (name in before) != (name in now)
        or (type(before[name]), before[name]) != (type(now[name]), now[name])
    ]


def _check_starts(starts: Collection[str], stages: Sequence[Stage]) -> None:
    known = {stage.name for stage in stages} | {stage.base for stage in stages}
    for name in starts:
        if name not in known:
            bases = list(dict.fromkeys(stage.base for stage in stages))
            raise NotFoundError(
                f"the run has no stage {name!r}",
                remedy="its stages: " + ", ".join(bases[:_MOST_NAMED]),
            )


def _counterparts(before: Sequence[Stage], now: Sequence[Stage]) -> dict[str, Stage]:
    """Stage -> its counterpart in the earlier run. Cells are matched by their values: a new cell in
    the middle of a matrix changes the names of the cells after it."""
    known = {_identity(stage): stage for stage in before}
    return {s.name: known[_identity(s)] for s in now if _identity(s) in known}


def _begun(old: Run, stages: Sequence[Stage], counterparts: Mapping[str, Stage]) -> set[str]:
    """Stages that may find a checkpoint, or had one under another name. It is unknown here which
    stages had begun in the runs before the last one."""
    if old.retry_of is not None:
        return {stage.name for stage in stages}
    tried = {attempt.stage for attempt in old.attempts}
    return tried | {name for name, counterpart in counterparts.items() if counterpart.name in tried}


def _identity(stage: Stage) -> tuple[object, ...]:
    cell = sorted((key, type(value).__name__, value) for key, value in stage.cell.items())
    return (stage.base, *cell) if cell else (stage.base, stage.name)


def _first_reasons(
    old: Run,
    stages: Sequence[Stage],
    params: Mapping[str, Scalar],
    starts: Collection[str],
    counterparts: Mapping[str, Stage],
) -> _Reasons:
    """Stage -> why it runs again, only for stages with a reason of their own."""
    status, done = progress_of(old).status, succeeded(old)
    now_called = {counterpart.name: name for name, counterpart in counterparts.items()}
    changed = _words_of(changed_params(old.params, params))
    found: _Reasons = {}
    for stage in stages:
        known = counterparts.get(stage.name)
        if stage.name in starts or stage.base in starts:
            found[stage.name] = _Reason("named by --from")
        elif known is None:
            found[stage.name] = _Reason("it is new")
        elif (what := _difference(known, stage, changed, now_called)) is not None:
            found[stage.name] = _Reason(what)
        elif known.name not in done:
            was = status[known.name].value
            said = "it failed" if was == "failed" else f"it was {was}"
            found[stage.name] = _Reason(said, is_unfinished=known.name == stage.name)
    return found


def _difference(
    before: Stage,
    now: Stage,
    changed: Mapping[str, tuple[int, str]],
    now_called: Mapping[str, str],
) -> str | None:
    """The part of a stage's definition that differs; None: no difference that affects its result.
    `changed`: see `_words_of`; `now_called`: name of a stage in the earlier run -> its name now."""
    if sorted(now_called.get(name, "") for name in before.needs) != sorted(now.needs):
        return "its needs changed"
    if {now_called.get(name, "") for name in before.needs_ended} != now.needs_ended:
        return "its needs changed"
    if _inputs(before, now_called) != _inputs(now, {}):
        return "its inputs changed"
    for key in _RESULT_KEYS:
        if getattr(before, key) != getattr(now, key):
            return f"its {_CALLED.get(key) or key.partition('_')[0]} changed"
    if _gpu_counts(before) != _gpu_counts(now):
        return "its GPUs changed"
    if not now.outputs.items() <= before.outputs.items():
        return "its outputs changed"
    if before.conditions != now.conditions:
        return "its pass changed"
    used = [changed[word] for word in _used(now) if word in changed] if changed else []
    return f"it uses {min(used)[1]}" if used else None


def _gpu_counts(stage: Stage) -> frozenset[int]:
    return frozenset(count for count, _ in stage.resources.alternatives)


def _inputs(stage: Stage, now_called: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Input -> the outputs that it consists of, each as stage and name."""
    made: dict[str, list[tuple[str, str]]] = {}
    for name, references in stage.inputs.items():
        parts = [reference.rpartition(".") for reference in references]
        made[name] = sorted((now_called.get(of, of), output) for of, _, output in parts)
    return made


def _words_of(params: Sequence[str]) -> dict[str, tuple[int, str]]:
    """The words for each parameter in expressions and texts, with its position among all
    parameters."""
    found: dict[str, tuple[int, str]] = {}
    for place, name in enumerate(params):
        for word in (f"params.{name}", f"{_VARIABLE}{variable_part(name)}"):
            found.setdefault(word, (place, name))
    return found


def _used(stage: Stage) -> frozenset[str]:
    """The names in its expressions, and the variables of parameters in its texts."""
    expressions = (*([stage.when] if stage.when else []), *stage.conditions)
    names = {name for text in expressions for name in _names_in(text)}
    texts = (*stage.command, *stage.env.values())
    return frozenset(names.union(*(_VARIABLES.findall(text) for text in texts)))


def variable_part(name: str) -> str:
    """The part of a variable's name for a parameter or matrix key."""
    return "".join(c if c.isalnum() else "_" for c in name).upper()


@functools.lru_cache(maxsize=256)  # cells share their expressions
def _names_in(expression: str) -> Sequence[str]:
    try:
        return names_in(expression)
    except InputError:  # an earlier version accepted it
        return []


def _add_others(
    reasons: _Reasons,
    stages: Sequence[Stage],
    done: Mapping[str, Attempt],
    has: Callable[[str], bool],
) -> None:
    """Add the stages that need a stage that runs again, and the stages whose missing outputs such a
    stage needs. Each stage is checked once: a run may be a chain of thousands."""
    known, together = {stage.name: stage for stage in stages}, mates(stages)
    needed_by: dict[str, list[str]] = {}
    for stage in stages:
        for need in _needed(stage):
            needed_by.setdefault(need, []).append(stage.name)
    fresh = list(reasons)
    while fresh:
        fresh += _spread_on(reasons, needed_by, together, fresh)
        lost = _lost(reasons, [known[name] for name in fresh], done, has)
        reasons |= lost
        fresh = list(lost)


def _spread_on(
    reasons: _Reasons,
    needed_by: Mapping[str, Sequence[str]],
    together: Mapping[str, Sequence[str]],
    fresh: Sequence[str],
) -> list[str]:
    """Add the stages that need these stages, the rest of their groups, and the stages that need
    those. Returns the added stages."""
    added: list[str] = []
    todo = deque(fresh)
    while todo:
        name = todo.popleft()
        ours = reasons[name].is_unfinished
        with_it = _Reason(f"{name} of its group runs again", is_unfinished=ours)
        others = [(other, with_it) for other in together.get(name, ())]
        others += [(other, _Reason(f"it needs {name}")) for other in needed_by.get(name, ())]
        for other, reason in others:
            if other not in reasons:
                reasons[other] = reason
                added.append(other)
                todo.append(other)
    return added


def _needed(stage: Stage) -> Iterator[str]:
    yield from stage.needs
    yield from (ref.rpartition(".")[0] for refs in stage.inputs.values() for ref in refs)


def _lost(
    reasons: _Reasons,
    again: Sequence[Stage],
    done: Mapping[str, Attempt],
    has: Callable[[str], bool],
) -> _Reasons:
    """Kept stages with a missing output that one of these stages, which run again, needs."""
    found: _Reasons = {}
    references = {
        reference for stage in again for those in stage.inputs.values() for reference in those
    }
    for reference in sorted(references):
        producer, _, output = reference.rpartition(".")
        if producer in reasons:
            continue
        digest = done[producer].outputs.get(output)
        if digest is None or not has(digest):
            found[producer] = _Reason(f"its output {output} is no longer kept")
    return found


def _again(
    stage: Stage, reasons: _Reasons, done: Mapping[str, Attempt], begun: Collection[str]
) -> RetriedStage:
    name, reason = stage.name, reasons.get(stage.name)
    if reason is None:
        kept_from = done[name].run_id
        return RetriedStage(
            name=name, label=stage.label, base=stage.base, kept=True, kept_from=kept_from
        )
    # The checkpoint comes from the old definition and the old inputs.
    is_other = not reason.is_unfinished or any(need in reasons for need in _needed(stage))
    anew = stage.checkpoint is not None and name in begun and is_other
    return RetriedStage(name=name, label=stage.label, base=stage.base, why=reason.text, anew=anew)
