"""Lines before a deploy or rollback begins: what changes, how the release takes over, about how
long that takes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.base.units import format_duration

if TYPE_CHECKING:
    from hostler.model.views.services import DeployView


def how_lines(plan: DeployView) -> list[str]:
    """How a release would take over, its address then, and about how long that takes."""
    lines = [plan.how, *([f"served at {plan.url}"] if plan.url is not None else [])]
    if plan.takes_s is None:
        return lines
    about = format_duration(max(1.0, float(round(plan.takes_s))))
    return [*lines, f"about {about} in all, by the last start"]


def deploy_lines(plan: DeployView) -> list[str]:
    """How a deploy would change the live release, and how it would take over."""
    if plan.replaces is None:
        return [f"{plan.service} is new", *how_lines(plan)]
    stopped = ", which was stopped" if plan.is_stopped else ""
    head = f"against release {plan.replaces} of {plan.service}{stopped}:"
    return [head, *plan.changes, *how_lines(plan)]


def rollback_lines(plan: DeployView) -> list[str]:
    """The effect of a rollback."""
    if not plan.strategy:  # the open release is undone
        return [plan.how]
    head = f"release {plan.release} of {plan.service} is restored as a new release"
    if plan.replaces is None:
        return [head, *how_lines(plan)]
    state = "was stopped" if plan.is_stopped else "is live"
    head += f"; against release {plan.replaces}, which {state}:"
    return [head, *plan.changes, *how_lines(plan)]
