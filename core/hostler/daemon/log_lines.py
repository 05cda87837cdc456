"""The daemon's log: entries cannot control the terminal that shows them."""

from __future__ import annotations

import logging
import sys

from hostler.base.text import clean, clean_line

_LONGEST = 4000
"""Characters of a message: some of it comes from hosts and callers."""
_LONGEST_TRACE = 40_000


class CleanFormatter(logging.Formatter):
    """One line an entry, so that nobody can write one that Hostler did not; and its traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line."""
        record.message = clean_line(record.message, _LONGEST)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        """The traceback: its last line may be anybody's words."""
        said = super().formatException(ei)  # type: ignore[arg-type]
        cut = said if len(said) <= _LONGEST_TRACE else f"...{said[-_LONGEST_TRACE:]}"
        return clean(cut, keep_newlines=True)


def log_to_stderr(*, verbose: bool) -> None:
    """Of Hostler all, of libraries warnings; the personal daemon's stderr is its log file."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleanFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hostler").setLevel(logging.DEBUG if verbose else logging.INFO)
    # What it says of requests that are none, any caller may have it say for ever.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
