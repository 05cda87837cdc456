"""The kinds of values in our TOML files, each with its reader, writer and JSON Schema; what each
accepts is in `readers`.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hostler.base import environment_names, package_index, readers
from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import Kind, Shape, list_of, mapping_of
from hostler.base.mount_targets import MAX_TARGETS, clash_among, read_mount_target, read_mounted
from hostler.base.secret_rules import MAX_NAMES, read_secret_name
from hostler.base.secret_rules import NAME as SECRET_NAME
from hostler.base.text import shown
from hostler.base.units import GIB, KIB, MIB, TIB

_SIZES = (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB))
_TIMES = (("d", 86400), ("h", 3600), ("m", 60))
_TEXT: JsonTable = {"type": "string"}
_SIZE: JsonTable = {**_TEXT, "examples": ["512MiB", "24GiB"]}


def size_text(size: int) -> str:
    """A size, exactly, in the largest unit that it is a whole number of: "20GiB"."""
    for unit, factor in _SIZES:
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def time_text(seconds: float) -> str:
    """A duration, exactly, in the largest unit that it is a whole number of: "90d", "0.25s"."""
    for unit, factor in _TIMES:
        if seconds and seconds % factor == 0:
            return f"{int(seconds // factor)}{unit}"
    text = format(Decimal(repr(float(seconds))), "f")
    return f"{text.removesuffix('.0')}s"


def _write_size(value: object) -> str | None:
    return size_text(value) if isinstance(value, int) else None


def _write_time(value: object) -> str | None:
    return time_text(value) if isinstance(value, (int, float)) else None


def or_placeholder(schema: JsonTable) -> JsonTable:
    """A JSON Schema that also takes a placeholder, which becomes such a value."""
    pattern = r"^\{(params|matrix)\.[A-Za-z_][A-Za-z0-9_]*\}$"
    return {"anyOf": [schema, {"type": "string", "pattern": pattern}]}


def whole(low: int, high: int, *, fillable: bool = False) -> Kind:
    """A whole number between two bounds; `fillable`: a placeholder is also allowed."""
    schema: JsonTable = {"type": "integer", "minimum": low, "maximum": high}
    return Kind(
        readers.whole_reader(low, high),
        or_placeholder(schema) if fillable else schema,
        Shape.WHOLE,
        fillable=fillable,
        bounds=(low, high),
    )


def choice(*words: str) -> Kind:
    """One of a few words."""
    return Kind(readers.choice_reader(*words), {"enum": list(words)})


def some_of(*words: str) -> Kind:
    """Some of a few words, each once."""

    def read(value: Json) -> object:
        given = readers.read_words(value)
        for word in given:
            if word not in words:
                raise ValueError(f"'{word[:40]}' should be {' or '.join(words)}")
        return tuple(dict.fromkeys(given))

    return Kind(read, {"type": "array", "items": {"enum": list(words)}}, Shape.TEXTS)


def _texts(least: int | None = None) -> JsonTable:
    made: JsonTable = {"type": "array", "items": _TEXT}
    return made if least is None else {**made, "minItems": least}


_WORDS: JsonTable = {"anyOf": [_TEXT, _texts(1)]}

DURATION = Kind(
    readers.read_duration, {**_TEXT, "examples": ["90s", "2h30m"]}, Shape.DURATION, _write_time
)
SIZE = Kind(readers.read_size, _SIZE, Shape.SIZE, _write_size)
NAME = Kind(readers.read_name, {**_TEXT, "pattern": f"^{readers.NAME.pattern}$"})
WORD = Kind(readers.read_word, {**_TEXT, "pattern": f"^{readers.WORD.pattern}$"})
IDENTIFIER = Kind(readers.read_identifier, {**_TEXT, "pattern": f"^{readers.IDENTIFIER.pattern}$"})
SCALAR = Kind(readers.read_scalar, {"type": ["string", "number", "boolean"]}, Shape.IN_FILE)
LINE = Kind(readers.read_line, _TEXT)
WORDS = Kind(readers.read_words, _WORDS, Shape.TEXTS)
"""One text, or a list of them."""
SOME = Kind(readers.read_some, _texts(), Shape.TEXTS)
"""A list of texts, which may be empty."""
GLOBS = Kind(readers.read_globs, {"anyOf": [_TEXT, _texts()]}, Shape.TEXTS, most=1000)
RELATIVE = Kind(readers.read_relative, _TEXT)
RELATIVES = replace(list_of(RELATIVE), most=100)
SCRIPT = Kind(readers.read_script, _TEXT)
OUTPUT = Kind(readers.read_output, _TEXT)
CONDA = Kind(environment_names.read_conda, {**_TEXT, "examples": ["subt-2026"]})
MODULES = Kind(
    environment_names.read_modules,
    {"anyOf": [_TEXT, _texts()], "examples": [["cuda/12.4"]]},
    Shape.TEXTS,
    most=environment_names.MAX_MODULES,
)
WORKDIR = Kind(readers.read_workdir, _TEXT)
ABSOLUTE = Kind(readers.read_absolute, _TEXT)
FILE = Kind(readers.read_file, _TEXT)
TARGET = Kind(readers.read_target, _TEXT)
LAN_ADDRESS = Kind(readers.read_lan_address, _TEXT)
PYTHON = Kind(readers.read_python, _TEXT)
INDEX = Kind(package_index.read_index, {**_TEXT, "examples": ["https://pypi.org/simple"]})
HOST_NAMES = Kind(package_index.read_host_names, _texts(), Shape.TEXTS)
IMAGE = Kind(readers.read_image, {**_TEXT, "examples": ["python:3.12-slim"]})
COMMAND = Kind(readers.read_command, _WORDS, Shape.TEXTS)
CPUS = Kind(
    readers.read_cpus,
    or_placeholder({"type": "number", "exclusiveMinimum": 0, "maximum": 4096}),
    Shape.NUMBER,
    fillable=True,
)
SWITCH = Kind(readers.read_flag, {"type": "boolean"}, Shape.IN_FILE)
FLAG = Kind(readers.read_flag, or_placeholder({"type": "boolean"}), Shape.IN_FILE, fillable=True)
SHELL = Kind(
    readers.read_shell, {"anyOf": [{"type": "boolean"}, {"const": readers.PLAIN}]}, Shape.SHELL
)
ENV = Kind(
    readers.read_env,
    {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
    Shape.VARIABLES,
)
STAGE_ENV = Kind(
    readers.read_stage_env,
    {
        "type": "object",
        "additionalProperties": {
            "anyOf": [
                {"type": ["string", "number"]},
                {
                    "type": "object",
                    "properties": {"from": {"const": "submitter"}},
                    "required": ["from"],
                    "additionalProperties": False,
                },
            ]
        },
    },
    Shape.VARIABLES,
)
"""Variables of a stage, of which some may be secrets of the submitter."""
SECRET_NAMES = replace(
    list_of(Kind(read_secret_name, {**_TEXT, "pattern": f"^{SECRET_NAME.pattern}$"})),
    most=MAX_NAMES,
)


def _read_mounts(value: Json) -> object:
    """Names, or a table of paths inside to names."""
    if not isinstance(value, dict):
        return _NAMES.read(value)
    if len(value) > MAX_TARGETS:
        raise ValueError(f"has {len(value)} mounts; at most {MAX_TARGETS} are allowed")
    found = _TARGETS.read(value)
    if (pair := clash_among(value)) is not None:
        raise ValueError(f"{shown(pair[1])} is inside {shown(pair[0])}: mount only one of them")
    return found


_NAMES = list_of(WORD)
_TARGETS = mapping_of(
    Kind(read_mounted, WORD.schema), Kind(read_mount_target, {**_TEXT, "pattern": "^/"})
)
MOUNTS = Kind(_read_mounts, {"anyOf": [_NAMES.schema, _TARGETS.schema]}, Shape.TEXTS)
"""Names of `[mounts]`, or in a file also paths inside with such names."""
LABELS = mapping_of(LINE, WORD, of="a table of labels")
LABELS_BY_NAME = mapping_of(
    LABELS,
    Kind(readers.read_slurm_name, {**_TEXT, "pattern": f"^{readers.SLURM_NAME.pattern}$"}),
    of="a table of names with labels",
)


def _read_age(value: Json) -> object:
    return None if value == "forever" else readers.read_duration(value)


def _read_limit(value: Json) -> object:
    return None if value == "none" else readers.read_size(value)


AGE = Kind(
    _read_age,
    {**_TEXT, "examples": ["90d", "forever"]},
    write=lambda value: _write_time(value) or "forever",
)
"""A duration, or forever: None."""
SIZE_OR_NONE = Kind(
    _read_limit,
    {**_TEXT, "examples": ["500GiB", "none"]},
    write=lambda value: _write_size(value) or "none",
)
"""A size, or no limit: None."""


READ_ONLY = Kind(
    lambda value: readers.choice_reader("ro", "rw")(value) == "ro",
    {"enum": ["ro", "rw"]},
    write=lambda value: "ro" if value else "rw",
)
"""Whether `mode` is "ro"."""
