"""Logs of runs with secrets: masks values before a byte is written; a log that cannot be masked is
replaced by one line.

Bytes that may be the beginning of a value are held back in memory until more bytes arrive. The
stored position must fit the written bytes. So it stays at the last byte before which nothing was
held back, and the number of bytes written after it is stored with it. After a crash or a full disk,
copying continues from that position: the bytes are masked again, and those already written are
skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hostler.base.masking import Masker
from hostler.store.logs import LogFile
from hostler_agent.json_values import Json

_WRITTEN = "masked"
"""The key for the number of bytes written after the position."""
_WITHHELD = (
    b"[hostler] this log was not stored: the secrets of its run are no longer known here, so they "
    b"could not be masked\n"
)


class MaskedLog(LogFile):
    """A log in which all secrets of its run are masked."""

    def __init__(
        self, path: Path, cap: int, on_change: Callable[[], None], values: Sequence[str]
    ) -> None:
        super().__init__(path, cap, on_change)
        self._values = values
        self._begin_again()

    def _begin_again(self) -> None:
        """Continue from the state stored with the file."""
        stored = dict(super().position)
        written = stored.pop(_WRITTEN, 0)
        self._masker = Masker(self._values)
        self._base = self._given = stored
        self._written = written if isinstance(written, int) else 0
        self._masked = 0
        """Bytes masked since `_base`; `_written` is the number of these in the file."""

    @property
    def position(self) -> Mapping[str, Json]:
        """The position last given to `append`; after a crash, an earlier one."""
        return self._given

    def append(self, data: bytes, position: Mapping[str, Json]) -> None:
        """See `LogFile.append`. If it raises, continue from `position`."""
        self._write_masked(self._masker.feed(data), position)

    def finish(self) -> None:
        """Write the bytes that were held back."""
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
    """The log of a run whose secrets are lost: any output is replaced by one line that says so."""

    def append(self, data: bytes, position: Mapping[str, Json]) -> None:
        """Write that line once, and store the position."""
        super().append(_WITHHELD if data and not self.size else b"", position)
