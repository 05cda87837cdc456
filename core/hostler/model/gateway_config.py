"""The keys of config.toml about the gateway ([gateway]), and the names of its process there."""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import Kind, Shape, toml_key
from hostler.base.readers import read_some
from hostler.base.several import of_list, read_all
from hostler.base.value_kinds import ABSOLUTE, SOME, SWITCH, TARGET, whole
from hostler.model.addresses import name_pattern, port_range


def _read_names(value: Json) -> object:
    return tuple(dict.fromkeys(read_all(read_some(value), name_pattern, of_list)))


def _read_ranges(value: Json) -> object:
    return tuple(dict.fromkeys(read_all(read_some(value), _read_range, of_list)))


def _read_range(text: str) -> str:
    first, last = port_range(text)
    return str(first) if first == last else f"{first}-{last}"


_SCHEMA: JsonTable = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_NAMES = Kind(_read_names, {**_SCHEMA, "examples": ["*.lab.example"]}, Shape.TEXTS)
_RANGES = Kind(_read_ranges, {**_SCHEMA, "examples": ["8100-8199"]}, Shape.TEXTS)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Where the gateway runs, and who can reach it."""

    host: str | None = field(
        default=None,
        metadata=toml_key(
            TARGET, "The host on which the gateway to services runs. Default: no gateway."
        ),
    )
    bind: tuple[str, ...] = field(
        default=("127.0.0.1",),
        metadata=toml_key(
            SOME, "IP addresses of that host at which it listens. Others than its loopback need "
            "`tls_cert` and `tokens`.",
        ),
    )  # fmt: skip
    port: int = field(default=8080, metadata=toml_key(whole(1024, 65535), "Its port."))
    tls_cert: str | None = field(
        default=None,
        metadata=toml_key(
            ABSOLUTE, "File on that host with certificate, chain and private key (PEM), for HTTPS."
        ),
    )
    tokens: bool | None = field(
        default=None,
        metadata=toml_key(
            SWITCH, "Whether each request needs a token (hostler token). Default: if other "
            "machines reach it.",
        ),
    )  # fmt: skip
    insecure: bool = field(
        default=False,
        metadata=toml_key(SWITCH, "Let other machines reach it without TLS, or without tokens."),
    )
    hosts: tuple[str, ...] | None = field(
        default=None,
        metadata=toml_key(
            _NAMES, 'Host names that services may have, like "*.lab.example". Default: any on a '
            "personal daemon, none on a shared one.",
        ),
    )  # fmt: skip
    ports: tuple[str, ...] | None = field(
        default=None,
        metadata=toml_key(
            _RANGES, 'Ports there that services may have, like "8100-8199". Default: any on a '
            "personal daemon, none on a shared one.",
        ),
    )  # fmt: skip
    haproxy: str | None = field(
        default=None,
        metadata=toml_key(ABSOLUTE, "HAProxy on that host. Default: PATH and the usual folders."),
    )


def job_id_of(daemon_id: str) -> str:
    """How the process of a daemon's gateway is named on its host."""
    return f"gateway-{daemon_id[:16]}"


def gateway_of(daemon_id: str) -> str:
    """The id that processes of a gateway carry in the place of the daemon's, so that no plan treats
    them as unknown runs."""
    return f"{daemon_id}.gateway"


def forwards_id_of(daemon_id: str) -> str:
    """The same for its forwarder to replicas on other hosts."""
    return f"forwards-{daemon_id[:16]}"
