"""Two ways to run a room's tests after a change, both in a forked process.

`Collected` forks after pytest has imported and collected everything, and exchanges the code of the
changed function: a run costs what its tests cost. `in_tree` imports everything again from a copy of
the source tree, as is needed for changes outside functions and for tests that start programs.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio.plugin
import pytest_timeout

from tests.mutants.graft import Pairs, graft
from tests.mutants.recorder import Recorder
from tests.mutants.trial import Said

_ROOTS = ("core", "tui", "agents", ".")
_OWN = ("hostler", "hostler_agent", "hostler_tui", "tests")
_OPTIONS = ("-x", "-q", "-s", "-p", "no:cacheprovider", "--timeout=0")


class Collected:
    """A plugin that hands the collected tests to `body` instead of running them."""

    def __init__(self, recorder: Recorder, body: Callable[[Collected], None]) -> None:
        self._recorder = recorder
        self._body = body
        self._items: Sequence[pytest.Item] = ()
        self.error: Exception | None = RuntimeError("the tests cannot be collected")
        """What ended it early: pytest prints errors of its plugins, and returns."""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All tests are imported and known; `testsfailed` counts files that cannot be imported."""
        if not session.testsfailed:
            self._items, self.error = session.items, None
            try:
                self._body(self)
            except Exception as error:
                self.error = error
        return True

    def watched(self, files: Collection[str]) -> Said:
        """All tests, without a change; which functions of these files each one calls."""
        self._recorder.watch(files)
        return self._ran(self._items)

    def changed(self, pairs: Pairs, durations: Mapping[str, float], tests: Collection[str]) -> Said:
        """These tests, after functions were given their new code."""
        if not graft(pairs):
            raise RuntimeError("the changed function is nowhere to be found")
        self._recorder.order(durations)
        return self._ran([item for item in self._items if item.nodeid in tests])

    def _ran(self, items: Sequence[pytest.Item]) -> Said:
        self._recorder.run(items)
        return self._recorder.failed, self._recorder.durations, self._recorder.calls


def collect(root: Path, tests: Sequence[str], body: Callable[[Collected], None]) -> None:
    """Collect tests in this process, and hand them to `body`. Raises what `body` raises."""
    _prepare(root)
    recorder = Recorder({})
    collected = Collected(recorder, body)
    _main(tests, recorder, collected)
    if collected.error is not None:
        raise collected.error


def load(files: Sequence[str]) -> None:
    """Import these files of the tree: the program imports some only once it needs them."""
    for file in files:
        path = Path(file).with_suffix("")
        parts = path.parent.parts if path.name == "__init__" else path.parts
        importlib.import_module(".".join(parts[1:]))


def in_tree(tree: Path, tests: Sequence[str], durations: Mapping[str, float]) -> Said:
    """All tests on a copy of the tree. The first run, without durations, leaves bytecode."""
    if durations:
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    _prepare(tree)
    recorder = Recorder(durations)
    code = _main(tests, recorder)
    return recorder.failed or (f"pytest ended with {code}" if code else ""), recorder.durations, {}


def _main(tests: Sequence[str], *plugins: object) -> int:
    used = [*plugins, pytest_asyncio.plugin, pytest_timeout]
    return int(pytest.main([*_OPTIONS, *tests], plugins=used))


def _prepare(tree: Path) -> None:
    """Import from this tree, here and in programs that tests start."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _OWN:
            del sys.modules[name]
    others = {str(Path.cwd() / root) for root in _ROOTS} | {""}
    roots = [str(tree / root) for root in _ROOTS]
    sys.path[:] = [*roots, *(entry for entry in sys.path if entry not in others)]
    os.chdir(tree)
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(roots),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HOSTLER_LAB": "off",
    }
