"""The form of a service's `address` at the gateway (path, host name or port), and what is refused
there; who may have which: `decide.addresses`.

A value is valid and written in one way only, so that equal addresses are equal texts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from hostler.base.errors import InputError
from hostler.base.text import shown

LOWEST_PORT, HIGHEST_PORT = 1024, 65535
_PART = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_PATH = re.compile(rf"(?:/{_PART})+")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{3,4}")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_LONGEST_PATH, _LONGEST_NAME = 200, 253
_WILD = "*."
_REMEDY = (
    'use a path like "/digits/", a host name like "digits.lab.example", or a port from '
    f'{LOWEST_PORT} to {HIGHEST_PORT} like ":8101"'
)


class AddressKind(StrEnum):
    """How requests find their service."""

    PATH = "path"
    """Below a folder of the gateway's own address, which the replicas do not see."""
    HOST = "host"
    """By the host name in the request (`Host`), at the gateway's own port."""
    PORT = "port"
    """At a separate port, for any host name in the request."""


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where a service answers: `/digits`, `digits.lab.example.org`, or port `8080`."""

    kind: AddressKind
    value: str

    def __post_init__(self) -> None:
        good = {
            AddressKind.PATH: _is_path, AddressKind.HOST: is_host_name, AddressKind.PORT: is_port,
        }[self.kind]  # fmt: skip
        if not good(self.value):
            raise InputError(
                f"{shown(self.value)} is not a {self.kind} for a service", remedy=_REMEDY
            )

    def __str__(self) -> str:
        """As written in a stage's key."""
        return f":{self.value}" if self.kind is AddressKind.PORT else self.value

    def overlaps(self, other: ServiceAddress) -> bool:
        """Whether a request could be for both: also where one path lies below the other."""
        if self.kind is not other.kind:
            return False
        if self.kind is not AddressKind.PATH:
            return self.value == other.value
        one, two = f"{self.value}/", f"{other.value}/"
        return one.startswith(two) or two.startswith(one)


def address_of(text: str) -> ServiceAddress:
    """The address that the text of a stage's key describes. Raises InputError."""
    kind, value = AddressKind.HOST, text.lower()
    if text.startswith(":"):
        kind, value = AddressKind.PORT, text[1:]
    elif text.startswith("/"):
        kind, value = AddressKind.PATH, text.removesuffix("/")
    if kind is AddressKind.HOST and "." not in value:
        raise _refused(text)
    try:
        return ServiceAddress(kind, value)
    except InputError:
        raise _refused(text) from None


def _refused(text: str) -> InputError:
    return InputError(f"{shown(text)} is no address for a service", remedy=_REMEDY)


def path_of(name: str) -> ServiceAddress:
    """The path of a service without an address in its file."""
    return ServiceAddress(AddressKind.PATH, f"/{name}")


def is_host_name(value: str) -> bool:
    """Whether a text is a host name in lower case, and not a text that programs read as an IP
    address: browsers read `10.1` and `1.0x7f` so."""
    if len(value) > _LONGEST_NAME or not _HOST_NAME.fullmatch(value):
        return False
    return not _NUMBER.fullmatch(value.rpartition(".")[2])


def is_ip(value: str) -> bool:
    """Whether a text is an IP address in its usual form."""
    try:
        return ipaddress.ip_address(value).compressed == value and "%" not in value
    except ValueError:
        return False


def is_port(value: str) -> bool:
    """Whether a text is a port that a login without root can listen at."""
    return _PORT.fullmatch(value) is not None and LOWEST_PORT <= int(value) <= HIGHEST_PORT


def port_range(text: str) -> tuple[int, int]:
    """The first and the last port of `8100-8199`, or of `8100`. Raises ValueError."""
    found = _PORTS.fullmatch(text.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not LOWEST_PORT <= first <= last <= HIGHEST_PORT:
        raise ValueError(
            f"{shown(text)} should be ports from {LOWEST_PORT} to {HIGHEST_PORT}, like '8100-8199'"
        )
    return first, last


def name_pattern(text: str) -> str:
    """A host name, or `*.` and one: any name with one more part. Raises ValueError."""
    name = text.lower()
    if not is_host_name(name.removeprefix(_WILD)) or "." not in name:
        raise ValueError(
            f"{shown(text)} should be a host name like 'digits.lab.example', or '*.lab.example' "
            "for all names with one more part"
        )
    return name


def allows_port(ranges: Iterable[str], port: int) -> bool:
    """Whether one of these ranges has a port."""
    return any(first <= port <= last for first, last in map(port_range, ranges))


def allows_name(patterns: Iterable[str], name: str) -> bool:
    """Whether one of these patterns matches a host name."""
    return any(
        name == pattern or (pattern.startswith(_WILD) and name.partition(".")[2] == pattern[2:])
        for pattern in patterns
    )


def _is_path(value: str) -> bool:
    return len(value) <= _LONGEST_PATH and _PATH.fullmatch(value) is not None
