"""The audit of calls to the daemon, in the API."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.model.calls import AuditEntry

AuditView = AuditEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Entries of the audit table, newest first."""

    entries: tuple[AuditView, ...] = ()
