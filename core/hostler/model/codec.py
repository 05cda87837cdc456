"""Dataclasses to JSON values and back, for the store, the API and the SDK alike.

Standard library only, because the SDK and the command line use it. It knows exactly the types the
model is built of: dataclasses, string enums, tuples, frozensets, string-keyed mappings, optional
values and JSON scalars. How a type is read and written is worked out once: a run may have thousands
of stages.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Union

T = TypeVar("T")
Write = Callable[[object], object]
Read = Callable[[object], object]

KEY = "alias"
"""In a field's metadata: its key in JSON if that is no valid name in Python, like "from". pydantic
knows it by this word, too."""
_PLAIN = frozenset({type(None), bool, int, float, str})
_writers: dict[type, Write] = {}


def to_json(value: object) -> Any:
    """A JSON value for a model value. Enums become their value, tuples and sets lists."""
    kind = value.__class__
    if kind in _PLAIN:
        return value
    write = _writers.get(kind)
    if write is None:
        write = _writers[kind] = _writer(kind)
    return write(value)


def from_json(cls: type[T], data: object) -> T:
    """The model value that `to_json` wrote. Unknown keys are ignored: newer data is readable.

    Raises ValueError naming the type and key that does not fit.
    """
    return _whole(cls, data, newer=False)


def from_answer(cls: type[T], data: object) -> T:
    """The same for a daemon's answer. A newer daemon may use words that an enumeration here does
    not have: they are read as members without a name. Whole numbers stay whole, so that the same
    text is written again."""
    return _whole(cls, data, newer=True)


def view_of(cls: type[T], value: object, **others: object) -> T:
    """A view, or a typed dictionary, with the values of a model value under the same names, and
    with further ones."""
    make: Callable[..., T] = cls
    view: type = cls
    kind: type = value.__class__
    shared = {name: getattr(value, name) for name in _shared(view, kind)}
    return make(**{**shared, **others})


@functools.cache
def _shared(cls: type, other: type) -> tuple[str, ...]:
    return tuple(name for name in _keys(cls) if name in _keys(other) or _is_computed(other, name))


def _is_computed(cls: type, name: str) -> bool:
    return isinstance(getattr(cls, name, None), property)


def _whole(cls: type[T], data: object, *, newer: bool) -> T:
    kind: type = cls
    try:
        made: Any = _reader(kind, newer)(data)
    except _Misfit as misfit:
        raise ValueError(misfit.text(cls.__name__)) from misfit
    whole: T = made
    return whole


class _Misfit(Exception):
    """A value that does not fit, and the keys that lead to it, the innermost first."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said
        self._keys: list[str] = []

    def below(self, key: str) -> _Misfit:
        """The same, seen from the value that contains it under that key."""
        self._keys.append(key)
        return self

    def text(self, where: str) -> str:
        """The message with the keys that lead to it."""
        return f"{'.'.join([where, *reversed(self._keys)])}: {self.said}"


@functools.cache
def _keys(cls: type) -> dict[str, str]:
    if not dataclasses.is_dataclass(cls):  # a typed dictionary
        return {name: name for name in cls.__annotations__}
    return {f.name: f.metadata.get(KEY, f.name) for f in dataclasses.fields(cls)}


def _writer(kind: type) -> Write:
    if issubclass(kind, enum.Enum):
        return lambda value: getattr(value, "value")  # noqa: B009
    if issubclass(kind, (str, int, float)):
        return lambda value: value
    if issubclass(kind, Mapping):
        return _write_mapping
    if issubclass(kind, frozenset):
        return _write_set
    if issubclass(kind, (tuple, list)):
        return _write_list
    if dataclasses.is_dataclass(kind):
        return _dataclass_writer(kind)
    raise TypeError(f"{kind.__name__} is not part of the model")


def _write_mapping(value: object) -> object:
    assert isinstance(value, Mapping)
    return {str(key): to_json(item) for key, item in value.items()}


def _write_set(value: object) -> object:
    assert isinstance(value, frozenset)
    return sorted(to_json(item) for item in value)


def _write_list(value: object) -> object:
    assert isinstance(value, (tuple, list))
    return [to_json(item) for item in value]


