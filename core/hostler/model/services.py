"""The properties of a service and their defaults (`startup` 10m, `drain` 30s), and the keys and
defaults of its `health` check and `warmup` request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.base.errors import InputError
from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import Kind, Shape, as_table, read_table, reference, toml_key
from hostler.base.readers import kind_of, read_line
from hostler.base.several import of_all, of_list, read_all
from hostler.base.text import shown
from hostler.base.value_kinds import DURATION, choice
from hostler.model.addresses import address_of

METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
TCP = "tcp"
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = ("connection", "content-length", "expect", "transfer-encoding", "upgrade")
_PATH = re.compile(r"/[!-~]{0,2000}")
_MOST_HEADERS = 32
_LONGEST_HEADER = 1000
_LONGEST_BODY = 16 * 1024


def _read_path(value: Json) -> object:
    path = read_line(value, "a path in quotes")
    if not _PATH.fullmatch(path):
        raise ValueError(
            f"{shown(path)} should be a path like '/health', in ASCII and without spaces"
        )
    return path


def _read_body(value: Json) -> object:
    if not isinstance(value, str):
        raise ValueError(f"should be text in quotes, is {kind_of(value)}")
    if len(value.encode("utf-8", "replace")) > _LONGEST_BODY:
        raise ValueError("should be at most 16 KiB")
    return value


def _read_headers(value: Json) -> object:
    headers = as_table(value)
    if len(headers) > _MOST_HEADERS:
        raise ValueError(f"should have at most {_MOST_HEADERS} entries, has {len(headers)}")
    return dict(read_all(headers.items(), lambda item: _read_header(*item), of_all))


def _read_header(name: str, value: Json) -> tuple[str, str]:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{shown(name)} is not the name of a header")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is set by Hostler: remove it")
    if not isinstance(value, str) or len(value) > _LONGEST_HEADER:
        raise ValueError(f"{name} should be text in quotes, of at most {_LONGEST_HEADER} letters")
    if not (value.isascii() and (value == "" or value.isprintable())):
        raise ValueError(f"{name} should be one line in ASCII")
    return name, value


def _read_status(value: Json) -> object:
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(read_all(items, _read_code, of_list)))


def _read_code(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 200 <= value <= 599:
        raise ValueError("should be a status of HTTP, 200 to 599")
    return value


_CODE: JsonTable = {"type": "integer", "minimum": 200, "maximum": 599}


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a replica, and its good answers."""

    path: str | None = field(
        default=None,
        metadata=toml_key(
            Kind(_read_path, {"type": "string", "pattern": "^/"}),
            "Path of a request by HTTP. Default: an accepted connection is enough.",
        ),
    )
    method: str = field(
        default="GET", metadata=toml_key(choice(*METHODS), "Method of the request.")
    )
    body: str = field(
        default="", metadata=toml_key(Kind(_read_body, {"type": "string"}), "Its body, as UTF-8.")
    )
    headers: Mapping[str, str] = field(
        default_factory=dict,
        metadata=toml_key(
            Kind(
                _read_headers,
                {"type": "object", "additionalProperties": {"type": "string"}},
                Shape.TEXT_TABLE,
            ),
            "Headers of the request. Put no secrets here: the run's specification is stored as "
            "plain text.",
        ),
    )
    status: tuple[int, ...] = field(
        default=(),
        metadata=toml_key(
            Kind(
                _read_status,
                {"anyOf": [_CODE, {"type": "array", "items": _CODE}]},
                Shape.IN_FILE,
            ),
            "Status of a good answer, or a list of them. Default: 200 to 299. Redirects are not "
            "followed.",
        ),
    )
    timeout: float = field(
        default=2.0, metadata=toml_key(DURATION, "How long the answer may take.")
    )


@dataclass(frozen=True, slots=True)
class HealthCheck(Request):
    """The check whether a replica is healthy. Fields of `Request` are keys here, too."""

    every: float = field(
        default=5.0, metadata=toml_key(DURATION, "Pause between two checks once it is ready.")
    )
    patience: float = field(
        default=30.0,
        metadata=toml_key(DURATION, "A replica that fails all checks for so long is restarted."),
    )


def _read_health(value: Json) -> object:
    if value == TCP:
        return HealthCheck()
    if isinstance(value, str):
        return HealthCheck(path=str(_read_path(value)))
    return read_table(HealthCheck, value)


def _read_address(value: Json) -> object:
    try:
        return str(address_of(read_line(value, "an address in quotes")))
    except InputError as error:
        raise ValueError(str(error)) from None


ADDRESS = Kind(
    _read_address,
    {"type": "string", "examples": ["/digits/", "digits.lab.example", ":8101"]},
)


def _read_warmup(value: Json) -> object:
    if isinstance(value, str):
        return Request(path=str(_read_path(value)), timeout=_WARMUP_TIMEOUT)
    found = read_table(Request, {"timeout": f"{_WARMUP_TIMEOUT:.0f}s", **as_table(value)})
    if found.path is None:
        raise ValueError("needs `path`: it is a request by HTTP")
    return found


_WARMUP_TIMEOUT = 60.0
HEALTH = Kind(
    _read_health,
    {"anyOf": [{"type": "string"}, reference(HealthCheck)]},
    Shape.IN_FILE,
    tables=(HealthCheck,),
)
WARMUP = Kind(
    _read_warmup,
    {"anyOf": [{"type": "string"}, reference(Request)]},
    Shape.IN_FILE,
    tables=(Request,),
)


@dataclass(frozen=True, slots=True)
class Service:
    """The keys of a stage of kind `service` besides those of other stages."""

    health: HealthCheck
    replicas: int = 1
    port: int | None = None
    """On which the command listens inside its container. None for a process, which gets a port in
    $PORT."""
    startup: float = 600.0
    """Seconds from its start in which a replica has to become ready."""
    until: float | None = None
    """Seconds after its submission at which it ends; None: it runs until it is stopped."""
    warmup: Request | None = None
    """Sent once after the first good check; the replica is ready when it has answered."""
    drain: float = 30.0
    """Seconds that open requests at the gateway have to end before a replica is stopped."""
    maxconn: int = 0
    """Requests that the gateway sends to a replica at once; more wait there. 0: no limit."""
    address: str = ""
    """Where the gateway serves it, as `model.addresses` writes it. Empty: at a path of its name."""
    sticky: bool = False
    """Whether the gateway sends a browser to the replica that answered it first."""
