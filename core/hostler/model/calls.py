"""Callers of the daemon, and the names of its calls in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller, as the kernel reports it (SO_PEERCRED)."""

    uid: int
    user: str


class Call(StrEnum):
    """The kinds of requests of users. The values are those of the audit table; they never
    change."""

    LOOK = "look"
    """Read data that every user of the daemon may see; it changes nothing."""
    FILES = "files"
    """Read, list or mark as fetched the files of a run."""
    SUBMIT = "submit"
    NESTED = "nested"
    """Submit a run from a stage of another one."""
    UPLOAD = "upload"
    CANCEL = "cancel"
    PRIORITY = "priority"
    SCALE = "scale"
    """Change how many replicas a service has."""
    STOP = "stop"
    """Stop a service."""
    EXTEND = "extend"
    """Let a service run longer than its `until`."""
    RETRY = "retry"
    RERUN = "rerun"
    REMOVE = "remove"
    KEEP = "keep"
    UNKEEP = "unkeep"
    RECONNECT = "reconnect"
    """Try to reach a host again at once."""
    DRAIN = "drain"
    UNDRAIN = "undrain"
    CLEAN = "clean"
    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    GC = "gc"
    DEPLOY = "deploy"
    """Open a release of a service, or undo one."""
    AUDIT = "audit"
    """See the requests of others, and which of all runs is the newest."""
    SECRET_SET = "secret-set"  # noqa: S105
    SECRET_REMOVE = "secret-rm"  # noqa: S105
    IMAGE_SEND = "image-send"
    IMAGE_REMOVE = "image-rm"
    TOKEN_NEW = "token-new"  # noqa: S105
    TOKEN_REVOKE = "token-revoke"  # noqa: S105
    TOKEN_REVOKE_ANY = "token-revoke-any"  # noqa: S105
    """See and revoke tokens of others."""
    SSH_AGENT = "ssh-agent"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A mutating call: who, when, what. Arguments are redacted before."""

    at: float
    uid: int
    user: str
    call: str
    arguments: Mapping[str, object] = field(default_factory=dict)
