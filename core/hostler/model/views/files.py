"""Files of runs, as the API gives them: those that can be downloaded, and the current contents of
folders.
"""

from __future__ import annotations

from dataclasses import dataclass

from hostler.model.files import Artifact, FileEntry, RunFile, Where

FileView = RunFile
ArtifactView = Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class FileList:
    """The `hostler.files/1` object: files of a run, a page of them or all."""

    schema: str = "hostler.files/1"
    files: tuple[FileView, ...] = ()
    truncated: bool = False
    """A host has more files than it lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPage(FileList):
    """A page."""

    next: int | None = None
    """What the next page begins after; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderView:
    """The `hostler.ls/1` object: what lies in one folder of a stage."""

    schema: str = "hostler.ls/1"
    stage: str
    attempt_id: str
    where: Where
    path: str = ""
    entries: tuple[FileEntry, ...] = ()
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactList:
    """The outputs that a run has left."""

    artifacts: tuple[ArtifactView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """The confirmation of a note."""

    noted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot:
    """A packed source tree that is here now."""

    digest: str
    size: int = 0
