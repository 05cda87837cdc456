"""The line above a log (try, follow, wrap, size) and the line of its search. Pure."""

from __future__ import annotations

from typing import Protocol

from hostler.base.table import cell_width
from hostler.base.units import format_size
from hostler_tui.lines import Line
from hostler_tui.log.hits import Hits
from hostler_tui.log.spool import LogFetch, Spool


class LogShown(Protocol):
    """The log that the head line describes."""

    @property
    def log_of(self) -> tuple[str, str, int | None] | None:
        """Run, stage and attempt."""

    @property
    def spool(self) -> Spool | None:
        """Its text."""

    @property
    def fetch(self) -> LogFetch | None:
        """The object that fetches more of it."""

    @property
    def cursor_line(self) -> int:
        """The reader's line."""

    @property
    def is_following(self) -> bool:
        """Whether the end stays visible."""

    @property
    def is_paused(self) -> bool:
        """Whether it is paused."""

    @property
    def is_wrapped(self) -> bool:
        """Whether long lines are broken."""


def head_line(view: LogShown, width: int) -> Line:
    """ "LOG train try 1 follow ON wrap off 41,208 lines 3.9 MiB"; as much as fits."""
    if view.log_of is None or view.spool is None or view.fetch is None:
        return ((" LOG", "title"),)
    _, stage, attempt = view.log_of
    of = f" LOG {stage}" + (f" try {attempt}" if attempt is not None else "")
    parts = [
        (of, "title"),
        ("  PAUSED" if view.is_paused else "", "warn"),
        (f"  follow {'ON' if view.is_following else 'off'}", "good" if view.is_following else ""),
        (f"  {_state(view)}", "dim"),
        (f"  {_lines(view)}", ""),
        (f"  wrap {'on' if view.is_wrapped else 'off'}", ""),
        (f"  {format_size(view.spool.shown.end)}", "dim"),
    ]
    return _fitting([part for part in parts if part[0]], width)


def _fitting(parts: list[tuple[str, str]], width: int) -> Line:
    kept: list[tuple[str, str]] = []
    left = width
    for part in parts:
        left -= cell_width(part[0])
        if kept and left < 0:
            break
        kept.append(part)
    return tuple(kept)


def _state(view: LogShown) -> str:
    assert view.fetch is not None
    assert view.spool is not None
    if view.fetch.state == "fetching":
        return f"fetching {view.spool.part:.0%}"
    return {"away": "no daemon", "missing": "not started"}.get(view.fetch.state, view.fetch.state)


def _lines(view: LogShown) -> str:
    assert view.spool is not None
    total = len(view.spool.shown)
    if view.is_following or not total:
        return f"{total:,} lines"
    return f"line {view.cursor_line + 1:,} of {total:,}"


def search_line(hits: Hits, line: int, searching: bool, only: bool) -> Line:
    """ "/loss  12 of 3,881  n next  N previous  & only these  esc clear"."""
    total = len(hits.lines)
    if searching and not total:
        count = "searching"
    elif not total:
        count = "no match"
    else:
        place = hits.place_of(line)
        on_one = place < total and hits.lines[place] == line
        count = (
            f"{place + 1:,} of {total:,}"
            if on_one
            else f"{total:,} match{'' if total == 1 else 'es'}"
        )
    keys: list[tuple[str, str]] = []
    for key, does in (("n", "next"), ("N", "previous"),
                      ("&", "all lines" if only else "only these"), ("esc", "clear")):  # fmt: skip
        keys += [(f"  {key}", "key"), (f" {does}", "dim")]
    return ((f" /{hits.needle.text}", "match"), (f"  {count}", ""), *keys)
