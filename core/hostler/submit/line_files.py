"""Reads files whose lines are values of a matrix: largest size, UTF-8 only, no links, no control
characters."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.json_types import Json, JsonTable
from hostler.base.text import shown
from hostler.base.units import MIB
from hostler.model.pipeline_file import MAX_STAGES
from hostler.packing.inside import Inside, LeadsOut, LinkOnTheWay, NotRegular
from hostler.packing.secrets import is_secret
from hostler.submit.words import pipeline_tables
from hostler_agent.json_values import string, table

_LARGEST = MIB
_TAB = "\t"


def lines_of_files(text: str, folder: Path) -> JsonTable:
    """The extra data for a pipeline of this text: the lines of the files in `folder` that its
    matrices name. Raises InputError if one cannot be read, or is not a list of values."""
    if "lines" not in text:
        return {}
    names = dict.fromkeys(_names(pipeline_tables({"pipeline": text})))
    found: JsonTable = {name: [*read_lines(folder, name)] for name in names}
    return {"lines": found} if found else {}


def _names(document: JsonTable) -> Iterator[str]:
    for stage in map(table, table(document.get("stages")).values()):
        for values in table(stage.get("matrix")).values():
            name = string(table(values).get("lines"))
            if name is not None and "{" not in name:
                yield posixpath.normpath(name)


def read_lines(folder: Path, name: str) -> list[str]:
    """The lines of a file below a folder, without empty ones and without blanks around them. No
    link is followed: what is sent is what lies in the folder, and of that no file that is never
    sent as code either. Raises InputError."""
    _check_name(name)
    data = _content(folder, name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused(name, "is not UTF-8 text", "Save it as UTF-8") from None
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.rstrip("\r").replace(_TAB, "").isprintable():
            raise _refused(name, f"has a control character in line {number}", "Remove it")
    found = [line.strip() for line in lines if line.strip()]
    if len(found) > MAX_STAGES:
        raise _refused(
            name,
            f"has {len(found):,} lines, and a pipeline at most {MAX_STAGES:,} stages",
            "Take a part of it, or let one stage do several lines",
        )
    return found


def _check_name(name: str) -> None:
    if "\0" in name:
        raise _refused(name, "has a NUL character in its name", "Name a text file")
    if is_secret(posixpath.normpath(name)) or ".git" in name.lower().split("/"):
        raise _refused(
            name,
            "looks like a secret, and lines are kept and shown to everybody",
            "Name a file without secrets; --secret NAME gives one to a stage",
        )


def _content(folder: Path, name: str) -> bytes:
    try:
        with Inside(folder) as inside, inside.open(name) as file:
            data = file.read(_LARGEST + 1)
    except (LinkOnTheWay, LeadsOut) as error:
        raise _refused(
            name, f"is not read: {error}", "Name a file in the pipeline's folder, no link"
        ) from error
    except NotRegular as error:
        raise _refused(name, "is no file", "Name a text file") from error
    except OSError as error:
        if Path(folder, name).is_symlink():
            raise _refused(name, "is a link", "Name the file itself") from error
        what = error.strerror or str(error)
        raise _refused(
            name, f"cannot be read: {what}", "Put it beside the pipeline file"
        ) from error
    if len(data) > _LARGEST:
        raise _refused(name, f"is larger than {_LARGEST // MIB} MiB", "Take a part of it")
    return data


def _refused(name: Json, what: str, remedy: str) -> InputError:
    return InputError(f"{shown(str(name))}, whose lines a matrix takes, {what}", remedy=remedy)
