"""One service with the values that its rules ask for: old and new replicas, who serves, what is
drained, verified or overdue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from hostler.base.units import format_duration
from hostler.decide.releases.ledger import Ledger, ledger_of, new_slots, old_slots
from hostler.decide.releases.situation import Replica, Situation
from hostler.model.releases import Release, ReleaseState, Server, ServerMode, Slot, Strategy


@dataclass(frozen=True)
class Case:
    """One service, for one decision. Each value is computed once."""

    situation: Situation

    @cached_property
    def ledger(self) -> Ledger:
        """The sum of the stored steps."""
        return ledger_of(self.situation)

    @cached_property
    def present(self) -> dict[Slot, Replica]:
        """Slot -> the replica that was placed there and has not ended."""
        return {replica.slot: replica for replica in self.situation.replicas}

    @property
    def opened(self) -> Release:
        """The open release. Use it only if there is one."""
        assert self.situation.opened is not None
        return self.situation.opened

    @property
    def state(self) -> ReleaseState:
        """The state of the open release."""
        return self.opened.state

    @property
    def goes_back(self) -> bool:
        """Whether the previous release takes over again."""
        return self.situation.opened is not None and self.state is ReleaseState.FAILED

    @cached_property
    def old(self) -> tuple[Slot, ...]:
        """All slots of the live release."""
        return tuple(old_slots(self.situation))

    @cached_property
    def new(self) -> tuple[Slot, ...]:
        """All slots of the open release."""
        return tuple(new_slots(self.opened)) if self.situation.opened is not None else ()

    @cached_property
    def beyond(self) -> tuple[Slot, ...]:
        """Surplus running slots of the live release: a user has just scaled it down."""
        live = self.situation.live
        found = (s for s in self.present if live is not None and s.release == live.number)
        return tuple(sorted((s for s in found if s not in self.old), reverse=True))

    @property
    def target(self) -> tuple[Slot, ...]:
        """The slots that serve in the end."""
        if self.situation.opened is None:
            return self.old
        return self.old if self.goes_back else self.new

    @property
    def source(self) -> tuple[Slot, ...]:
        """The slots that have to end."""
        return self.new if self.goes_back else self.old

    def server(self, replica: Replica) -> Server | None:
        """The replica's server in the gateway's look; None: it has none."""
        look = self.situation.gateway
        return look.servers.get(replica.attempt_id) if look is not None else None

    def gets_requests(self, replica: Replica) -> bool:
        """Whether it gets requests and, as far as known, answers them."""
        if self.situation.is_direct:
            return replica.is_healthy
        server = self.server(replica)
        return server is not None and server.is_up and server.mode is ServerMode.READY

    @cached_property
    def serving(self) -> frozenset[Slot]:
        """Slots that get requests, answer them, and are not draining."""
        wanted = self.ledger.wanted
        return frozenset(
            s for s, r in self.present.items() if s in wanted and self.gets_requests(r)
        )

    def may_serve(self, slot: Slot) -> bool:
        """Whether a slot belongs to the release that serves, or to one that takes over."""
        if slot in self.old:
            return True
        return slot in self.new and self.state is ReleaseState.SHIFTING

    def is_out(self, replica: Replica) -> bool:
        """Whether the gateway sends it no requests, by a look that is newer than its drain."""
        if self.situation.is_direct:
            return True
        look = self.situation.gateway
        if look is None or look.asked_at <= self.drained_at(replica.slot):
            return False
        server = look.servers.get(replica.attempt_id)
        return server is None or server.mode is ServerMode.MAINT

    def drained_at(self, slot: Slot) -> float:
        """Since when a slot is drained. For a slot of no current release: since the current release
        was opened."""
        found = self.ledger.drained.get(slot)
        if found is not None:
            return found
        situation = self.situation
        release = situation.opened or situation.live
        return max(release.at if release is not None else 0.0, situation.begun_at)

    def is_verified(self, slot: Slot, host: str) -> bool:
        """Whether the image of a slot's release was verified on a host."""
        return host in self.situation.verified.get(slot.release, frozenset())

    @property
    def is_single(self) -> bool:
        """Whether the service has one replica, which another one replaces in its slot. The service
        then does not answer for a time, and the deploy has announced that."""
        recreate = self.situation.opened is not None and self.opened.strategy is Strategy.RECREATE
        return recreate and len(self.old) == 1 and len(self.new) == 1

    def overdue(self, slots: tuple[Slot, ...]) -> Iterator[tuple[Slot, str]]:
        """Slots past their deadline to answer, each with the problem."""
        for slot in slots:
            if slot in self.ledger.wanted and (why := self._is_overdue(slot)):
                yield slot, why

    def due_at(self, slot: Slot) -> float | None:
        """The deadline for a wanted slot to answer; None: it answers already, or the time is
        unknown."""
        situation, replica = self.situation, self.present.get(slot)
        if replica is not None and (replica.is_healthy or not replica.is_heard):
            return None
        before, waits = self.ledger.after.get(slot), situation.waits.get(slot)
        if before in self.present or (before is None and waits is None):
            return None  # it waits for another one's end or a GPU, and has not started
        freed = situation.ended.get(before, 0.0) if before is not None else 0.0
        since = max(waits or 0.0, freed, self.ledger.since.get(slot, 0.0))
        return since + situation.startup_of(slot.release)

    def _is_overdue(self, slot: Slot) -> str:
        due, replica = self.due_at(slot), self.present.get(slot)
        if due is None or self.situation.now < due:
            return ""
        limit = format_duration(self.situation.startup_of(slot.release))
        if slot not in self.situation.waits:
            return f"replica {slot.index} could not be started within {limit}"
        where = f" on {replica.host}" if replica is not None else ""
        said = f": {replica.said}" if replica is not None and replica.said else ""
        return f"replica {slot.index}{where} did not answer for {limit}{said}"
