"""Resolves `last`: the newest run of the caller."""

from __future__ import annotations

from contextvars import ContextVar

from hostler.base.errors import NotFoundError
from hostler.daemon.context import Context
from hostler.model.calls import Call, Caller
from hostler.model.records import RunFilter

ASKING: ContextVar[Caller | None] = ContextVar("asking", default=None)
"""Who sent the request that is being answered; None: the daemon itself asks."""


async def newest_run(context: Context) -> str:
    """The id of the newest run of the caller; of any for who sees to all of them and has none.

    Raises NotFoundError.
    """
    who = ASKING.get()
    sees_all = who is None or context.rights.allows(who, Call.AUDIT)
    own = RunFilter(owner=who.user) if who is not None else RunFilter()
    for wanted in (own, RunFilter()) if sees_all else (own,):
        if found := await context.store.list_runs(wanted, 1):
            return found[0].run_id
    said = "there are no runs yet" if sees_all else "you have no runs yet"
    raise NotFoundError(said, remedy="start one: hostler run -- CMD")
