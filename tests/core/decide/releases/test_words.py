"""What events say about a release."""

from __future__ import annotations

import pytest

from hostler.decide.releases.words import Said, of_step, opened
from hostler.model.events import EventKind
from hostler.model.releases import NewStep, Release, ReleaseState, Slot, StepKind, Strategy


def test_who_deploys_and_how() -> None:
    release = Release(
        "web", 3, "r3", None, Strategy.RECREATE, ReleaseState.DELIVERING, 1, "ana", 1000, 1.0
    )
    said = opened(release)
    assert said == Said(EventKind.DEPLOY_OPENED, "ana deploys release 3 of web (recreate)")
    assert said.severity == "info"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ReleaseState.STARTING, None),
        (ReleaseState.READY, None),
        (ReleaseState.SHIFTING, Said(EventKind.DEPLOY_SHIFTING, "release 3 of web gets requests")),
        (ReleaseState.LIVE, Said(EventKind.DEPLOY_LIVE, "release 3 of web is live")),
        (
            ReleaseState.FAILED,
            Said(EventKind.DEPLOY_FAILED, "release 3 of web failed: no room", "error"),
        ),
        (
            ReleaseState.RESTORED,
            Said(EventKind.DEPLOY_RESTORED, "release 3 of web is undone: no room"),
        ),
    ],
)
def test_what_each_state_is_called(state: ReleaseState, said: Said | None) -> None:
    assert of_step(NewStep("web", 3, 1.0, StepKind.STATE, state, reason="no room")) == said


def test_a_drain_is_a_detail() -> None:
    assert of_step(NewStep("web", 3, 1.0, StepKind.DRAIN, slot=Slot(1, 0))) is None
