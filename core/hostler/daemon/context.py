"""What every action of the daemon works with, handed round as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hostler.daemon.book import Book
from hostler.daemon.clock import Clock
from hostler.daemon.copy_format import Signer
from hostler.daemon.hub import Hub
from hostler.daemon.keeper import HostKeeper
from hostler.errors import Unreachable
from hostler.model.config import Config
from hostler.model.records import NewEvent
from hostler.model.runs import Attempt, Phase
from hostler.ports import HostLink, Runtime
from hostler.store.content import ContentStore
from hostler.store.database import Store


@dataclass(slots=True)
class Context:
    """The daemon's parts. Filled by `assemble`, used by everything that acts."""

    config: Config
    daemon_id: str
    signer: Signer
    """Signs what hosts keep of runs."""
    store: Store
    content: ContentStore
    book: Book
    hub: Hub
    clock: Clock
    keepers: dict[str, HostKeeper]
    runtimes: Mapping[str, Runtime]
    wake: Callable[[], None] = lambda: None
    progress: dict[str, tuple[str, int, int | None]] = field(default_factory=dict)
    """Attempt id -> what goes on during a slow start: (what, bytes done, bytes in all)."""
    held_up: dict[str, str] = field(default_factory=dict)
    """Attempt id -> why its start did not go on when that was last tried."""
    unseen: dict[str, float] = field(default_factory=dict)
    """Host -> a time up to which looks may lack leases of attempts that have ended: those hold
    their GPUs until they are released, and no attempt holds them any more."""

    def link(self, host: str) -> HostLink:
        """The link to a host. Raises Unreachable where the config does not name it any more."""
        keeper = self.keepers.get(host)
        if keeper is None:
            raise Unreachable(host, "no longer in the config", remedy="put it back into the config")
        return keeper.link

    def runtime(self, attempt: Attempt) -> Runtime:
        """The runtime an attempt was placed with."""
        return self.runtimes[attempt.runtime]

    async def save_attempt(self, attempt: Attempt, event: NewEvent | None = None) -> None:
        """Write an attempt's transition, then show it."""
        await self.store.update_attempt(attempt, event)
        if attempt.phase is not Phase.STARTING:
            self.held_up.pop(attempt.attempt_id, None)
        if attempt.phase.is_final and attempt.gpus:
            self._wait_for_leases(attempt)
        self.book.put_attempt(attempt)
        self.hub.publish()

    def _wait_for_leases(self, attempt: Attempt) -> None:
        """A stage may be shorter than the time between two looks. Then the last look is of before
        its claim, and would show its GPUs free."""
        claimed = attempt.launched_at if attempt.launched_at is not None else self.clock.now()
        self.unseen[attempt.host] = max(claimed, self.unseen.get(attempt.host, 0.0))
        keeper = self.keepers.get(attempt.host)
        if keeper is not None and (
            keeper.host.look is None or keeper.host.look.asked_at <= claimed
        ):
            keeper.look_soon()

    async def tell(self, event: NewEvent) -> None:
        """Write an event of its own, then show it."""
        await self.store.add_event(event)
        self.hub.publish()

    def event(
        self,
        kind: str,
        message: str,
        attempt: Attempt | None = None,
        *,
        severity: str = "info",
        run_id: str | None = None,
        attempt_id: str | None = None,
        host: str | None = None,
        gpu: str | None = None,
        actor: str | None = None,
    ) -> NewEvent:
        """An event at this moment, about an attempt or what else is given."""
        return NewEvent(
            at=self.clock.now(),
            kind=kind,
            message=message,
            severity=severity,
            run_id=attempt.run_id if attempt else run_id,
            stage=attempt.stage if attempt else None,
            attempt_id=attempt.attempt_id if attempt else attempt_id,
            host=attempt.host if attempt else host,
            gpu=gpu,
            actor=actor,
        )
