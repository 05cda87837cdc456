"""The audit log: records every changing call durably, counts refusals (how many are written down
each day), and shows entries to authorised users.
"""

from __future__ import annotations

import logging
import math

from hostler.base.errors import ForbiddenError, StateError
from hostler.base.text import clean_line
from hostler.daemon.context import Context
from hostler.model.calls import AuditEntry, Call, Caller
from hostler.model.records import AuditFilter

_log = logging.getLogger("hostler.daemon")
REFUSED = "refused"
"""The call name of an entry about a refused call."""
_DAY_S = 86400.0
CONNECT = "connect"
"""The call name for all refused requests of unauthorised users."""
_MOST_STRANGERS = 64
"""Most unauthorised users whose refusals are counted separately in a day: one person may have
thousands of uids (user namespaces)."""
_MOST_OF_MEMBERS = 1000
"""The same for authorised users and their calls."""
_OTHERS = (-1, "")


class Audit:
    """The audit table. A call's changes to the database are stored together with its entry, in one
    commit; for changes elsewhere (on hosts, in files, to the daemon itself) the entry is stored
    first. Refusals are only counted, because any user can cause any number of them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._strangers = RefusalCounts(_MOST_STRANGERS)
        self._members = RefusalCounts(_MOST_OF_MEMBERS)

    async def note(self, who: Caller, call: Call, arguments: dict[str, object]) -> None:
        """Append the entry of a call that the daemon is about to carry out outside the database."""
        await self._context.store.add_audit(self.entry(who, call, arguments))

    def entry(self, who: Caller, call: str, arguments: dict[str, object]) -> AuditEntry:
        """The entry of a call, to be stored with the changes that the call makes."""
        return AuditEntry(
            at=self._context.clock.now(), uid=who.uid, user=who.user, call=call, arguments=arguments
        )

    async def refused(self, who: Caller, call: str, why: str, run: str | None) -> None:
        """Note a refusal: the first of a user and call in a day, the tenth, the hundredth. Where it
        cannot be stored, the log says so: the refusal stands."""
        counts = self._strangers if call == CONNECT else self._members
        counted = counts.count(who.uid, call, self._context.clock.now())
        if counted is None:
            return
        said = {"call": call, "why": clean_line(why, 300), **counted}
        if run is not None:
            said["run"] = run
        try:
            await self._context.store.add_audit(self.entry(who, REFUSED, said))
        except StateError as error:
            _log.warning("a refusal is not in the audit table: %s", error)

    async def list(self, who: Caller, wanted: AuditFilter, limit: int) -> list[AuditEntry]:
        """Entries, the newest first. Raises ForbiddenError for entries of other users."""
        if not self._context.rights.allows(who, Call.AUDIT):
            if wanted.user not in (None, who.user):
                raise ForbiddenError(
                    "the audit entries of other users are for the daemon's owner and operators",
                    remedy="Leave out --user to see your own",
                )
            wanted = wanted.of(who.uid)
        return await self._context.store.audit(wanted, limit)


class RefusalCounts:
    """Decides which refusals are stored: few of any number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._since = -math.inf
        self._counts: dict[tuple[int, str], int] = {}

    def count(self, uid: int, call: str, now: float) -> dict[str, object] | None:
        """What to store of this refusal: how many of this user and call there were today (`times`).
        None: store nothing. Users and calls beyond `most` share one count."""
        if not 0 <= now - self._since < _DAY_S:
            self._since, self._counts = now, {}
        key = (uid, call)
        if key not in self._counts and len(self._counts) >= self._most:
            key = _OTHERS
        self._counts[key] = times = self._counts.get(key, 0) + 1
        if not _is_power_of_ten(times):
            return None
        return {"times": times, "with_others": True} if key == _OTHERS else {"times": times}


def _is_power_of_ten(number: int) -> bool:
    return set(str(number)[1:]) <= {"0"} and str(number)[0] == "1"
