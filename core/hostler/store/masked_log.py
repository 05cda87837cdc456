"""Logs of runs with secrets: values are masked before a byte is written, and the line in place of a
log that cannot be masked.

What may be the beginning of a value is held back in memory until more has come. A log's position
must be that of what was written, so it stays at the last byte before which nothing was held back,
and beside it stands how many bytes after it were written: a follower that begins there again, after
a crash or a full disk, masks them once more, and those that were written are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hostler.base.masking import Masker
from hostler.store.logs import LogFile
from hostler_agent.json_values import Json

_WRITTEN = "masked"
"""The key beside a position: bytes after it that were written."""
_WITHHELD = (
    b"[hostler] this log was not stored: the secrets of its run are no longer known here, so they "
    b"could not be masked\n"
)


class MaskedLog(LogFile):
    """A log without any secret of its run."""

    def __init__(
        self, path: Path, cap: int, on_change: Callable[[], None], values: Sequence[str]
    ) -> None:
        super().__init__(path, cap, on_change)
        self._values = values
        self._begin_again()

    def _begin_again(self) -> None:
        """Continue from the state in the file."""
        stored = dict(super().position)
        written = stored.pop(_WRITTEN, 0)
        self._masker = Masker(self._values)
        self._base = self._given = stored
        self._written = written if isinstance(written, int) else 0
        self._masked = 0
        """Bytes after `_base` that were masked, and those that were written."""

    @property
    def position(self) -> Mapping[str, Json]:
        """What `append` was last given; after a crash, what it was given a little before."""
        return self._given

    def append(self, data: bytes, position: Mapping[str, Json]) -> None:
        """See `LogFile.append`. If it raises, start again at `position`."""
        self._write_masked(self._masker.feed(data), position)

    def finish(self) -> None:
        """Write the bytes held back so far."""
        self._write_masked(self._masker.rest(), self._given)

    def _write_masked(self, masked: bytes, position: Mapping[str, Json]) -> None:
        new = masked[max(0, self._written - self._masked) :]
        self._masked += len(masked)
        self._written = max(self._written, self._masked)
        if not self._masker.held and self._masked == self._written:
            self._base, self._masked, self._written = dict(position), 0, 0
        stored = {**self._base, _WRITTEN: self._written} if self._written else self._base
        try:
            super().append(new, stored)
        except BaseException:
            self._begin_again()
            raise
        self._given = dict(position)


class WithheldLog(LogFile):
    """The log of a run whose secrets are gone: only one line that says so, for any output."""

    def append(self, data: bytes, position: Mapping[str, Json]) -> None:
        """Write that it is withheld, once, and remember the position."""
        super().append(_WITHHELD if data and not self.size else b"", position)
