"""The data of the run shown on the run screen, as answers arrive; how many events are kept.
Handlers put answers in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hostler.model.views.alerts import EventView
from hostler.model.views.files import ArtifactList, ArtifactView
from hostler.model.views.history import MetricsPage, MetricView, StageUsage
from hostler.model.views.plans import WhyView
from hostler.model.views.runs import RunSource, RunView, StageView
from hostler_tui.widgets.chart import Chart

Answer = MetricsPage | StageUsage | ArtifactList | WhyView | RunSource
"""Answers to separate requests."""

MOST_EVENTS = 2000
"""Events kept, the newest; a run of thousands of cells has tens of thousands."""


@dataclass
class RunData:
    """The data of one run. `version` grows with every answer."""

    run_id: str
    run: RunView | None = None
    events: tuple[EventView, ...] = ()
    """The oldest first."""
    problem: str = ""
    """Why there is no data."""
    metrics: dict[str, Sequence[MetricView]] = field(default_factory=dict)
    """Stage -> rows."""
    usage: dict[str, StageUsage] = field(default_factory=dict)
    """Stage -> usage of its attempts, and series of their GPUs."""
    charts: dict[str, Sequence[Chart]] = field(default_factory=dict)
    """Stage -> charts of its metrics and usage; cleared when these change."""
    artifacts: Sequence[ArtifactView] | None = None
    source: RunSource | None = None
    why: WhyView | None = None
    failed: dict[str, str] = field(default_factory=dict)
    """Request -> why it has no answer."""
    version: int = 0

    def see(self, run: RunView | None, events: Sequence[EventView]) -> None:
        """Take an item of the stream."""
        if run is not None:
            self.run, self.problem = run, ""
        last = self.events[-1].seq if self.events else 0
        fresh = [event for event in events if event.seq > last]
        self.events = (*self.events, *fresh)[-MOST_EVENTS:]
        self.version += 1

    def answer(self, question: str, stage: str, value: Answer) -> None:
        """Take the answer to a separate request."""
        self.failed.pop(question, None)
        if isinstance(value, MetricsPage):
            self.metrics[stage] = value.metrics
            self.charts.pop(stage, None)
        elif isinstance(value, StageUsage):
            self.usage[stage] = value
            self.charts.pop(stage, None)
        elif isinstance(value, ArtifactList):
            self.artifacts = value.artifacts
        elif isinstance(value, WhyView):
            self.why = value
        else:
            self.source = value
        self.version += 1

    def refuse(self, question: str, why: str) -> None:
        """A request failed."""
        self.failed[question] = why
        self.version += 1

    @property
    def is_over(self) -> bool:
        """Whether no further changes can come."""
        return self.run is not None and self.run.outcome is not None

    def stage(self, name: str) -> StageView | None:
        """A stage by its name."""
        stages = self.run.stages if self.run else ()
        return next((stage for stage in stages if stage.name == name), None)
