"""The texts and severities of events about a deploy and its steps. Pure."""

from __future__ import annotations

from typing import NamedTuple

from hostler.model.events import EventKind
from hostler.model.releases import NewStep, Release, ReleaseState


class Said(NamedTuple):
    """The text of a future event."""

    kind: EventKind
    message: str
    severity: str = "info"


def opened(release: Release) -> Said:
    """The event of a deploy by a person."""
    said = f"{release.by} deploys release {release.number} of {release.service}"
    return Said(EventKind.DEPLOY_OPENED, f"{said} ({release.strategy})")


def of_step(step: NewStep) -> Said | None:
    """The event of a step; None: the step is a detail."""
    named = f"release {step.number} of {step.service}"
    match step.state:
        case ReleaseState.SHIFTING:
            return Said(EventKind.DEPLOY_SHIFTING, f"{named} gets requests")
        case ReleaseState.LIVE:
            return Said(EventKind.DEPLOY_LIVE, f"{named} is live")
        case ReleaseState.FAILED:
            return Said(EventKind.DEPLOY_FAILED, f"{named} failed: {step.reason}", "error")
        case ReleaseState.RESTORED:
            return Said(EventKind.DEPLOY_RESTORED, f"{named} is undone: {step.reason}")
        case _:
            return None
