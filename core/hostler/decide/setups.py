"""Cause and sentence for a `setup` that failed or timed out: how many lines of its log are quoted
(3). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from hostler.base.text import clean_line
from hostler.base.units import format_duration
from hostler.model.jobs import SetupEnd
from hostler.model.pipelines import Cause, Stage

NOT_BUILT = 125
"""Exit code of the agent's `setupenv.py` if it fails before the setup itself."""
_OURS = "hostler: "
_MOST_LINES = 3
_LONGEST = 200


def setup_ending(end: SetupEnd, stage: Stage, tail: Sequence[str]) -> tuple[Cause, str]:
    """The ending of a failed setup. `tail`: the last lines of its log."""
    if end.late:
        said = f"setup took longer than {format_duration(stage.setup_timeout)}"
        return Cause.SETUP_TIME_LIMIT, _with_lines(f"{said}: raise `setup_timeout`", tail)
    ours = [line[len(_OURS) :] for line in tail if line.startswith(_OURS)]
    if end.exit_code == NOT_BUILT and ours:
        return Cause.SETUP_FAILED, _with_lines(clean_line(ours[-1], 2 * _LONGEST), tail)
    if end.exit_code is None:
        return Cause.SETUP_FAILED, _with_lines(_unknown(end.error), tail)
    how = f"setup ended with exit code {end.exit_code}"
    if end.signal is not None:
        how = f"setup was killed by signal {end.signal}"
    return Cause.SETUP_FAILED, _with_lines(how, tail)


def _unknown(error: str) -> str:
    return clean_line(error, _LONGEST) or "it is unknown how setup ended"


def _with_lines(sentence: str, tail: Sequence[str]) -> str:
    """The sentence with the last lines of output, as many as fit."""
    lines = [clean_line(line, _LONGEST).strip() for line in tail if not line.startswith(_OURS)]
    last = [line for line in lines if line][-_MOST_LINES:]
    return f"{sentence}; its last lines: {' | '.join(last)}" if last else sentence
