"""Give functions that are imported already the code of a changed file.

That saves importing everything again for each change. A change outside functions (a constant, a
default, a field) cannot be made so.
"""

from __future__ import annotations

import gc
import inspect
import types
from collections.abc import Iterator

Place = tuple[str, int]
"""File and first line of a function."""
Pairs = list[tuple[types.CodeType, types.CodeType]]
"""Code of functions, old and new."""


def pairs_of(path: str, before: str, after: str) -> Pairs | None:
    """The functions that differ, old and new; None: something outside functions does."""
    found: Pairs = []
    old, new = (compile(text, path, "exec", dont_inherit=True) for text in (before, after))
    return found if _compare(old, new, found) else None


def places(pairs: Pairs) -> frozenset[Place]:
    """Where those functions stand."""
    return frozenset((old.co_filename, old.co_firstlineno) for old, _ in pairs)


def graft(pairs: Pairs) -> bool:
    """Exchange the code of every live function; whether one could be found."""
    new = dict(pairs)
    done = False
    gc.unfreeze()
    for value in gc.get_objects():
        if isinstance(value, types.FunctionType) and value.__code__ in new:
            value.__code__ = new[value.__code__]
            done = True
    return done


def _compare(old: types.CodeType, new: types.CodeType, found: Pairs) -> bool:
    """Add functions that differ below this code of a module or class; whether the rest is alike."""
    if old.co_code != new.co_code or _plain(old) != _plain(new):
        return False
    return all(_compare_inner(*inner, found) for inner in zip(_inner(old), _inner(new)))  # noqa: B905


def _compare_inner(old: types.CodeType, new: types.CodeType, found: Pairs) -> bool:
    if old == new:
        return True
    if not old.co_flags & inspect.CO_OPTIMIZED:
        return _compare(old, new, found)
    found.append((old, new))
    inside = list(_inner(old)), list(_inner(new))
    if len(inside[0]) == len(inside[1]):  # of what made them before, they live on
        for inner in zip(*inside):  # noqa: B905
            _compare_inner(*inner, found)
    return old.co_freevars == new.co_freevars


def _plain(code: types.CodeType) -> list[tuple[str, str]]:
    consts = (const for const in code.co_consts if not isinstance(const, types.CodeType))
    return [(type(const).__name__, repr(const)) for const in consts]


def _inner(code: types.CodeType) -> Iterator[types.CodeType]:
    return (const for const in code.co_consts if isinstance(const, types.CodeType))
