"""Warns at submission of scripts that set CUDA_VISIBLE_DEVICES: how many and how large files are
searched; base/own_gpus.py recognises such a line."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePath

from hostler.base.json_types import Json, JsonTable
from hostler.base.own_gpus import own_gpus, told_of
from hostler.base.text import clean_line, texts_in
from hostler.submit.words import pipeline_tables
from hostler_agent.json_values import table

_LARGEST = 256 * 1024
_MOST_FILES = 20
_MOST_WORDS = 2000
_WORD = re.compile(r"[^\s;&|()<>'\"`=]+")


def file_notes(body: Mapping[str, Json], folder: Path) -> list[str]:
    """A sentence for each file of the folder that a command without an image names, and that sets
    CUDA_VISIBLE_DEVICES."""
    found: dict[str, str] = {}
    for stage in _without_image(body):
        for name in islice(_named(stage, folder), _MOST_FILES):
            assignment = own_gpus(_text(folder / name))
            if assignment is not None:
                found[name] = told_of(assignment, clean_line(name, 80))
    return [*found.values()]


def _without_image(body: Mapping[str, Json]) -> Iterator[JsonTable]:
    """The tables of stages that are processes."""
    if body.get("command") is not None:
        stages, usual = [body["command"]], None
    else:
        document = pipeline_tables(body)
        stages = [*table(document.get("stages")).values()]
        usual = table(document.get("defaults")).get("image")
    yield from (stage for stage in map(table, stages) if not stage.get("image", usual))


def _named(stage: JsonTable, folder: Path) -> Iterator[str]:
    """Files of the folder, by their paths in it."""
    start = PurePath(str(stage.get("workdir") or ""))
    words = _WORD.findall("\n".join(texts_in(stage.get("command"))))
    for word in islice(dict.fromkeys(words), _MOST_WORDS):
        name = os.path.normpath(start / word)
        if not name.startswith((".", "/")) and _is_file(folder / name):
            yield name


def _is_file(path: Path) -> bool:
    """Whether a file exists there; a word that is too long to be a name is not a file."""
    try:
        return path.is_file()
    except OSError:
        return False


def _text(file: Path) -> str:
    """Of a short text; "" of all else. Nothing that is put there meanwhile is waited for."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
                return ""
            data = opened.read(_LARGEST)
    except OSError:
        return ""
    return "" if b"\0" in data else data.decode("utf-8", "replace")
