"""The parts of Protocol Buffers that BuildKit's calls need. Pure."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class BadMessage(ValueError):
    """The bytes are not a valid message."""


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field. Raises BadMessage."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise BadMessage(f"a field of kind {kind}")
        if at + size > len(data):
            raise BadMessage("it ends early")
        yield number, data[at : at + size]
        at += size


def texts(data: bytes, number: int) -> list[bytes]:
    """All values of a field that contains bytes, text or messages."""
    return [value for found, value in fields(data) if found == number and isinstance(value, bytes)]


def text(data: bytes, number: int) -> str:
    """The last value of the field as text."""
    found = texts(data, number)
    return found[-1].decode("utf-8", "replace") if found else ""


def written(number: int, value: bytes) -> bytes:
    """A field with bytes."""
    return bytes([number << 3 | _BYTES]) + _size(len(value)) + value


def written_number(number: int, value: int) -> bytes:
    """A field with a number of at least 0."""
    return bytes([number << 3 | _VARINT]) + _size(value)


def number_of(value: int | bytes | None) -> int:
    """The number in a field; 0 if it is missing. Raises BadMessage."""
    if isinstance(value, bytes):
        raise BadMessage("no number")
    return value or 0


def _size(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= len(data):
            raise BadMessage("it ends early")
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise BadMessage("a number that is too long")
