"""The plan of a deploy as a value: its one service, the number of replicas, and which pipelines
cannot be deployed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hostler.base.errors import InputError
from hostler.base.readers import read_env
from hostler.base.text import shown
from hostler.decide.releases.number import Number, in_file, number_for
from hostler.decide.releases.opening import Choice
from hostler.insight.deploys import Change, Version
from hostler.insight.deploys import told as told_changes
from hostler.model.pipelines import Stage
from hostler.model.releases import Release, ReleaseState, ServiceState, is_service_name
from hostler.model.runs import Run
from hostler.model.views.services import DeployView


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """The plan of a deploy."""

    run: Run
    """The run, as it would be stored."""
    service: str
    replaces: int | None
    """The live release, which it replaces."""
    changes: tuple[Change, ...]
    """Changes against the live release."""
    choice: Choice
    how: str
    """How the release takes over, in one sentence."""
    takes_s: float | None = None
    number: str = ""
    """The number of replicas it gets, if the service was scaled."""
    url: str | None = None
    """Where the gateway will serve it."""
    is_stopped: bool = False
    """The live release was stopped."""

    def view(self) -> DeployView:
        """The plan as an object of the API."""
        lines = told_changes(self.changes) if self.replaces is not None else []
        lines += [f"replicas: {self.number}"] if self.number else []
        if kept := dict.fromkeys(s.base for s in self.run.stages if s.name in self.run.kept):
            lines.append(f"unchanged, not run again: {', '.join(kept)}")
        return DeployView(
            self.service, self.replaces, self.choice.strategy, tuple(lines), self.how,
            self.choice.gap, None, self.takes_s, self.url, self.is_stopped,
        )  # fmt: skip


def env_of(given: Mapping[str, str]) -> Mapping[str, str]:
    """Variables, read as those of a pipeline file. Raises InputError."""
    try:
        return read_env(dict(given))
    except ValueError as error:
        raise InputError(f"--env: {error}", remedy="hostler deploy --env NAME=VALUE") from error


def service_of(run: Run) -> Stage:
    """The one service of a pipeline, which is deployed under the pipeline's name. Raises
    InputError."""
    found = {stage.base: stage for stage in run.stages if stage.service is not None}
    if len(found) != 1:
        names = ", ".join(found)
        raise InputError(
            f"a deploy needs one service in its pipeline; {run.pipeline} has "
            + (f"{len(found)}: {names}" if found else "none"),
            remedy="add a stage with kind = \"service\"" if not found
            else "write a pipeline file for each of them",
        )  # fmt: skip
    if not is_service_name(run.pipeline):
        raise InputError(
            f"{shown(run.pipeline)} (the name of the pipeline) cannot be the name of a service",
            remedy="use at most 63 of a-z 0-9 . _ -, with a letter or digit at both ends",
        )
    (stage,) = found.values()
    return stage


def replicas_of(run: Run) -> int:
    """The number of replicas that a run has of its service."""
    return sum(stage.service is not None for stage in run.stages)


def wanted_number(run: Run, live: Run | None, state: ServiceState | None) -> Number:
    """The number of replicas it gets; the service may have been scaled."""
    file, scaled = in_file(run), state.deployment.replicas if state is not None else 0
    return number_for(file or 1, in_file(live), scaled)


def startup_of(stage: Stage) -> float:
    """The time that a replica may take until it answers."""
    return stage.service.startup if stage.service is not None else 0.0


def version_of(run: Run) -> Version:
    """What a run is made of."""
    return Version(run.stages, run.source, run.params)


def release_of(run: Run, made: DeployPlan, number: int) -> Release:
    """The row of a release, with the next number."""
    return Release(
        made.service, number, run.run_id, None, made.choice.strategy, ReleaseState.DELIVERING,
        replicas_of(run), run.owner, run.uid, run.submitted_at, made.choice.surge, made.replaces,
        "", run.submitted_at,
    )  # fmt: skip
