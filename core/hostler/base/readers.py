"""Accepted values in our TOML files (sizes, durations, commands, names, images), their limits and
the words of a refusal; kinds of values: `value_kinds`.

Each takes whatever TOML held and returns the model's form, or raises ValueError with a sentence fit
for a person.
"""

from __future__ import annotations

import enum
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping

from hostler.base.json_types import Scalar
from hostler.base.secret_rules import read_secret_name
from hostler.base.several import of_all, of_list, read_all
from hostler.base.text import shown
from hostler.base.units import parse_duration, parse_size

MAX_SECONDS = 10 * 366 * 86400.0
MAX_BYTES = 2**60
MAX_ARGUMENT = 128 * 1024
"""Characters: Linux's limit for one argument."""
MAX_COMMAND_LINE = 32 * 1024
"""Characters of a text that is split into arguments: the time of shlex grows with their square."""
MAX_LENGTH = 4096
MAX_SCRIPT = 32 * 1024
"""Characters of lines for a shell."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
SLURM_NAME = re.compile(r"[^\s,|&\[\]()]{1,63}")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PROGRAM = re.compile(r"/?[A-Za-z0-9_.+-]+(?:/[A-Za-z0-9_.+-]+)*")
_QUOTED = re.compile(r"[\"'\\]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_GRANTED = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


class FromSubmitter(enum.Enum):
    """Stands for the value of a variable that the submission itself gives."""

    VALUE = "submitter"


def kind_of(value: object) -> str:
    """The kind of a TOML value, for "should be a list, is text"."""
    kinds: list[tuple[type, str]] = [
        (bool, "true or false"), (str, "text"), (int, "a whole number"), (float, "a number"),
        (list, "a list"), (dict, "a table"),
    ]  # fmt: skip
    return next((word for kind, word in kinds if isinstance(value, kind)), "a date or time")


def _text(value: object, wanted: str = "text") -> str:
    if not isinstance(value, str):
        raise ValueError(f"should be {wanted}, is {kind_of(value)}")
    return value


def read_line(value: object, wanted: str = "text") -> str:
    """One line that is not empty."""
    text = _text(value, wanted)
    if not text.strip():
        raise ValueError("is empty")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    if not text.isprintable():
        raise ValueError("has a control character or a line break")
    return text


def read_script(value: object) -> str:
    """Lines for a shell, at least one of them not empty."""
    text = _text(value, "text for a shell")
    if not text.strip():
        raise ValueError("is empty")
    if len(text) > MAX_SCRIPT:
        raise ValueError(f"is longer than {MAX_SCRIPT} characters: put it into a script")
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise ValueError("has a control character")
    return text


def read_duration(value: object) -> float:
    """Seconds in "90s" or "2h30m"; more than zero, less than ten years."""
    seconds = parse_duration(_text(value, "a duration in quotes (like 2h30m)"))
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{shown(value)} is not between 1ms and ten years")
    return seconds


def read_size(value: object) -> int:
    """Bytes in "24GiB"; more than zero."""
    try:
        size = parse_size(_text(value, "a size in quotes (like 24GiB)"))
    except OverflowError as error:
        raise ValueError(f"{shown(value)} is too large") from error
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"{shown(value)} is not between 1B and 1024PiB")
    return size


def read_name(value: object) -> str:
    """A name of a pipeline."""
    text = _text(value)
    if not NAME.fullmatch(text):
        raise ValueError(
            f"{shown(text)} should start with a small letter or digit, followed by at most 62 of "
            "a-z 0-9 . _ -"
        )
    return text


def read_word(value: object) -> str:
    """A name of an output, input or mount."""
    text = _text(value)
    if not WORD.fullmatch(text):
        raise ValueError(f"{shown(text)} should have at most 63 characters, all of A-Z a-z 0-9 _ -")
    return text


def read_slurm_name(value: object) -> str:
    """A name of a partition or feature, as in batch scripts."""
    text = _text(value)
    if not SLURM_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} should have at most 63 characters, none of them , | & [ ]")
    return text


def read_identifier(value: object) -> str:
    """A name of a parameter or matrix key that expressions can use."""
    text = _text(value)
    if not IDENTIFIER.fullmatch(text):
        raise ValueError(
            f"{shown(text)} should have only letters, digits and _, and not start with a digit"
        )
    return text


def read_scalar(value: object) -> Scalar:
    """Text, a number, or true or false."""
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"should be text, a number or true/false, is {kind_of(value)}")
    return value


def read_words(value: object) -> tuple[str, ...]:
    """One text or a list of texts, each printable and not empty."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise ValueError("is an empty list")
    place = of_list if items is value else of_all
    return tuple(read_all(items, lambda item: read_line(item, "text or a list of texts"), place))


