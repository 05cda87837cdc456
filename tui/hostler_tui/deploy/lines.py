"""Lines about the chosen service (its open release with a progress bar, its problems), and the
text of an empty deployments screen. Pure."""

from __future__ import annotations

from hostler.base.dates import clock_text
from hostler.base.table import cell_width
from hostler.base.text import clean
from hostler.base.units import format_age
from hostler.model.views.services import ReleaseView
from hostler_tui.lines import Line, Span, line, wrapped
from hostler_tui.services import Service

BAR = 16
"""Cells of the progress bar of a release."""

EMPTY: tuple[Line, ...] = (
    line(("No services yet.", "title")),
    line(""),
    line(("  d", "key"), "                          deploy a pipeline file"),
    line("  hostler deploy serve.toml   the same from a shell"),
    line(('  a stage with kind = "service" answers requests: docs/pipeline.md', "dim")),
)
"""The next steps for a user without services."""

_DONE = "█"
_LEFT = "░"


def chosen_lines(one: Service, now: float, width: int, most: int) -> list[Line]:
    """Its name, the release that takes over, and problems; at most this many lines."""
    lines = [_head(one, width)]
    opened = one.opened
    if opened is not None:
        lines.append(rollout_line(one, opened, now))
        lines += wrapped(opened.reason, width - 2, " ", "warn")[:2] if opened.reason else []
    problem = one.problem
    if one.is_stopped:
        said = f"stopped {format_age(max(0.0, now - one.since))} ago. R starts the selected or last"
        lines += wrapped(f"{said} release again", width - 2, " ", "warn")[:2]
    elif problem:
        lines += wrapped(problem, width - 2, " ", "warn")[:2]
    if one.no_url:
        lines += wrapped(f"the gateway does not serve it: {one.no_url}", width - 2, " ", "dim")[:2]
    return lines[:most]


def _head(one: Service, width: int) -> Line:
    """A heading for the lists below."""
    name = clean(one.name)
    facts = [f"of {clean(one.owner)}", *([one.url] if one.url else [])]
    facts += [f"run {part.run_id}" for part in one.parts]
    ends = one.parts[0].until
    facts += [f"ends {clock_text(ends)}"] if ends is not None else []
    text = "   ".join(facts)
    rest = "─" * max(0, width - cell_width(name) - cell_width(text) - 7)
    return line(("── ", "dim"), (name, "title"), (f"  {text} ", "dim"), (rest, "dim"))


def rollout_line(one: Service, opened: ReleaseView, now: float) -> Line:
    """ "3 > 4  shifting  surge  ████░░░░ 2 of 3 replicas of release 4 are ready  1m20s"."""
    ready = sum(part.ready for part in one.parts if part.run_id == opened.run_id)
    wanted = max(1, opened.replicas)
    is_undone = opened.state == "failed"
    part = min(1.0, ready / wanted)
    done = round(BAR * part)
    bar: list[Span] = [] if is_undone else [
        (f"  {_DONE * done}", "accent"), (_LEFT * (BAR - done), "dim"),
    ]  # fmt: skip
    said = "is being undone" if is_undone else f"{ready} of {wanted} replicas ready"
    spent = format_age(max(0.0, now - opened.at))
    return (
        (f" release {opened.number} ", "title"), (opened.state, opened.state),
        (f"  {opened.strategy}", "dim"), *bar, (f"  {said}", ""),
        (f"   {spent}, by {opened.by}", "dim"),
    )  # fmt: skip
