"""What config.toml may say of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.base.keys import toml_key
from hostler.base.value_kinds import ABSOLUTE, SOME, SWITCH, TARGET, whole


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Where the gateway runs, and who reaches it."""

    host: str | None = field(
        default=None,
        metadata=toml_key(
            TARGET, "The host on which the gateway to services runs. Left out: there is none."
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
            SWITCH, "Whether each request needs a token (hostler token). Left out: if other "
            "machines reach it.",
        ),
    )  # fmt: skip
    insecure: bool = field(
        default=False,
        metadata=toml_key(SWITCH, "Let other machines reach it without TLS, or without tokens."),
    )
    haproxy: str | None = field(
        default=None,
        metadata=toml_key(ABSOLUTE, "HAProxy on that host. Left out: PATH and the usual places."),
    )


def job_id_of(daemon_id: str) -> str:
    """How the process of a daemon's gateway is named on its host."""
    return f"gateway-{daemon_id[:16]}"


def gateway_of(daemon_id: str) -> str:
    """The id that processes of a gateway carry in the place of the daemon's, so that no plan takes
    them for runs that nobody knows."""
    return f"{daemon_id}.gateway"


def forwards_id_of(daemon_id: str) -> str:
    """And that of its forwarder to replicas on other hosts."""
    return f"forwards-{daemon_id[:16]}"
