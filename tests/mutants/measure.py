"""Draw changes of a room, and see for each whether the room's tests notice it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from tests.mutants.changes import Change, draw
from tests.mutants.rooms import Room
from tests.mutants.trees import changed, copy_tree
from tests.mutants.trial import Limits, Result, Task, Trial, log_of, preload


class BaselineError(Exception):
    """The tests fail without any change."""


@dataclass(frozen=True)
class Verdict:
    """A change, and the test that noticed it; none is empty."""

    change: Change
    noticed_by: str


@dataclass(frozen=True)
class Wanted:
    """What to measure."""

    number: int
    seed: int
    jobs: int
    equivalents: frozenset[tuple[str, str, str]] = frozenset()


def measure(room: Room, root: Path, wanted: Wanted) -> Iterator[Verdict]:
    """A verdict for each change, in the order in which they come."""
    texts = {path: (root / path).read_text() for path in room.files}
    drawn = draw(texts, wanted.number, wanted.seed, wanted.equivalents)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        first = copy_tree(root, Path(folder, "0"))
        base = _baseline(room, first)
        trees = [first] + [copy_tree(first, Path(folder, str(i))) for i in range(1, wanted.jobs)]
        tasks = [Task(tree, room.tests, _limits(base), base.durations) for tree in trees]
        yield from _verdicts(drawn, tasks)


def _baseline(room: Room, tree: Path) -> Result:
    """A run without a change, for its durations and to import what it imports beforehand."""
    trial = Trial(Task(tree, room.tests))
    wait([trial.sentinel], trial.left())
    result = trial.result()
    if result.noticed_by:
        said = log_of(tree).read_text()[-4000:]
        raise BaselineError(f"{said}\n{room.name}: without a change: {result.noticed_by}")
    preload(result.modules)
    return result


def _limits(base: Result) -> Limits:
    wall = sum(base.durations.values())
    slowest = max(base.durations.values(), default=0.0)
    return Limits(4 + 3 * base.processor, 120 + 10 * wall, 60 + 10 * slowest)


def _verdicts(drawn: Sequence[Change], tasks: Sequence[Task]) -> Iterator[Verdict]:
    """One change at a time on each tree."""
    waiting = list(reversed(drawn))
    free = list(tasks)
    running: dict[Trial, tuple[Change, Task, ExitStack]] = {}
    while waiting or running:
        while waiting and free:
            change, task, stack = waiting.pop(), free.pop(), ExitStack()
            stack.enter_context(changed(task.tree / change.path, change.text))
            running[Trial(task)] = change, task, stack
        for trial in _ended(running):
            change, task, stack = running.pop(trial)
            result = trial.result()
            stack.close()
            free.append(task)
            yield Verdict(change, result.noticed_by)


def _ended(running: Mapping[Trial, object]) -> list[Trial]:
    """Those that have ended, or have no time left."""
    by_sentinel = {trial.sentinel: trial for trial in running}
    ready = wait(list(by_sentinel), min(trial.left() for trial in running))
    return [trial for trial in running if trial.sentinel in ready or not trial.left()]
