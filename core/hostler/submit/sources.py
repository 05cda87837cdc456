"""The code of a run: the folder that it comes from, and what of it does not go along."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.json_types import JsonTable
from hostler.base.private import owner_name
from hostler.base.text import is_text
from hostler.base.units import format_size
from hostler.model.views.runs import RunView
from hostler.packing import PackedSource, source_names

_MOST_NAMES = 100_000
"""That a request may carry."""


def skipped_lines(packed: PackedSource, most: int = 5) -> list[str]:
    """What was left out though git sees it, so that nobody wonders later."""
    named = {one.path for one in packed.left_out}  # those are told with what sends them
    skipped = [entry for entry in packed.skipped if entry.path not in named]
    lines = [f"left out: {entry.path} ({entry.reason})" for entry in skipped[:most]]
    rest = len(skipped) - most
    return [*lines, f"left out: {rest} more"] if rest > 0 else lines


def left_out_lines(packed: PackedSource, most: int = 5) -> list[str]:
    """What commands name and does not go along, with what sends it."""
    lines = [
        f"left out, {one.reason}: {one.path} ({format_size(one.size)}); --include "
        f"{shlex.quote(one.include)} sends it"
        for one in packed.left_out[:most]
    ]
    rest = len(packed.left_out) - most
    return [*lines, f"left out: {rest} more that the command names"] if rest > 0 else lines


def names_of_files(text: str, folder: Path, include: Sequence[str] = ()) -> JsonTable:
    """The names of a folder's files, for a check or a plan before they are sent: where the pipeline
    of this text has a use for them."""
    if "glob" not in text and "venv" not in text:
        return {}
    # No request can carry other names; the daemon reads them from the source itself.
    files, links = (list(filter(is_text, names)) for names in source_names(folder, include))
    if "glob" in text or len(files) + len(links) <= _MOST_NAMES:
        return {"files": [*files], "links": [*links]}
    return {}


def code_folder(old: RunView, else_: str) -> Path:
    """The folder that a run's code came from. Raises InputError where it is not on this machine, or
    where somebody else chose it, or what is in it."""
    path = old.source.path or ""
    if not path or not Path(path).is_dir():
        raise InputError(
            f"the code of {old.run_id} came from {path or 'nowhere'}, which is not on this machine",
            remedy=f"Run this on the machine that has the folder, or {else_}",
        )
    if old.uid != os.geteuid():
        # Its owner named the folder, and what to send of it that else stays.
        raise InputError(
            f"{old.run_id} is a run of {old.owner}: only {old.owner} can send its code",
            remedy=else_[:1].upper() + else_[1:],
        )
    _check_whose(Path(path))
    return Path(path)


def _check_whose(folder: Path) -> None:
    """Raise InputError where the folder, or a link that leads to it, is another user's now, unless
    the person stands in it: it may have been put there after the run."""
    with contextlib.suppress(OSError):
        if Path.cwd().is_relative_to(folder.resolve()):
            return
    links = [step.lstat() for step in (folder, *folder.parents) if step.is_symlink()]
    for found in (folder.stat(), *links):
        if found.st_uid not in (os.geteuid(), 0):
            raise InputError(
                f"{folder} belongs to {owner_name(found)} now: its files would run with your "
                "rights",
                remedy=f"If you trust them, go there first: cd {shlex.quote(str(folder))}",
            )


def current_folder() -> Path:
    """The working folder as the person sees it (symbolic links kept), for `code = "here"`. Raises
    InputError where it was removed meanwhile, or its name is no text."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise InputError(
            "the folder that you are in was removed", remedy="Go to another one: cd"
        ) from None
    shown = os.environ.get("PWD", "")
    same = shown.startswith("/") and os.path.realpath(shown) == str(here)
    return text_path(Path(shown) if same else here)


def text_path(folder: Path) -> Path:
    """The folder. Raises InputError where its name is no text."""
    if is_text(str(folder)):
        return folder
    raise InputError(
        f"the name of the folder {folder} is not UTF-8", remedy="Rename it, or run from another one"
    )
