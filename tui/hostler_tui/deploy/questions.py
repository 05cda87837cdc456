"""Texts of dialogs about services (rollback, stop, scale, extend): effects, the word to type,
the equivalent command. Pure."""

from __future__ import annotations

import re
import shlex

from hostler.base.dates import clock_text
from hostler.base.units import counted
from hostler.model.views.services import DeployView
from hostler.show.releases import rollback_lines
from hostler_tui.runs.questions import Question
from hostler_tui.services import Service

_WORD = re.compile(r"[\w./-]{1,80}", re.ASCII)


def rollback_question(one: Service, release: int | None, plan: DeployView) -> Question:
    """Others use a deployed service: the user has to type its name."""
    words = ["hostler", "rollback", one.name, *([str(release)] if release is not None else [])]
    what = f"Roll {one.name} back to release {plan.release}?"
    if plan.is_stopped:
        what = f"Start release {plan.release} of {one.name} again?"
    if not plan.strategy:
        what = f"Stop release {plan.replaces} of {one.name}, and undo it?"
    effects = [part for line in rollback_lines(plan) for part in line.splitlines()]
    return Question(what, tuple(effects), "undo it" if not plan.strategy else "roll back",
                    shlex.join(words), _typed(one))  # fmt: skip


def stop_question(one: Service, user: str) -> Question:
    """All replicas of all releases end."""
    effects = [
        f"{part.name} of run {part.run_id}: {part.ready} of {part.wanted} replicas are ready"
        for part in one.parts
    ]
    if one.owner != user:
        effects.insert(0, f"Not yours: {one.owner} may need it")
    if one.url is not None:
        effects.append(f"Nothing answers at {one.url} from then on")
    if one.is_deployed:
        effects.append("Its releases are kept; hostler deploy FILE starts it again")
    words = ["hostler", "stop", *one.names]
    return Question(f"Stop {one.name}?", tuple(effects), "stop it", shlex.join(words), _typed(one))


def _typed(one: Service) -> str:
    """The name of the service; the name of its run if the service's name cannot be typed."""
    return one.name if _WORD.fullmatch(one.name) else one.parts[0].run_id


def scale_lines(one: Service, user: str) -> tuple[str, ...]:
    """The effect of another number of replicas."""
    part = one.parts[0]
    have = counted(part.wanted, "replica")
    owner = (f"Not yours: {one.owner} may need it",) if one.owner != user else ()
    return (
        *owner,
        f"{one.name} of run {part.run_id} has {have}, {part.ready} of them ready.",
        "More of them start where there is room; surplus ones are stopped, the last ones first.",
    )


def scale_name(one: Service) -> str:
    """The name for scaling a service: for a deployed service, the release that serves."""
    return one.name if one.is_deployed else one.names[0]


def scale_hint(one: Service) -> str:
    """The allowed numbers."""
    return "0 (paused) to 64" if one.is_deployed else "1 to 64"


def scale_command(one: Service, replicas: str) -> str:
    """The same on the command line."""
    return shlex.join(["hostler", "scale", scale_name(one), replicas])


def extend_lines(one: Service, user: str) -> tuple[str, ...]:
    """The effect of more time."""
    part = one.parts[0]
    owner = (f"Not yours: {one.owner} may need the GPUs",) if one.owner != user else ()
    ends = clock_text(part.until) if part.until is not None else "when it is stopped"
    return (*owner, f"{one.name} of run {part.run_id} ends {ends}; the new end is later.")


def extend_command(one: Service, by: str) -> str:
    """The same on the command line."""
    return shlex.join(["hostler", "extend", scale_name(one), by])