def _dataclass_writer(cls: type) -> Write:
    keys = tuple(_keys(cls).items())

    def write(value: object) -> object:
        made = {}
        for name, key in keys:
            item = getattr(value, name)
            made[key] = item if item.__class__ in _PLAIN else to_json(item)
        return made

    return write


@functools.cache
def _reader(kind: object, newer: bool) -> Read:
    if kind is Any or kind is object:
        return lambda data: data
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union_reader(typing.get_args(kind), newer)
    if origin is not None:
        return _container_reader(origin, typing.get_args(kind), newer)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_reader(kind, newer)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _word_reader(kind, newer)
    if kind is float:
        return _number if newer else _float
    if isinstance(kind, type):
        return _exactly(kind)
    raise TypeError(f"{kind} is not part of the model")


def _union_reader(options: tuple[object, ...], newer: bool) -> Read:
    plain = frozenset(options) & _PLAIN
    readers = [_reader(option, newer) for option in options if option is not type(None)]

    def read(data: object) -> object:
        if data.__class__ in plain:
            return data
        problems = []
        for reader in readers:
            try:
                return reader(data)
            except _Misfit as misfit:
                if len(readers) == 1:
                    raise
                problems.append(misfit.said)
        raise _Misfit("; ".join(problems))

    return read


def _container_reader(origin: object, args: tuple[object, ...], newer: bool) -> Read:
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return _fixed_reader([_reader(arg, newer) for arg in args])
    item = _reader(args[0 if origin in (tuple, frozenset) else 1], newer)
    if origin is tuple:
        return lambda data: tuple([item(each) for each in _expect(data, list, "a list")])
    if origin is frozenset:
        return lambda data: frozenset([item(each) for each in _expect(data, list, "a list")])

    def read(data: object) -> object:
        made = {}
        for key, value in _expect(data, dict, "an object").items():
            try:
                made[key] = item(value)
            except _Misfit as misfit:
                raise misfit.below(key) from None
        return made

    return read


def _fixed_reader(readers: list[Read]) -> Read:
    def read(data: object) -> object:
        items = _expect(data, list, "a list")
        if len(items) != len(readers):
            raise _Misfit(f"should be {len(readers)} items, is list")
        return tuple(reader(item) for reader, item in zip(readers, items, strict=True))

    return read


def _dataclass_reader(cls: type, newer: bool) -> Read:
    hints = typing.get_type_hints(cls)
    fields = [(name, key, _reader(hints[name], newer)) for name, key in _keys(cls).items()]

    def read(data: object) -> object:
        members, known = _expect(data, dict, "an object"), {}
        for name, key, reader in fields:
            if key in members:
                try:
                    known[name] = reader(members[key])
                except _Misfit as misfit:
                    raise misfit.below(key) from None
        try:
            return cls(**known)
        except TypeError as error:
            raise _Misfit(str(error)) from error

    return read


def _word_reader(kind: type[enum.Enum], newer: bool) -> Read:
    def read(data: object) -> object:
        try:
            return kind(data)
        except ValueError as error:
            if newer and isinstance(data, str) and issubclass(kind, enum.StrEnum):
                return _nameless(kind, data)
            raise _Misfit(str(error)) from error

    return read


def _nameless(kind: type[enum.StrEnum], word: str) -> enum.StrEnum:
    made = str.__new__(kind, word)
    made._name_ = made._value_ = word
    return made


def _exactly(kind: type) -> Read:
    def read(data: object) -> object:
        if data.__class__ is kind:
            return data
        if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
            raise _misfit(kind.__name__, data)
        return data

    return read


def _float(data: object) -> float:
    try:
        return float(_number(data))
    except OverflowError as error:
        raise _Misfit("is out of range") from error


def _number(data: object) -> float:
    if not isinstance(data, float | int) or isinstance(data, bool):
        raise _misfit("float", data)
    return data


def _expect(data: object, kind: type[T], wanted: str) -> T:
    if not isinstance(data, kind):
        raise _misfit(wanted, data)
    return data


def _misfit(wanted: str, data: object) -> _Misfit:
    return _Misfit(f"should be {wanted}, is {type(data).__name__}")
