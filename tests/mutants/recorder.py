"""A pytest plugin: what a run of tests came to, the same each time it is asked."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import CodeType, FrameType

import hypothesis
import pytest

from tests.mutants.graft import Place

LEAST_S, SLOWER = 60.0, 20.0
"""What a test may take after a change: so many seconds, and so many times what it took before."""


class Recorder:
    """Notes the first failure and how long each test took; runs the quickest tests first."""

    def __init__(self, durations: Mapping[str, float], watched: Collection[str] = ()) -> None:
        """`watched`: files of which it is noted which functions each test calls."""
        self.durations: dict[str, float] = {}
        self.calls: dict[str, frozenset[Place]] = {}
        self.failed = ""
        """The test that failed first."""
        self._known = durations
        self._watched = watched

    def pytest_configure(self) -> None:
        """Property tests try the same examples each time, and make no failing one smaller."""
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile(
            "mutants", hypothesis.settings(), derandomize=True, database=None, phases=phases
        )
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Most changes are noticed at once by many tests."""
        items[:] = self._ordered(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch the calls of a test."""
        if not self._watched:
            return (yield)
        seen: dict[int, CodeType] = {}  # to take the hash of a code would take longer

        def note(frame: FrameType, event: str, _: object) -> None:
            if event == "call":
                seen[id(frame.f_code)] = frame.f_code

        threading.setprofile(note)  # of threads that the test starts
        sys.setprofile(note)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            codes = (code for code in seen.values() if code.co_filename in self._watched)
            self.calls[item.nodeid] = frozenset((c.co_filename, c.co_firstlineno) for c in codes)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported fails as a whole."""
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """After set-up, call and clean-up of each test."""
        took = self.durations.get(report.nodeid, 0.0)
        self.durations[report.nodeid] = took + report.duration
        if report.failed and not self.failed:
            self.failed = report.nodeid
            print(f"\n{report.nodeid}\n{report.longreprtext}")

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Run collected tests up to the first that fails."""
        chosen = self._ordered(items)
        for item, following in zip(chosen, [*chosen[1:], None], strict=True):
            if not self.failed:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

    def watch(self, files: Collection[str]) -> None:
        """Note from now on which functions of these files each test calls."""
        self._watched = files

    def order(self, durations: Mapping[str, float]) -> None:
        """Tests whose duration is smaller go first."""
        self._known = durations

    def _ordered(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """The quickest first, each with a limit of time where it is known how long it takes."""
        for item in items:
            if item.nodeid in self._known:
                seconds = LEAST_S + SLOWER * self._known[item.nodeid]
                item.add_marker(pytest.mark.timeout(seconds), append=False)
        return sorted(items, key=lambda item: self._known.get(item.nodeid, 0.0))
