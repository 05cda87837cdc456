"""Finds the files of an attempt: in its job folder, its container, or another folder of this
host."""

from __future__ import annotations

from typing import NamedTuple, Optional

from hostler_agent.fields import optional_text
from hostler_agent.json_values import Message


class ArchiveSource(NamedTuple):
    """A folder or file of a workload, to be read as a tar stream."""

    attempt_id: str
    runtime: str
    ref: str
    path: str
    """The path relative to the attempt's working folder; ".." and absolute paths are refused."""
    here: Optional[str] = None
    """The folder itself, with `code = "here"`; None otherwise. `path` is then relative to this
    folder, which is read with the rights of the login."""
    snapshot: Optional[str] = None
    """The digest of the source that was placed. `changed_files` of a container needs this blob in
    the host's cache (`put_blob`). None: nothing was placed."""

    @property
    def is_container(self) -> bool:
        """Whether Docker must be asked, even if the files are not in the container."""
        return self.runtime == "docker"

    @property
    def is_boxed(self) -> bool:
        """Whether the files lie in the container, and not in a folder of the host."""
        return self.is_container and self.here is None


def source_of(mode: Message) -> ArchiveSource:
    """The source that the mode line of a transfer names. Raises Refusal."""
    return ArchiveSource(
        optional_text(mode, "attempt_id") or "", optional_text(mode, "runtime") or "",
        optional_text(mode, "ref") or "", optional_text(mode, "path") or "",
        optional_text(mode, "here"), optional_text(mode, "snapshot"),
    )  # fmt: skip