def read_some(value: object) -> tuple[str, ...]:
    """As `read_words`, or an empty list."""
    return () if value == [] else read_words(value)


def read_relative(value: object) -> str:
    """A path below the working folder, normalized."""
    text = read_line(value, "a path in quotes")
    if text.startswith("/"):
        raise ValueError(f"{shown(text)} should be relative to the working folder")
    if ".." in text.split("/"):
        raise ValueError(f"{shown(text)} should not contain ..")
    path = posixpath.normpath(text)
    if path == ".":
        raise ValueError(
            "should be a folder or file in the working folder, not the working folder itself"
        )
    return path


def read_workdir(value: object) -> str:
    """A path below the working folder ("." is the working folder), or absolute."""
    text = read_line(value, "a path in quotes")
    if ".." in text.split("/"):
        raise ValueError(f"{shown(text)} should not contain ..")
    return posixpath.normpath(text)


def read_absolute(value: object) -> str:
    """An absolute path without `..`."""
    text = read_line(value, "a path in quotes")
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f"{shown(text)} should be an absolute path without ..")
    return posixpath.normpath(text)


def read_file(value: object) -> str:
    """A path on the daemon's machine: absolute or from the home folder."""
    text = read_line(value, "a path in quotes")
    if not text.startswith(("/", "~/")):
        raise ValueError(f"{shown(text)} should start with / or ~/")
    return text


def read_target(value: object) -> str:
    """A login, group, network, host or address: no blanks, and never an option (`-x`)."""
    text = read_line(value, "a name in quotes")
    if text.startswith("-") or any(char.isspace() for char in text):
        raise ValueError(f"{shown(text)} should have no spaces and not start with -")
    return text


def read_lan_address(value: object) -> str:
    """An IP address that other machines can reach."""
    import ipaddress  # few configs have one

    text = read_line(value, "an IP address in quotes")
    try:
        found = ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} is not an IP address like 10.0.0.12") from error
    if found.is_loopback or found.is_unspecified or found.is_multicast or "%" in text:
        raise ValueError(f"{shown(text)} should be the host's own address in the lab's network")
    return found.compressed


def read_python(value: object) -> str:
    """A program's name or absolute path, in characters that have no special meaning for a shell."""
    text = read_line(value, "a name or path in quotes")
    if not _PROGRAM.fullmatch(text):
        raise ValueError(f"{shown(text)} should be like python3.11 or /opt/python/bin/python3")
    return text


def read_image(value: object) -> str:
    """A reference of a container image."""
    text = read_line(value, "an image in quotes")
    if len(text) > 512 or " " in text or not (text[0].isascii() and text[0].isalnum()):
        raise ValueError(f"{shown(text)} is not an image: write it like python:3.12-slim")
    return text


def read_command(value: object) -> tuple[str, ...]:
    """Arguments; a text is split as a shell would split it, without any other expansion."""
    if isinstance(value, str):
        value = split_command(value)
    if not isinstance(value, list):
        raise ValueError(f"should be text or a list of texts, is {kind_of(value)}")
    read_all(value, _check_argument, of_all)
    if not value or not value[0].strip():
        raise ValueError("is empty")
    return tuple(value)


def _check_argument(item: object) -> None:
    if not isinstance(item, str):
        raise ValueError(f"should be a list of texts: put {kind_of(item)} in quotes")
    if len(item) > MAX_ARGUMENT:
        raise ValueError(f"has an argument of more than {MAX_ARGUMENT // 1024} KiB")
    _check_carried(item, "has an argument that")


