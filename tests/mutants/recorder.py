"""A pytest plugin: what a run of tests came to, the same each time it is asked."""

from __future__ import annotations

from collections.abc import Mapping

import hypothesis
import pytest


class Recorder:
    """Notes the first failure and how long each test took; runs the quickest tests first."""

    def __init__(self, durations: Mapping[str, float]) -> None:
        self.durations: dict[str, float] = {}
        self.failed = ""
        """The test that failed first."""
        self._known = durations

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
        items.sort(key=lambda item: self._known.get(item.nodeid, 0.0))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported fails as a whole."""
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """After set-up, call and clean-up of each test."""
        took = self.durations.get(report.nodeid, 0.0)
        self.durations[report.nodeid] = took + report.duration
        if report.failed:
            self.failed = self.failed or report.nodeid
