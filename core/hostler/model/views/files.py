"""Files of runs, in the API: those that can be downloaded, and the current contents of folders."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.model.files import Artifact, FileEntry, RunFile, Where

FileView = RunFile
ArtifactView = Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class FileList:
    """The `hostler.files/1` object: files of a run, all of them or one page."""

    schema: str = "hostler.files/1"
    files: tuple[FileView, ...] = ()
    truncated: bool = False
    """Whether a host has more files than it lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPage(FileList):
    """One page of files."""

    next: int | None = None
    """Where the next page starts; None: this is the last page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderView:
    """The `hostler.ls/1` object: the content of one folder of a stage."""

    schema: str = "hostler.ls/1"
    stage: str
    attempt_id: str
    where: Where
    path: str = ""
    entries: tuple[FileEntry, ...] = ()
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactList:
    """The stored outputs of a run."""

    artifacts: tuple[ArtifactView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """The confirmation that a note was stored."""

    noted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot:
    """A packed source tree that the daemon now has."""

    digest: str
    size: int = 0
