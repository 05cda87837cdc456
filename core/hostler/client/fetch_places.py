"""Chooses which files names and globs of `hostler get` mean, which attempt's, and each path
below the target folder; longest names and depth. Pure."""

from __future__ import annotations

import fnmatch
import os
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hostler.base.errors import InputError, NotFoundError
from hostler.base.text import clean_line, first_of
from hostler.model.files import host_etag

if TYPE_CHECKING:
    from hostler.model.views.files import FileView

_MOST_NAME = 255
_MOST_DEPTH = 256
"""Deeper than any host lists."""
_SHOWN = 20
_HOPS = 20
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file, or symbolic link, to fetch."""

    stage: str
    attempt_id: str
    attempt: int
    where: str
    artifact: str | None
    path: str
    """The path in the working folder of its stage."""
    to: str
    """The path below the target folder."""
    size: int
    sha256: str | None
    etag: str
    mode: int | None = None
    link: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its path below the target folder."""
        return tuple(self.to.split("/"))

    @property
    def fits(self) -> bool:
        """Whether a file can have that name. A name that is not valid text becomes longer when it
        is shown."""
        parts = self.parts
        longest = max(len(os.fsencode(part)) for part in parts)
        return len(parts) <= _MOST_DEPTH and longest <= _MOST_NAME

    @property
    def is_link(self) -> bool:
        """Whether it is created as a link."""
        return self.link is not None


def choose(run_id: str, files: Iterable[FileView], names: Sequence[str]) -> tuple[Wanted, ...]:
    """The files that these names mean (none: all), of each stage those of the newest attempt that
    has some, each once.

    A name is that of an output, a path in the working folder, that of a folder, or a glob of one of
    them. Raises NotFoundError naming what there is, InputError for names that lead out of a folder.
    """
    every = [wanted_of(file) for file in files]
    found = _of_newest(every, names)
    for name in names:
        if not any(_is_meant(file, name) for file in found):
            raise NotFoundError(
                f"run {run_id} has no file or output {name!r}", remedy=f"It has: {_told(every)}"
            )
    stages = {file.stage for file in found}
    made: dict[str, Wanted] = {}
    for file in _with_targets(found, every):
        check_path(f"{file.stage}/{file.to}")
        to = f"{file.stage}/{file.to}" if len(stages) > 1 else file.to
        made.setdefault(to, replace(file, to=to))
    return tuple(made[to] for to in sorted(made, key=lambda to: (made[to].is_link, to)))


def wanted_of(file: FileView) -> Wanted:
    """A file of the API's list. Its names are not checked."""
    etag = f'"{file.sha256}"' if file.sha256 else ""
    if not file.sha256 and file.mtime is not None:
        etag = host_etag(file.size, float(file.mtime))
    return Wanted(
        stage=file.stage,
        attempt_id=file.attempt_id,
        attempt=file.attempt,
        where=file.where,
        artifact=file.artifact,
        path=file.path,
        to=file.path,
        size=file.size,
        sha256=file.sha256 or None,
        etag=etag,
        mode=file.mode,
        link=file.link,
    )


def check_path(path: str) -> None:
    """Raise InputError for a path that leads out of a folder: its author wants to write
    elsewhere."""
    if not {"", ".", ".."}.isdisjoint(path.split("/")) or "\0" in path:
        raise InputError(
            f"a file is called {clean_line(path, 200)!r}: the name leads out of the target folder",
            remedy="fetch the others by name",
        )


def leads_out(path: str, target: str) -> bool:
    """Whether a link at `path` leads out of the folder that `path` is relative to."""
    if target.startswith("/") or "\0" in target or not target:
        return True
    depth, is_down = path.count("/"), False
    for part in target.split("/"):
        if part == "..":
            # After a name it goes up from wherever that leads, which may be a link itself.
            if is_down or not depth:
                return True
            depth -= 1
        elif part not in ("", "."):
            is_down = True
    return False


def _of_newest(every: Sequence[Wanted], names: Sequence[str]) -> list[Wanted]:
    """For each stage the selected files of its newest attempt with such files."""
    found: dict[str, dict[int, list[Wanted]]] = defaultdict(lambda: defaultdict(list))
    for file in every:
        if not names or any(_is_meant(file, name) for name in names):
            found[file.stage][file.attempt].append(file)
    return [file for attempts in found.values() for file in attempts[max(attempts)]]


def _is_meant(file: Wanted, name: str) -> bool:
    plain = name.rstrip("/").removeprefix("./")
    if file.artifact == name or file.path == plain or file.path.startswith(f"{plain}/"):
        return True
    if _GLOB.isdisjoint(name):
        return False
    names = [file.path, *([posixpath.basename(file.path)] if "/" not in plain else [])]
    names += [file.artifact] if file.artifact else []
    return any(fnmatch.fnmatchcase(each, plain) for each in names)


def _with_targets(found: Sequence[Wanted], every: Sequence[Wanted]) -> list[Wanted]:
    """A link whose target is not fetched becomes that file itself."""
    here = {(file.attempt_id, file.path): file for file in every}
    coming = {(file.attempt_id, file.path) for file in found}
    return [
        file if file.link is None else _followed(file, here, coming)
        for file in found
    ]  # fmt: skip


def _followed(
    link: Wanted, here: Mapping[tuple[str, str], Wanted], coming: set[tuple[str, str]]
) -> Wanted:
    at = link
    for _ in range(_HOPS):
        if at.link is None:
            return replace(at, to=link.to)
        if leads_out(at.path, at.link):
            return link
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(at.path), at.link))
        key = (at.attempt_id, inside)
        if key in coming or key not in here:
            return link
        at = here[key]
    return link


def _told(every: Sequence[Wanted]) -> str:
    """The existing files, for a user who named others."""
    tops: dict[str, int] = defaultdict(int)
    for file in every:
        top, slash, _ = file.path.partition("/")
        tops[top + slash] += 1
    told = [
        f"{top} ({tops[top]} file{'s' if tops[top] > 1 else ''})" if top.endswith("/") else top
        for top in sorted(tops)
    ]
    return first_of([clean_line(text, 100) for text in told], _SHOWN) or "none"
