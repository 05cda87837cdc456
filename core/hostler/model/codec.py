"""Dataclasses to JSON values and back, for the store, the API and the SDK alike.

Standard library only, because the SDK and the command line use it. It knows exactly the types the
model is built of: dataclasses, string enums, tuples, frozensets, string-keyed mappings, optional
values and JSON scalars.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union

T = TypeVar("T")


def to_json(value: object) -> Any:
    """A JSON value for a model value. Enums become their value, tuples and sets lists."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(to_json(item) for item in value)
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {f: to_json(getattr(value, f)) for f in _names(value.__class__)}
    raise TypeError(f"{type(value).__name__} is not part of the model")


def from_json(cls: type[T], data: object) -> T:
    """The model value that `to_json` wrote. Unknown keys are ignored: newer data is readable.

    Raises ValueError naming the type and key that does not fit.
    """
    return typing.cast(T, _decode(cls, data, cls.__name__))


@functools.cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _decode(kind: Any, data: Any, where: str) -> Any:
    if kind is Any or kind is object:
        return data
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(kind, data, where)
    if origin is not None:
        return _decode_container(origin, typing.get_args(kind), data, where)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), data, where)
    return _decode_scalar(kind, data, where)


def _decode_union(kind: Any, data: Any, where: str) -> Any:
    options = typing.get_args(kind)
    if data is None and type(None) in options:
        return None
    problems = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _decode(option, data, where)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError("; ".join(problems))


def _decode_container(origin: Any, args: tuple[Any, ...], data: Any, where: str) -> Any:
    if origin is tuple:
        _expect(isinstance(data, list), where, "a list", data)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_decode(args[0], item, where) for item in data)
        _expect(len(args) == len(data), where, f"{len(args)} items", data)
        return tuple(_decode(arg, item, where) for arg, item in zip(args, data, strict=True))
    if origin is frozenset:
        _expect(isinstance(data, list), where, "a list", data)
        return frozenset(_decode(args[0], item, where) for item in data)
    _expect(isinstance(data, dict), where, "an object", data)
    return {key: _decode(args[1], item, f"{where}.{key}") for key, item in data.items()}


def _decode_dataclass(cls: type, data: Any, where: str) -> Any:
    _expect(isinstance(data, dict), where, "an object", data)
    hints = _hints(cls)
    known = {
        name: _decode(hints[name], data[name], f"{where}.{name}")
        for name in _names(cls)
        if name in data
    }
    try:
        return cls(**known)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _decode_scalar(kind: Any, data: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(data)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return _float(data, where)
    fits = isinstance(data, kind) and not (kind is int and isinstance(data, bool))
    _expect(fits, where, getattr(kind, "__name__", str(kind)), data)
    return data


def _float(whole: int, where: str) -> float:
    try:
        return float(whole)
    except OverflowError as error:
        raise ValueError(f"{where}: is out of range") from error


def _expect(condition: bool, where: str, wanted: str, data: object) -> None:
    if not condition:
        raise ValueError(f"{where}: should be {wanted}, is {type(data).__name__}")
