"""Whatever the model can say comes back from the store as it went in."""

from __future__ import annotations

import asyncio
import tempfile
import types
import typing
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostler.model.pipelines import KINDS, Stage
from hostler.model.runs import Attempt, Run
from hostler.store.database import Store

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    type(None): st.none(),
}


def _any(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that the model is built of."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_any(arg) for arg in args])
    if origin is tuple:
        return st.lists(_any(args[0]), max_size=3).map(tuple)
    if origin is frozenset:
        return st.frozensets(_any(args[0]), max_size=3)
    if origin is Mapping:
        return st.dictionaries(_TEXT, _any(args[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    return _any_of(kind)


def _any_of(cls: type[Any], **given: Any) -> st.SearchStrategy[Any]:
    """Any dataclass of the model, some of its fields given."""
    hints = typing.get_type_hints(cls)
    fixed: dict[str, st.SearchStrategy[Any]] = {n: st.just(value) for n, value in given.items()}
    if cls is Stage:
        fixed["kind"] = st.sampled_from(sorted(KINDS))
    return st.builds(cls, **{name: _any(hint) for name, hint in hints.items()} | fixed)


_RUNS = _any_of(Run, run_id="raaaaaa", attempts=(), kept={}, outcome=None, awaited={})
_ATTEMPTS = _any_of(Attempt, run_id="raaaaaa")


async def _through(run: Run, attempt: Attempt, kept: Attempt) -> tuple[Run, Run]:
    with tempfile.TemporaryDirectory() as folder:
        store = await Store.open(Path(folder))
        try:
            made = replace(run, kept={kept.stage: kept})
            await store.create_run(made, "text", [])
            unique = replace(attempt, gpus=tuple(dict.fromkeys(attempt.gpus)))
            await store.add_attempt(unique)
            return replace(made, attempts=(unique,)), await store.get_run("raaaaaa")
        finally:
            await store.close()


@given(_RUNS, _ATTEMPTS, _ATTEMPTS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_runs_and_attempts_come_back_as_they_were(
    run: Run, attempt: Attempt, kept: Attempt
) -> None:
    expected, stored = asyncio.run(_through(run, attempt, kept))
    assert stored == expected
