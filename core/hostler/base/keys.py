"""How one key of a TOML file is defined, so that reader, writer, JSON Schema, API and options
derive from it; the keys themselves are in `model`.

A table is a frozen dataclass. Each of its fields that stands in the file has `toml_key(...)` as
its metadata.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from types import MappingProxyType
from typing import TypeVar

from hostler.base.json_types import Json, JsonTable
from hostler.base.readers import kind_of
from hostler.base.several import Fault, Several, faults_of, of_list, read_all

T = TypeVar("T")
REQUIRED = object()
"""The default of a required key."""


class Shape(enum.Enum):
    """The form of a value in a command's JSON and on a command line."""

    TEXT = "text"
    SIZE = "size"
    DURATION = "duration"
    TEXTS = "texts"
    NUMBER = "number"
    WHOLE = "whole"
    COUNT = "count"
    """A whole number, or no value."""
    SHELL = "shell"
    TEXT_TABLE = "text table"
    VARIABLES = "variables"
    IN_FILE = "in file"
    """Allowed only in a file."""


def written(value: object) -> Json:
    """A value of the model as TOML and JSON have it. A table leaves out what is None."""
    if isinstance(value, enum.Enum):
        return written(value.value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): written(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [written(item) for item in value]
    return write_table(value)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value."""

    read: Callable[[Json], object]
    """From TOML to the model's form. Raises ValueError."""
    schema: JsonTable
    """Its JSON Schema."""
    shape: Shape = Shape.TEXT
    write: Callable[[object], Json] = written
    """Back from the model's form; None: it is left out."""
    tables: tuple[type, ...] = ()
    """The tables that it consists of."""
    fillable: bool = False
    """A placeholder alone becomes the number or flag that it stands for."""
    bounds: tuple[int, int] | None = None
    """Bounds of a whole number."""
    most: int | None = None
    """The most items of a list in a command's JSON."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of `hostler run -- CMD`."""

    name: str
    value: str
    help: str


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table."""

    kind: Kind
    help: str
    name: str
    """The name in the file."""
    attribute: str = ""
    """The name in the dataclass."""
    default: object = REQUIRED
    of_command: bool = False
    """A single command can have it without a file."""
    flag: Flag | None = None
    """Its option on the command line."""
    needs: str = ""
    """Another key of the table; without that key, this one has no effect."""

    @property
    def is_required(self) -> bool:
        """Whether the table must have it."""
        return self.default is REQUIRED


def toml_key(
    kind: Kind,
    help_: str = "",
    *,
    name: str = "",
    of_command: bool = False,
    flag: Flag | None = None,
    needs: str = "",
) -> dict[str, Key]:
    """The metadata of a field that is a key. `name` is that in the file where it is another one.
    Without a help text it is that of the table below."""
    of_command = of_command or flag is not None
    return {"toml": Key(kind, help_, name, of_command=of_command, flag=flag, needs=needs)}


@functools.cache
def keys_of(table: type) -> Mapping[str, Key]:
    """The keys that a table may have, by their names in the file."""
    return MappingProxyType({found.name: found for found in _keys(table)})


def _keys(table: type) -> Iterator[Key]:
    if not dataclasses.is_dataclass(table):
        return
    for field in dataclasses.fields(table):
        if "toml" in field.metadata:
            found: Key = field.metadata["toml"]
            yield dataclasses.replace(
                found,
                name=found.name or field.name,
                attribute=field.name,
                default=_default_of(field),
            )


def _default_of(field: dataclasses.Field[object]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return REQUIRED if field.default is MISSING else field.default


def as_table(value: Json) -> JsonTable:
    """The value, which should be a table."""
    if not isinstance(value, dict):
        raise ValueError(f"should be a table, is {kind_of(value)}")
    return value


def read_table(table: type[T], value: Json, **given: str) -> T:
    """Read a table of a file into the dataclass; `given` fields come from elsewhere. Raises
    ValueError with all problems."""
    own: type = table
    values, keys = as_table(value), keys_of(own)
    faults: list[Fault] = []
    found = []
    for name, one in keys.items():
        if name in values:
            try:
                found.append((one.attribute, one.kind.read(values[name])))
            except ValueError as error:
                faults += faults_of(error, name)
        elif one.is_required:
            faults.append(Fault((name,), "is missing"))
    faults += [Fault((name,), "", table) for name in values if name not in keys]
    if faults:
        raise Several(faults)
    make: Callable[..., T] = table
    return make(**given, **dict(found))


def write_table(value: object) -> JsonTable:
    """The table of a file that reads to this value, every default included."""
    table: type = value.__class__
    pairs = [
        (name, one.kind.write(getattr(value, one.attribute)))
        for name, one in keys_of(table).items()
    ]
    return {name: item for name, item in pairs if item is not None}


def write_changes(value: object) -> JsonTable:
    """The same without values that equal the defaults of the file."""
    table: type = value.__class__
    usual = {name: key.kind.write(key.default) for name, key in keys_of(table).items()}
    return {name: item for name, item in write_table(value).items() if item != usual[name]}


def table_of(table: type) -> Kind:
    """One table."""
    read = functools.partial(read_table, table)
    return Kind(read, reference(table), Shape.IN_FILE, tables=(table,))


def reference(table: type) -> JsonTable:
    """How a JSON Schema refers to a table."""
    return {"$ref": f"#/$defs/{title_of(table)}"}


def title_of(table: type) -> str:
    """What a JSON Schema calls a table."""
    name = table.__name__.removesuffix("Config")
    return name if name.endswith(("Table", "Keys")) else f"{name}Table"


def tables_of(table: type, names: Kind | None = None) -> Kind:
    """Tables by name, in a tuple of dataclasses whose `name` that is."""

    def read(value: Json) -> object:
        return tuple(
            _read_entries(value, names, lambda name, item: read_table(table, item, name=name))
        )

    def write(value: object) -> Json:
        items = value if isinstance(value, tuple) else ()
        return {str(item.name): write_table(item) for item in items}

    return Kind(read, by_name(reference(table), names), Shape.IN_FILE, write, (table,))


def mapping_of(values: Kind, names: Kind, *, of: str = "") -> Kind:
    """Values by name. `of`: "a table of labels" for who wrote something else."""

    def read(value: Json) -> object:
        if of and not isinstance(value, dict):
            raise ValueError(f"should be {of}, is {kind_of(value)}")
        return dict(_read_entries(value, names, lambda name, item: (name, values.read(item))))

    return Kind(read, by_name(values.schema, names), Shape.TEXT_TABLE)


def list_of(item: Kind) -> Kind:
    """A list; each thing in it once."""

    def read(value: Json) -> object:
        if not isinstance(value, list):
            raise ValueError(f"should be a list, is {kind_of(value)}")
        return tuple(dict.fromkeys(read_all(value, item.read, of_list)))

    return Kind(read, {"type": "array", "items": item.schema}, Shape.TEXTS)


def _read_entries(value: Json, names: Kind | None, read: Callable[[str, Json], T]) -> list[T]:
    faults: list[Fault] = []
    found: list[T] = []
    for name, item in as_table(value).items():
        try:
            if names is not None:
                names.read(name)
        except ValueError as error:
            faults += faults_of(error, name)
        try:
            found.append(read(name, item))
        except ValueError as error:
            faults += faults_of(error, name)
    if faults:
        raise Several(faults)
    return found


def by_name(item: JsonTable, names: Kind | None) -> JsonTable:
    """The JSON Schema of such items by names."""
    if names is None:
        return {"type": "object", "additionalProperties": item}
    return {"type": "object", "patternProperties": {str(names.schema["pattern"]): item}}
