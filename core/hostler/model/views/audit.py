"""The audit of the daemon's calls, as the API gives it."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.model.calls import AuditEntry

AuditView = AuditEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Entries of the audit table, the newest first."""

    entries: tuple[AuditView, ...] = ()
