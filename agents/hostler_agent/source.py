"""The place of an attempt's files: a job's folder, a container, or another folder of this host."""

from __future__ import annotations

from typing import NamedTuple, Optional

from hostler_agent.fields import optional_text
from hostler_agent.json_values import Message


class Source(NamedTuple):
    """As the daemon's `ArchiveSource`."""

    attempt_id: str
    runtime: str = ""
    ref: str = ""
    path: str = ""
    """Relative to its working folder."""
    here: Optional[str] = None
    """The folder of this host that it works in."""
    snapshot: Optional[str] = None
    """SHA-256 of the source that was placed there."""

    @property
    def is_container(self) -> bool:
        """Docker has to be asked, also where the files are not in the container."""
        return self.runtime == "docker"

    @property
    def is_boxed(self) -> bool:
        """The files lie in the container, and not in a folder of the host."""
        return self.is_container and self.here is None


def source_of(mode: Message) -> Source:
    """What the mode line of a transfer names. Raises Refusal."""
    return Source(
        optional_text(mode, "attempt_id") or "", optional_text(mode, "runtime") or "",
        optional_text(mode, "ref") or "", optional_text(mode, "path") or "",
        optional_text(mode, "here"), optional_text(mode, "snapshot"),
    )  # fmt: skip
