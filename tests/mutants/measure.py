"""Draw changes of a room, and see for each whether the room's tests notice it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path

from tests.mutants.changes import Change, draw
from tests.mutants.graft import pairs_of, places
from tests.mutants.recorder import LEAST_S, SLOWER
from tests.mutants.rooms import Room
from tests.mutants.runs import Collected, collect, in_tree, load
from tests.mutants.trees import changed, copy_tree
from tests.mutants.trial import Limits, Result, Said, Trial


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
    spare_s: float = 4
    """Seconds of processor time of a run beyond three times what it takes without a change."""


Show = Callable[[Verdict], None]


def measure(room: Room, root: Path, wanted: Wanted, show: Show) -> None:
    """Show a verdict for each change, in the order in which they come.

    The process is of no use for anything else afterwards: it has imported the code under test.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        first = copy_tree(root, Path(folder, "0"))
        texts = {path: (first / path).read_text() for path in room.files}
        drawn = draw(texts, wanted.number, wanted.seed, wanted.equivalents)
        trees = [first] + [copy_tree(first, Path(folder, str(i))) for i in range(1, wanted.jobs)]

        def body(collected: Collected) -> None:
            load(room.files)
            base = _baseline(room, first, collected)
            limits = _limits(base, wanted.spare_s)
            _Measuring(room, first, collected, base, limits, texts, show).run(drawn, trees)

        collect(first, room.tests, body)


def _baseline(room: Room, tree: Path, collected: Collected) -> Result:
    """A run without a change."""
    log = tree.with_name("baseline.log")
    files = frozenset(str(tree / path) for path in room.files)
    body = (
        partial(in_tree, tree, room.tests, {})
        if room.programs
        else partial(collected.watched, files)
    )
    trial = Trial(body, Limits(), log)
    wait(trial.signs, trial.left())
    result = trial.result()
    if result.noticed_by:
        said = log.read_text()[-4000:]
        raise BaselineError(f"{said}\n{room.name}: without a change: {result.noticed_by}")
    return result


def _limits(base: Result, spare_s: float) -> Limits:
    """Of a run with a change."""
    return Limits(spare_s + 3 * base.processor, LEAST_S + SLOWER * sum(base.durations.values()))


@dataclass
class _Measuring:
    room: Room
    first: Path
    """The tree from which everything was collected."""
    collected: Collected
    base: Result
    limits: Limits
    texts: Mapping[str, str]
    show: Show
    running: dict[Trial, tuple[Change, Path, ExitStack]] = field(default_factory=dict)

    def run(self, drawn: Sequence[Change], trees: Sequence[Path]) -> None:
        """As many at a time as there are trees."""
        try:
            self._run(list(reversed(drawn)), list(trees))
        finally:
            for trial in self.running:
                trial.end()

    def _run(self, waiting: list[Change], free: list[Path]) -> None:
        while waiting or self.running:
            while waiting and free:
                self._start(waiting.pop(), free)
            for trial in self._ended():
                change, tree, stack = self.running.pop(trial)
                result = trial.result()
                stack.close()
                free.append(tree)
                self.show(Verdict(change, result.noticed_by))

    def _start(self, change: Change, free: list[Path]) -> None:
        path = str(self.first / change.path)
        pairs = pairs_of(path, self.texts[change.path], change.text)
        stack = ExitStack()
        body: Callable[[], Said]
        if self.room.programs or not pairs:
            tree = free.pop()
            stack.enter_context(changed(tree / change.path, change.text))
            body = partial(in_tree, tree, self.room.tests, self.base.durations)
        else:
            where = places(pairs)
            tests = {t for t, calls in self.base.calls.items() if not where.isdisjoint(calls)}
            if not tests:
                self.show(Verdict(change, ""))
                return
            tree = free.pop()
            body = partial(self.collected.changed, pairs, self.base.durations, tests)
        trial = Trial(body, self.limits, tree.with_name(f"{tree.name}.log"))
        self.running[trial] = change, tree, stack

    def _ended(self) -> list[Trial]:
        """Those that have a result, or no time left."""
        if not self.running:
            return []
        signs = {sign: trial for trial in self.running for sign in trial.signs}
        left = min(trial.left() for trial in self.running)
        ready = {signs[sign] for sign in wait(list(signs), left) if sign in signs}
        return [trial for trial in self.running if trial in ready or not trial.left()]
