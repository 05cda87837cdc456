"""Taking lines or all of a log out of its spool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hostler.base.units import format_size
from hostler_tui.log.spool import Spool
from hostler_tui.log.text import plain_text

MOST_COPIED = 8 * 1024 * 1024
"""Bytes; more is for a file."""
BLOCK = 1024 * 1024


def copy_of_lines(spool: Spool, numbers: Sequence[int]) -> str | None:
    """These lines as text, without colours; None where they are too long to copy."""
    shown, spans, size = spool.shown, [], 0
    for number in numbers:
        begin, end = shown.span(number)
        size += end - begin
        if size > MOST_COPIED:
            return None
        spans.append((begin, end))
    return "\n".join(plain_text(spool.read(begin, end)) for begin, end in spans)


def save_log(spool: Spool, path: Path) -> tuple[str, str]:
    """Write all that is here to a new file; what to say of it, and how grave it is."""
    at, end = 0, spool.shown.end
    try:
        with path.open("xb") as file:
            while at < end:
                data = spool.read(at, min(end, at + BLOCK))
                if not data:
                    break
                file.write(data)
                at += len(data)
    except FileExistsError:
        return f"{path} is there already; choose another name", "error"
    except OSError as error:
        return f"cannot save the log to {path}: {error.strerror}", "error"
    return f"saved {format_size(at)} to {path}", "information"