def split_command(text: str) -> list[str]:
    """A command line as arguments. Raises ValueError where it is too long or a quotation mark is
    left open."""
    if len(text) > MAX_COMMAND_LINE:
        raise ValueError(
            f"is longer than {MAX_COMMAND_LINE // 1024} KiB (use a list of arguments, or a script)"
        )
    if text.isascii() and text.isprintable() and not _QUOTED.search(text):
        return text.split()  # the same, and most commands: shlex is slow
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(
            f"cannot be split into arguments: {str(error).lower()} "
            "(use a list, or shell = true for a shell line)"
        ) from error


def read_env(value: object) -> dict[str, str]:
    """Environment variables. Numbers become text."""
    if not isinstance(value, Mapping):
        raise ValueError(f"should be a table of variables, is {kind_of(value)}")
    return dict(
        read_all(
            value.items(),
            lambda entry: (_variable(entry[0]), _env_value(str(entry[0]), entry[1])),
            of_all,
        )
    )


def read_stage_env(value: object) -> dict[str, str | FromSubmitter]:
    """The same, where `{ from = "submitter" }` stands for a secret of the submitter."""
    if not isinstance(value, Mapping):
        return {**read_env(value)}
    given = [name for name, item in value.items() if isinstance(item, Mapping)]
    plain = read_env({name: item for name, item in value.items() if name not in given})
    read_all(given, lambda name: _submitters(name, value[name]), of_all)
    return {str(name): plain.get(name, FromSubmitter.VALUE) for name in value}


def _submitters(name: object, value: object) -> None:
    read_secret_name(name)
    if value != {"from": "submitter"}:
        raise ValueError(f'{name} should be text, or {{ from = "submitter" }}')


def _variable(key: object) -> str:
    if not isinstance(key, str) or not _VARIABLE.fullmatch(key):
        raise ValueError(f"{shown(key)} is not a variable name: use A-Z a-z 0-9 _")
    if key.startswith("HOSTLER_"):
        raise ValueError(f"{key}: variables named HOSTLER_... are set by Hostler")
    if key in _GRANTED:
        raise ValueError(f"{key} is set by Hostler to the GPUs of the stage")
    return key


def _env_value(key: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{key} should be text: put the value in quotes")
    text = str(value)
    if len(text) > MAX_ARGUMENT:
        raise ValueError(f"{key} is longer than {MAX_ARGUMENT // 1024} KiB")
    _check_carried(text, key)
    return text


def _check_carried(text: str, what: str) -> None:
    """Refuse values that no process can receive; all others are passed on unchanged."""
    if "\0" in text:
        raise ValueError(f"{what} contains a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{what} is not valid Unicode") from error


def whole_reader(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers between two bounds."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"should be a whole number, is {kind_of(value)}")
        if not low <= value <= high:
            raise ValueError(f"should be from {low} to {high}, is {value}")
        return value

    return read


def choice_reader(*words: str) -> Callable[[object], str]:
    """A reader of one of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{shown(value)} should be one of: {', '.join(words)}")
        return value

    return read


def read_cpus(value: object) -> float:
    """A number of CPUs, which may be a fraction."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"should be a number, is {kind_of(value)}")
    if not 0 < value <= 4096:
        raise ValueError(f"should be more than 0 and at most 4096, is {value}")
    return float(value)


def read_flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"should be true or false, is {kind_of(value)}")
    return value


PLAIN = "plain"
"""`shell = "plain"`: without pipefail."""


def read_shell(value: object) -> bool | str:
    """Whether a command is a line for a shell, and for which."""
    if isinstance(value, bool) or value == PLAIN:
        return value
    raise ValueError(f'should be true, false or "{PLAIN}", is {kind_of(value)}')


def read_output(value: object) -> str:
    """A path below the working folder. One that ends in "/" is a folder, made before the start."""
    path = read_relative(value)
    return f"{path}/" if isinstance(value, str) and value.rstrip().endswith("/") else path


def read_globs(value: object) -> tuple[str, ...]:
    """Globs below the working folder, or none."""
    return tuple(read_relative(each) for each in read_some(value))
