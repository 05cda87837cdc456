"""Whoever changes a run, an attempt or a host changes fields of it: others may have changed other
fields since the value was read."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import hostler
from hostler.daemon.run_cache import RunCache
from hostler.model.hosts import Host, HostChange
from hostler.model.runs import Attempt, AttemptChange, Run, RunChange
from hostler.store.database import Store
from hostler.store.rows import ATTEMPT_COLUMNS, ATTEMPT_FIXED
from tests.support.values import stored

CORE = Path(hostler.__file__).parent
WHOLE = {"create_run", "add", "add_attempt", "drop_attempt"}
"""Take a whole run or attempt: one that is new, or one whose intent could not be written."""


def takes_whole(method: object) -> bool:
    hints = get_type_hints(method)
    hints.pop("return", None)
    parts = [part for hint in hints.values() for part in (hint, *get_args(hint))]
    return Run in parts or Attempt in parts


@pytest.mark.parametrize("owner", [Store, RunCache])
def test_only_what_is_new_is_taken_whole(owner: type) -> None:
    methods = inspect.getmembers(owner, inspect.isfunction)
    assert {name for name, method in methods if takes_whole(method)} <= WHOLE


def test_every_field_but_those_of_the_intent_can_be_changed_by_itself() -> None:
    changing, whole = get_type_hints(AttemptChange), get_type_hints(Attempt)
    assert changing == {name: whole[name] for name in changing}
    assert {*changing, *ATTEMPT_FIXED, "runtime"} == {*ATTEMPT_COLUMNS}
    for change, owner in ((RunChange, Run), (HostChange, Host)):
        hints = get_type_hints(owner)
        assert get_type_hints(change) == {name: hints[name] for name in change.__annotations__}


def calls(names: Collection[str]) -> Iterator[tuple[str, str, ast.Call]]:
    """Name, place and call of every method of these names, in all of the product."""
    for file in sorted(CORE.rglob("*.py")):
        text = file.read_text()
        if any(f".{name}(" in text for name in names):  # to parse all of it takes seconds
            for node in ast.walk(ast.parse(text)):
                name = getattr(node.func, "attr", "") if isinstance(node, ast.Call) else ""
                if name in names:
                    assert isinstance(node, ast.Call)
                    yield name, f"{file.relative_to(CORE)}:{node.lineno}", node


def test_nobody_hands_over_a_changed_copy() -> None:
    """`cache.add(replace(run, ...))` would put back what the copy was made of."""
    found = set()
    for name, where, call in calls(WHOLE):
        copied = [a for a in call.args if isinstance(a, ast.Call) and _name(a.func) == "replace"]
        assert not copied, where
        found.add(name)
    assert found == WHOLE


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def test_a_host_is_put_together_once_and_then_changed_by_field() -> None:
    texts = {file.name: file.read_text() for file in (CORE / "daemon").glob("*.py")}
    places = [
        f"{name}:{node.lineno}"
        for name, text in texts.items()
        if ".host = " in text  # to parse all of them takes seconds
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Attribute) and t.attr == "host" for t in node.targets)
    ]
    assert [place.partition(":")[0] for place in places] == ["host_monitor.py"] * 2, places


def test_the_cache_refuses_to_be_given_a_known_run_or_attempt_again() -> None:
    cache = RunCache()
    cache.add(stored.run())
    cache.add_attempt(stored.attempt())
    with pytest.raises(AssertionError, match="change its fields"):
        cache.add(stored.run(priority=-1))
    with pytest.raises(AssertionError, match="change its fields"):
        cache.add_attempt(stored.attempt(detail="x"))
    cache.change("raaaaaa", priority=-1)
    cache.change_attempt("raaaaaa-train-1", detail="x")
    (attempt,) = cache.run("raaaaaa").attempts
    assert (cache.run("raaaaaa").priority, attempt.detail) == (-1, "x")


def test_what_has_left_the_cache_is_not_changed() -> None:
    cache = RunCache()
    cache.change("raaaaaa", priority=-1)
    assert cache.change_attempt("raaaaaa-train-1", detail="x") is None
    assert cache.runs() == ()
