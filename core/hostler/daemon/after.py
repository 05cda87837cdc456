"""Runs that wait for other runs (`--after`): read at submission (at most 20), their outcomes passed
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hostler.base.errors import ConflictError, InputError, NotFoundError
from hostler.daemon.context import Context, newest_run
from hostler.daemon.run_cache import awaited_by
from hostler.decide.progress import REMOVED
from hostler.model.pipelines import After
from hostler.model.runs import Outcome, Run

MAX_AFTER = 20
"""Most runs that one run waits for: each of its first stages has their names."""


async def starting_after(context: Context, run: Run, names: Mapping[str, bool]) -> Run:
    """The run, its first stages starting after the named runs: name -> whether any end is enough.

    Only existing runs can be named, and what a run waits for never changes: so runs never wait for
    each other in a circle. Raises NotFoundError, InputError for too many, and ConflictError for a
    run that had to succeed and did not.
    """
    if len(names) > MAX_AFTER:
        raise InputError(
            f"the run would wait for {len(names)} runs; at most {MAX_AFTER} are allowed",
            remedy="name only the runs that end last",
        )
    found: dict[str, After] = {}
    for name, only_end in names.items():
        run_id = await newest_run(context) if name == "last" else await context.store.resolve(name)
        outcome = await context.store.get_outcome(run_id)
        if outcome not in (None, Outcome.SUCCEEDED) and not only_end:
            raise ConflictError(
                f"run {run_id} has {'failed' if outcome is Outcome.FAILED else 'been cancelled'}: "
                "a run after it would never start",
                remedy=f"remove it, or wait only for its end: --after-any {run_id}",
            )
        strict = run_id in found and not found[run_id].only_end
        found[run_id] = After(run_id, only_end and not strict)
    after = tuple(found.values())
    stages = (s if s.needs else replace(s, after=after) for s in run.stages)
    return replace(run, stages=tuple(stages)) if after else run


def after_nothing(run: Run) -> Run:
    """The run for a retry: it no longer waits for other runs."""
    return replace(run, stages=tuple(replace(s, after=()) if s.after else s for s in run.stages))


async def add_to_cache(context: Context, run: Run) -> None:
    """Add an open run to the cache, with the outcomes of the runs that it waits for."""
    context.run_cache.add(await told_of_others(context, run))
    context.ask_for(run)


async def stored_run(context: Context, run_id: str) -> Run:
    """A stored run, with the outcomes of the runs that it waited for. Raises NotFoundError."""
    return await told_of_others(context, await context.store.get_run(run_id))


async def told_of_others(context: Context, run: Run) -> Run:
    """The run, with the outcomes of the runs that it waits for. A run that ends meanwhile is found
    in the store, or the cache will report it: there is no await after the last check."""
    names = awaited_by(run) - run.awaited.keys()
    outcomes = dict(run.awaited)
    while ended := [n for n in names - outcomes.keys() if context.run_cache.find(n) is None]:
        for name in ended:
            outcome = await _outcome(context, name)
            if outcome is None:  # open, and not taken in yet
                names.discard(name)
            else:
                outcomes[name] = outcome
    return replace(run, awaited=outcomes) if outcomes != run.awaited else run


async def _outcome(context: Context, run_id: str) -> str | None:
    try:
        outcome = await context.store.get_outcome(run_id)
    except NotFoundError:
        return REMOVED
    return None if outcome is None else outcome.value
