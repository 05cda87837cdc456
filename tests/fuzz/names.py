"""Names that somebody thought of to be run by a shell, to leave a folder, or to be an option."""

from __future__ import annotations

import random
import string
import unicodedata
from collections.abc import Callable
from pathlib import Path

import tomli_w

from hostler.base.errors import InputError, PipelineError
from hostler.base.readers import read_identifier, read_name, read_word
from hostler.base.text import clean_line
from hostler.base.units import expand_hosts, parse_duration, parse_size
from hostler.spec.config import is_host_name
from hostler.spec.pipeline import program_name, read_pipeline
from tests.fuzz.trial import Area

NASTY = (
    "'", '"', "`", "$(touch /tmp/pwn)", "`touch /tmp/pwn`", ";touch /tmp/pwn;", "|", "&", "\n",
    "\r", "\t", "\0", "../", "/", "..", ".", "-rf", "--", "-", "~", "*", "?", "[1-9]", "{a}", "{{",
    "$HOME", "${IFS}", "%s", "%00", "\\", "\x1b]0;t\x07", "\x1b[2J", "\x9b2J", "\u202e", "\u2066",
    "\u200b", "🙂", "é", "漢", "e\u0301", "\ud800", "\U000e0041", "a" * 64, "x" * 10_000, "A", "0",
    "con", "nul", "@", ":", "#", "=", ",", " ", "[bold]", "<", ">", "!",
)  # fmt: skip
SAFE = frozenset(string.ascii_letters + string.digits + "._-")
LONGEST = 63


def make(chance: random.Random) -> str:
    """A plain name with something in it, or nothing but somethings."""
    parts = [
        chance.choice(NASTY) if chance.random() < 0.6 else chance.choice(string.ascii_lowercase)
        for _ in range(chance.randrange(1, 5))
    ]
    return "".join(parts)


def check(name: str, folder: Path) -> None:
    """Refused by every reader of names with words for a person, or harmless as it is."""
    for reader in (read_name, read_word, read_identifier):
        _read(reader, name)
    if is_host_name(name):
        _harmless(name)
    _shown(clean_line(name, 200))
    program_name([name, name])
    for units in (expand_hosts, parse_duration, parse_size):
        _refused_or_read(units, name)
    _as_pipeline(name)


def _read(reader: Callable[[object], str], name: str) -> None:
    try:
        _harmless(reader(name))
    except ValueError as error:
        _shown(str(error))


def _refused_or_read(reader: Callable[[str], object], text: str) -> None:
    try:
        reader(text)
    except (ValueError, OverflowError, InputError) as error:
        _worded(str(error))


def _harmless(name: str) -> None:
    assert 0 < len(name) <= LONGEST, name
    assert set(name) <= SAFE, name
    assert name[0] not in ".-", name


def _shown(text: str) -> None:
    """As it may go to a terminal."""
    for char in text:
        assert char != "\u202e", text
        assert unicodedata.category(char) not in ("Cc", "Cs"), (text, char)


def _worded(*messages: str) -> None:
    assert messages
    assert all(messages)


def _as_pipeline(name: str) -> None:
    """In every place of a file where people write names and texts."""
    stage = {"command": ["echo", name], "env": {"A": name}, "outputs": {name: "out"}}
    for table in (
        {"name": name, "stages": {"a": {"command": "true"}}},
        {"name": "n", "stages": {name: {"command": "true"}}},
        {"name": "n", "stages": {"a": stage}},
        {"name": "n", "stages": {"a": {"command": "true", "image": name, "needs": [name]}}},
        {"name": "n", "stages": {"a": {"command": "true", "outputs": {"o": name}}}},
    ):
        try:
            text = tomli_w.dumps(table)
        except (ValueError, UnicodeError):
            continue  # a lone surrogate: no file can hold it
        try:
            pipeline = read_pipeline(text, file="f")
        except PipelineError as error:
            _worded(*(problem.message for problem in error.problems))
            continue
        _harmless(pipeline.name)
        for each in pipeline.stages:
            _harmless(each.name)
            for output in each.outputs.values():
                _inside(output)


def _inside(path: str) -> None:
    assert not path.startswith("/"), path
    assert ".." not in path.split("/"), path


AREA = Area("names", few=300, many=100_000, make=make, check=check)
