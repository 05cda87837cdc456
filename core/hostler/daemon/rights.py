"""Access rights: for each call, whether everybody, the owner of the run or operators may make it,
and the words of a refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from hostler.base.errors import ForbiddenError
from hostler.model.calls import Call, Caller
from hostler.model.config import DaemonConfig
from hostler.model.runs import Run

if TYPE_CHECKING:  # loaded where something is deployed
    from hostler.model.releases import Deployment


class For(Enum):
    """The users who may make a call."""

    EVERYBODY = "everybody"
    """All users who may use the daemon (`is_admitted`): the API's `Door` checks this before any
    call."""
    OWN_RUN = "own run"
    """Users on their own runs; the daemon's owner and root on all. Also reruns and retries: they
    reuse the environment, secrets included."""
    OWN_SERVICE = "own service"
    """The user who first deployed the service; the daemon's owner and root. A new service: all
    users."""
    OPERATORS = "operators"
    """Actions that affect all users: the daemon's owner, root, and the operators in the config."""
    OWNER = "owner"
    """The daemon's owner, and root."""


RIGHTS: Mapping[Call, For] = {
    Call.LOOK: For.EVERYBODY,
    Call.FILES: For.OWN_RUN,
    Call.SUBMIT: For.EVERYBODY,
    Call.NESTED: For.OWN_RUN,
    Call.UPLOAD: For.EVERYBODY,
    Call.CANCEL: For.OWN_RUN,
    Call.PRIORITY: For.OWN_RUN,
    Call.SCALE: For.OWN_RUN,
    Call.STOP: For.OWN_RUN,
    Call.EXTEND: For.OWN_RUN,
    Call.RETRY: For.OWN_RUN,
    Call.RERUN: For.OWN_RUN,
    Call.REMOVE: For.OWN_RUN,
    Call.KEEP: For.OWN_RUN,
    Call.UNKEEP: For.OWN_RUN,
    Call.RECONNECT: For.EVERYBODY,
    Call.DRAIN: For.OPERATORS,
    Call.UNDRAIN: For.OPERATORS,
    Call.CLEAN: For.OPERATORS,
    Call.ACKNOWLEDGE: For.OPERATORS,
    Call.UNACKNOWLEDGE: For.OPERATORS,
    Call.GC: For.OPERATORS,
    Call.DEPLOY: For.OWN_SERVICE,
    Call.AUDIT: For.OPERATORS,
    Call.SECRET_SET: For.EVERYBODY,
    Call.SECRET_REMOVE: For.EVERYBODY,
    Call.IMAGE_SEND: For.OPERATORS,
    Call.IMAGE_REMOVE: For.OPERATORS,
    Call.TOKEN_NEW: For.EVERYBODY,
    Call.TOKEN_REVOKE: For.EVERYBODY,
    Call.TOKEN_REVOKE_ANY: For.OPERATORS,
    Call.SSH_AGENT: For.OWNER,
    Call.SHUTDOWN: For.OWNER,
}

_DOING: Mapping[Call, str] = {
    Call.DRAIN: "draining a host",
    Call.UNDRAIN: "undraining a host",
    Call.CLEAN: "cleaning a host",
    Call.ACKNOWLEDGE: "acknowledging an alert",
    Call.UNACKNOWLEDGE: "undoing an acknowledgement",
    Call.GC: "freeing space",
    Call.AUDIT: "seeing the audit entries of other users",
    Call.IMAGE_SEND: "sending an image that no run of yours has built or used",
    Call.IMAGE_REMOVE: "removing an image",
    Call.TOKEN_REVOKE_ANY: "revoking a token of another user",
    Call.SSH_AGENT: "choosing the daemon's SSH agent",
    Call.SHUTDOWN: "stopping the daemon",
}


def is_admitted(settings: DaemonConfig, owner: int, caller: Caller, *, in_group: bool) -> bool:
    """Whether a user may use the daemon at all: its owner (a uid), root, and users that the config
    names, directly or by a group."""
    named = caller.user in settings.allow or caller.user in settings.operators
    return caller.uid in (0, owner) or named or in_group


@dataclass(frozen=True, slots=True)
class Rights:
    """The users with more rights than others on this daemon."""

    owner: Caller
    """The owner of the daemon. Root has the same rights."""
    operators: Collection[str] = ()
    """Names of users."""

    def authorize(
        self,
        caller: Caller,
        call: Call,
        run: Run | None = None,
        service: Deployment | None = None,
    ) -> None:
        """Check a call, and its run or service if it has one. Raises ForbiddenError."""
        if self.allows(caller, call, run, service):
            return
        if service is not None:
            raise ForbiddenError(
                f"service {service.name} belongs to {service.owner}",
                remedy=f"ask {service.owner}, or choose another name for yours",
            )
        raise self._refusal(caller, call, run)

    def allows(
        self,
        caller: Caller,
        call: Call,
        run: Run | None = None,
        service: Deployment | None = None,
    ) -> bool:
        """Whether the caller may make that call."""
        is_owner = caller.uid in (0, self.owner.uid)
        match RIGHTS[call]:
            case For.EVERYBODY:
                return True
            case For.OWN_RUN:
                return is_owner or (run is not None and caller.uid == run.uid)
            case For.OWN_SERVICE:
                return is_owner or service is None or caller.uid == service.uid
            case For.OPERATORS:
                return is_owner or caller.user in self.operators
            case For.OWNER:
                return is_owner

    def _refusal(self, caller: Caller, call: Call, run: Run | None) -> ForbiddenError:
        if run is not None and RIGHTS[call] is For.OWN_RUN:
            return ForbiddenError(
                f"run {run.run_id} belongs to {run.owner}",
                remedy=f"ask {run.owner}, or the daemon's owner",
            )
        if RIGHTS[call] is For.OPERATORS:
            return self._for_operators(caller, _DOING[call])
        return ForbiddenError(
            f"{_DOING.get(call, call)} is for the daemon's owner", remedy=f"Ask {self.owner.user}"
        )

    def _for_operators(self, caller: Caller, doing: str) -> ForbiddenError:
        named = ", ".join(self.operators)
        whom = f" and its operators ({named})" if named else ""
        return ForbiddenError(
            f"{doing} is for the daemon's owner{whom}",
            remedy=("ask one of them" if named else "ask them")
            + f"; the owner can name {caller.user} under [daemon] operators in config.toml",
        )
