"""A service that gets one release after the other in a world of slow hosts, lost actions, silent
gateways and a daemon that is killed between any two steps.

`ReleaseLab` plays it against `decide.releases`. What is stored, what is really so on the hosts and
at the gateway, and what the daemon knows of it are kept apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from hostler.decide.releases import (
    Decision,
    Replica,
    Situation,
    decide,
)
from hostler.decide.releases.effects import Effects, End
from hostler.decide.releases.ledger import most, old_slots
from hostler.model.releases import (
    Deployment,
    GatewayLook,
    Lock,
    NewStep,
    Release,
    ReleaseState,
    Server,
    ServerMode,
    Slot,
    Step,
    StepKind,
    Strategy,
)

STARTUP, DRAIN = 200.0, 20.0


@dataclass
class Real:
    """A replica on a host."""

    slot: Slot
    host: str
    launched_at: float
    is_healthy: bool = False
    has_answered: bool = False


@dataclass(frozen=True)
class Intent:
    """An attempt, as it is stored."""

    slot: Slot
    host: str
    launched_at: float | None = None


@dataclass
class RealServer:
    """What the gateway has of a replica."""

    mode: ServerMode
    is_up: bool = False
    sessions: int = 0


@dataclass
class Memory:
    """What a killed daemon forgets."""

    begun_at: float
    looks: dict[str, tuple[float, dict[str, bool]]] = field(default_factory=dict)
    """Host -> when it was asked, and which attempts were healthy there."""
    gateway: GatewayLook | None = None
    routed_at: float = -1.0
    draining: dict[str, float] = field(default_factory=dict)
    tasks: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    """Actions under way, by key."""


class ReleaseLab:
    """The service, its world and its daemon."""

    def __init__(self, rng: Random, *, is_kind: bool) -> None:
        self.rng, self.now, self.is_kind = rng, 1000.0, is_kind
        """In a kind world nothing that served breaks by itself."""
        self.free = {f"h{i}": rng.randint(1, 3) for i in range(3)}
        self.deployment = Deployment("digits", 1000, "ana", rng.randint(1, 3))
        self.releases: dict[int, Release] = {}
        self.steps: list[Step] = []
        self.true = 0.0
        """Seconds that have passed, whatever the daemon's clock says."""
        self.written: list[tuple[float, NewStep]] = []
        self.real: dict[str, Real] = {}
        self.attempts: dict[str, Intent] = {}
        """Those that have not ended, as stored."""
        self.answered: set[str] = set()
        self.waits: dict[Slot, float] = {}
        self.ended: dict[Slot, float] = {}
        self.leases: dict[Slot, str] = {}
        """Slot -> the host where a GPU is its own."""
        self.servers: dict[str, RealServer] = {}
        self.silent: set[str] = set()
        self.is_gateway_silent = False
        self.broken: set[int] = set()
        """Releases that never answer."""
        self.cancelled: set[int] = set()
        self.undelivered = 0
        self.count = 0
        self.earlier = 0
        self.memory = Memory(self.now)

    def begin(self) -> None:
        """A first release serves."""
        free = dict(self.free)
        self.open()
        self.broken.clear()
        self.calm_down()
        used = Counter(known.host for known in self.attempts.values())
        self.free = {host: max(0, n - used[host]) for host, n in free.items()}

    # What people do

    def open(self) -> None:
        """Deploy another release."""
        if self.opened is not None:
            return
        number, wanted = len(self.releases) + 1, self.rng.choice([1, 2, 3, 3])
        recreate = self.rng.random() < 0.5
        strategy = Strategy.RECREATE if recreate else Strategy.SURGE
        if number > 6:
            return
        self.releases[number] = Release(
            "digits", number, f"r{number}", None, strategy, ReleaseState.DELIVERING, wanted, "ana",
            1000, self.now, 0 if recreate else self.rng.choice([1, 1, 2]), self.deployment.live,
        )  # fmt: skip
        lock = Lock(number, "ana", 1000, self.now)
        self.deployment = replace(self.deployment, lock=lock)
        self.undelivered = self.rng.randint(0, 2)
        if self.rng.random() < 0.2:
            self.broken.add(number)

    def cancel(self) -> None:
        """Stop the open release."""
        if self.opened is not None and self.rng.random() < 0.2:
            self.cancelled.add(self.opened.number)

    def scale(self) -> None:
        """Want another number of replicas."""
        if self.opened is None and self.live is not None:
            self.deployment = replace(self.deployment, replicas=self.rng.randint(1, 3))

    # What is stored

    @property
    def opened(self) -> Release | None:
        return self.releases[self.deployment.lock.number] if self.deployment.lock else None

    @property
    def live(self) -> Release | None:
        return self.releases[self.deployment.live] if self.deployment.live is not None else None

    def store(self, new: NewStep) -> None:
        """A step with all that it changes, in one transaction."""
        values = {name: getattr(new, name) for name in NewStep.__slots__}
        self.steps.append(Step(**values, seq=len(self.steps) + 1))
        self.written.append((self.true, new))
        if new.kind is not StepKind.STATE:
            return
        assert new.state is not None
        self.releases[new.number] = replace(self.releases[new.number], state=new.state)
        if new.state is ReleaseState.LIVE:
            left = [k for k in self.attempts.values() if k.slot.release != new.number]
            assert {known.host for known in left} <= self.silent, f"{left} of before are left"
            if self.live is not None:
                retired = replace(self.live, state=ReleaseState.RETIRED)
                self.releases[retired.number] = retired
            wanted = self.releases[new.number].replicas
            self.deployment = replace(self.deployment, live=new.number, replicas=wanted, lock=None)
        if new.state is ReleaseState.RESTORED:
            self.deployment = replace(self.deployment, lock=None)

    # What the daemon does

    def situation(self) -> Situation:
        """All that it knows."""
        of = self.opened or self.live
        steps = tuple(s for s in self.steps if of is not None and s.number == of.number)
        opened = self.opened
        return Situation(
            self.now, self.deployment, self.live, opened, steps, tuple(self._replicas()),
            None if self.is_gateway_silent else self.memory.gateway,
            verified={n: frozenset(self.free) for n in self.releases},
            draining=self.memory.draining, is_routing=self._is_routing(),
            not_delivered="it is being built" if self.undelivered else "",
            trouble="ana stopped it" if opened and opened.number in self.cancelled else "",
            startups=dict.fromkeys(self.releases, STARTUP),
            drains=dict.fromkeys(self.releases, DRAIN),
            waits=self.waits, ended=self.ended,
            begun_at=self.memory.begun_at, earlier=self.earlier,
        )  # fmt: skip

    def _is_routing(self) -> bool:
        look = self.memory.gateway
        is_old = look is not None and look.asked_at <= self.memory.routed_at
        return is_old or any(key == "route" for key, _ in self.memory.tasks)

    def _replicas(self) -> list[Replica]:
        found = []
        for attempt_id, known in self.attempts.items():
            host = known.host
            asked, seen = self.memory.looks.get(host, (-1.0, {}))
            launched = known.launched_at
            is_healthy = launched is not None and asked > launched and seen.get(attempt_id, False)
            is_heard = host not in self.silent and host in self.memory.looks
            answered = attempt_id in self.answered
            found.append(
                Replica(
                    known.slot,
                    attempt_id,
                    host,
                    launched,
                    answered,
                    is_healthy,
                    is_heard,
                    host in self.silent,
                )
            )
        return found

    def decide(self) -> Decision:
        """Look at all, write the step down, then begin what was allowed before it."""
        made = decide(self.situation())
        if made.step is not None:
            self.store(made.step)
        elif made.effects is not None:
            self._begin(made.effects)
        return made

    def _there(self) -> set[Slot]:
        return {known.slot for known in self.attempts.values()}

    def _check_end(self, end: End) -> None:
        """By all that the daemon knows, another replica answers requests."""
        wanted = self.deployment.live is not None and self.deployment.replicas
        if not wanted or self._is_single() or not end.replica.is_healthy:
            return
        opened = self.opened
        if opened is not None and opened.state is ReleaseState.FAILED:
            return  # what failed gets no requests, and those before it need its GPUs
        look = self.memory.gateway
        others = look.servers if look is not None else {}
        assert any(
            s.is_up and s.mode is ServerMode.READY
            for attempt_id, s in others.items()
            if attempt_id != end.replica.attempt_id
        ), f"{end} answers, and no other replica does"

    def _begin(self, effects: Effects) -> None:
        for end in effects.ends:
            self._check_end(end)
        busy = {key for key, _ in self.memory.tasks}
        there = self._there()
        for slot in sorted(effects.slots - there):
            self._place(slot, (slot, *effects.chains.get(slot, ())))
        for attempt_id, known in list(self.attempts.items()):
            if known.launched_at is None and f"start:{attempt_id}" not in busy:
                self._resume(busy, attempt_id, known, effects)
        for end in effects.ends:
            attempt_id = end.replica.attempt_id
            self._task(busy, f"stop:{attempt_id}", partial(self._stop, attempt_id))
        if effects.servers is not None:
            wanted = dict(effects.servers)
            self._task(busy, "route", lambda: self._route(wanted))
        named = {s for chain in effects.chains.values() for s in chain}
        kept = effects.slots | named | there
        if self.memory.looks.keys() >= self.free.keys():
            for slot in [s for s in self.leases if s not in kept]:
                self.free[self.leases.pop(slot)] += 1

    def _task(self, busy: set[str], key: str, do: Callable[[], None]) -> None:
        if key not in busy:
            self.memory.tasks.append((key, do))

    def work(self) -> None:
        """One action under way is carried out."""
        if self.memory.tasks:
            index = self.rng.randrange(len(self.memory.tasks))
            self.memory.tasks.pop(index)[1]()

    def _place(self, slot: Slot, chain: tuple[Slot, ...]) -> None:
        """The intent, which is durable at once."""
        own = next((s for s in chain if s in self.leases), None)
        host = self.leases[own] if own is not None else self._any_host()
        if host is None or host in self.silent or host not in self.memory.looks:
            return
        if own is None:
            self.free[host] -= 1
        else:
            del self.leases[own]
        self.leases[slot] = host
        self.count += 1
        attempt_id = f"r{slot.release}-serve.{slot.index}-{self.count}"
        self.attempts[attempt_id] = Intent(slot, host)

    def _resume(self, busy: set[str], attempt_id: str, known: Intent, effects: Effects) -> None:
        if known.slot in effects.slots:
            self._task(busy, f"start:{attempt_id}", lambda: self._launch(attempt_id))
        elif known.host not in self.silent and attempt_id not in self.real:
            del self.attempts[attempt_id]
            self.ended[known.slot] = self.now

    def _launch(self, attempt_id: str) -> None:
        known = self.attempts.get(attempt_id)
        if known is None or known.host in self.silent:
            return
        self.real[attempt_id] = Real(known.slot, known.host, self.now)
        self.attempts[attempt_id] = replace(known, launched_at=self.now)
        self.waits.setdefault(known.slot, self.now)
        self._check_number(known.slot)

    def _any_host(self) -> str | None:
        return next((h for h, n in self.free.items() if n > 0 and h not in self.silent), None)

    def _stop(self, attempt_id: str) -> None:
        real = self.real.get(attempt_id)
        if real is None or real.host in self.silent:
            return
        served, sent = self.serves(), self.is_sent_to(attempt_id)
        assert not sent, f"{attempt_id} is stopped, and the gateway sends requests there"
        del self.real[attempt_id]
        self._check_promise(served, f"the stop of {attempt_id}")

    def _route(self, wanted: Mapping[str, ServerMode]) -> None:
        if self.is_gateway_silent:
            return
        self.memory.routed_at = self.now
        gone = dict.fromkeys(a for a in self.servers if a not in wanted)
        changes = [*wanted.items(), *gone.items()]
        self.rng.shuffle(changes)  # in whatever order the gateway is asked
        for attempt_id, mode in changes:
            served = self.serves()
            if mode is None:
                self._take_out(attempt_id)
            else:
                self._set(attempt_id, mode)
            self._check_promise(served, f"{attempt_id} is {mode}")

    def _set(self, attempt_id: str, mode: ServerMode) -> None:
        server = self.servers.setdefault(attempt_id, RealServer(ServerMode.DRAIN))
        if mode is ServerMode.READY and server.mode is not ServerMode.READY:
            real = self.real.get(attempt_id)
            assert real is None or real.has_answered, f"{attempt_id} has not answered yet"
            assert real is None or self._may_be_sent_to(real.slot), f"{attempt_id} is too early"
        server.mode = mode

    def _may_be_sent_to(self, slot: Slot) -> bool:
        state = self.releases[slot.release].state
        return state not in (
            ReleaseState.DELIVERING, ReleaseState.STARTING, ReleaseState.READY,
        )  # fmt: skip

    def _take_out(self, attempt_id: str) -> None:
        real, server = self.real.get(attempt_id), self.servers[attempt_id]
        server.mode = ServerMode.MAINT
        if real is not None and server.sessions and server.is_up:
            since = self._drained_since(real.slot)
            assert self.true >= since + DRAIN, f"sessions of {attempt_id} are cut too early"
        if not server.sessions or real is None:
            del self.servers[attempt_id]

    def _drained_since(self, slot: Slot) -> float:
        since = None
        for at, step in self.written:
            if step.slot == slot:
                is_drain = step.kind is StepKind.DRAIN
                since = (at if since is None else since) if is_drain else None
        assert since is not None, f"{slot} was never drained"
        return since

    # What happens by itself

    def look(self) -> None:
        """A host answers."""
        host = self.rng.choice(list(self.free))
        if host in self.silent:
            return
        here = {a: r for a, r in self.real.items() if r.host == host}
        self.memory.looks[host] = (self.now, {a: r.is_healthy for a, r in here.items()})
        self.answered |= {a for a, r in here.items() if r.has_answered}
        for real in here.values():
            if real.is_healthy:
                self.waits[real.slot] = self.now
        for attempt_id in [a for a, known in self.attempts.items() if known.host == host]:
            if attempt_id not in self.real and self.attempts[attempt_id].launched_at is not None:
                self.ended[self.attempts.pop(attempt_id).slot] = self.now

    def ask_gateway(self) -> None:
        """The gateway answers."""
        if not self.is_gateway_silent:
            found = {a: Server(s.mode, s.is_up, s.sessions) for a, s in self.servers.items()}
            self.memory.gateway = GatewayLook(self.now, found)
            known = self.memory.draining
            self.memory.draining = {
                a: known.get(a, self.now) for a, s in found.items() if s.mode is ServerMode.DRAIN
            }

    def check(self) -> None:
        """The gateway's own checks."""
        for attempt_id, server in self.servers.items():
            real = self.real.get(attempt_id)
            server.is_up = real is not None and real.is_healthy
            if not server.is_up:
                server.sessions = 0

    def answer(self) -> None:
        """A replica has started up."""
        new = [r for r in self.real.values() if not r.is_healthy]
        if new and (real := self.rng.choice(new)).slot.release not in self.broken:
            real.is_healthy = real.has_answered = True

    def talk(self) -> None:
        """Sessions begin and end."""
        for attempt_id, server in self.servers.items():
            if self.is_sent_to(attempt_id) and self.rng.random() < 0.5:
                server.sessions += 1
            elif server.sessions and self.rng.random() < 0.5:
                server.sessions -= 1

    def die(self) -> None:
        """A replica ends by itself; in a kind world none that has answered."""
        for attempt_id, real in list(self.real.items()):
            if not (self.is_kind and real.has_answered) and self.rng.random() < 0.5:
                del self.real[attempt_id]
                return

    def silence(self) -> None:
        """A host, or the gateway, does not answer the daemon."""
        if self.rng.random() < 0.4:
            self.is_gateway_silent = True
        else:
            self.silent.add(self.rng.choice(list(self.free)))

    def heal(self) -> None:
        """They answer again."""
        self.is_gateway_silent = False
        self.silent.clear()

    def intrude(self) -> None:
        """Somebody takes a free GPU, or gives one back."""
        host = self.rng.choice(list(self.free))
        self.free[host] = max(0, self.free[host] + self.rng.choice([-1, 1]))

    def deliver(self) -> None:
        """The image comes nearer."""
        self.undelivered = max(0, self.undelivered - 1)

    def tick(self) -> None:
        """Time passes."""
        passed = self.rng.choice([0.1, 1.0, 2.0, 10.0])
        self.now, self.true = self.now + passed, self.true + passed

    def kill(self) -> None:
        """The daemon is killed and starts again: what was under way is lost. Its clock may have
        been put back."""
        if self.rng.random() < 0.2:
            self.now = max(1000.0, self.now - 30.0)
        self.memory = Memory(self.now)
        self.earlier = len(self.steps)

    # What must be so

    def is_sent_to(self, attempt_id: str) -> bool:
        """The gateway sends requests to a replica, which answers them."""
        real, server = self.real.get(attempt_id), self.servers.get(attempt_id)
        is_ready = server is not None and server.mode is ServerMode.READY
        return is_ready and real is not None and real.is_healthy

    def serves(self) -> bool:
        """Some request would be answered now."""
        return any(self.is_sent_to(attempt_id) for attempt_id in self.servers)

    def _check_promise(self, served: bool, what: str) -> None:
        """What the daemon does never ends the last answer, but where it said so before."""
        wanted = self.deployment.live is not None and self.deployment.replicas
        if not (self.is_kind and served and wanted) or self._is_single():
            return
        assert self.serves(), f"nobody answers after {what}"

    def _is_single(self) -> bool:
        opened = self.opened
        if opened is None or opened.strategy is not Strategy.RECREATE:
            return False
        return opened.replicas == 1 and self.deployment.replicas == 1

    def _check_number(self, slot: Slot) -> None:
        """Never more replicas than wanted, with those of the surge."""
        opened, situation = self.opened, self.situation()
        now = {r.number for r in (opened, self.live) if r is not None}
        live, replicas = self.deployment.live, self.deployment.replicas

        def beyond(slot: Slot) -> bool:
            return slot.release == live and slot.index >= replicas

        running = [r for r in self.real.values() if r.slot.release in now and not beyond(r.slot)]
        assert sum(r.slot == slot for r in running) <= 1, f"{slot} runs twice"
        if opened is not None:
            assert len(running) <= most(situation, opened), f"{len(running)} replicas run"

    def calm_down(self) -> None:
        """The world is kind again: a release ends, and exactly what is wanted runs and serves."""
        self.free = dict.fromkeys(self.free, 6)
        for _ in range(400):
            self.heal()
            self.deliver()
            self.now, self.true = self.now + 2.0, self.true + 2.0
            for _ in range(3 * len(self.free)):
                self.look()
            self.answer_all()
            self.check()
            self.ask_gateway()
            for server in self.servers.values():
                server.sessions = 0
            made = self.decide()
            while self.memory.tasks:
                self.work()
            self.now += 0.1
            if made.step is None and self.opened is None and self._is_settled():
                return
        raise AssertionError(f"never settled: {self.deployment} {made.reason} {self.real}")

    def answer_all(self) -> None:
        """All that can do."""
        for real in self.real.values():
            if real.slot.release not in self.broken:
                real.is_healthy = real.has_answered = True

    def _is_settled(self) -> bool:
        wanted = set(old_slots(self.situation()))
        running = [real.slot for real in self.real.values()]
        ready = {self.attempts[a].slot for a in self.servers if self.is_sent_to(a)}
        return sorted(running) == sorted(wanted) and ready == wanted


def moves(lab: ReleaseLab) -> dict[str, tuple[int, Callable[[], object]]]:
    """Every kind of step, with how often it happens."""
    return {
        "open": (3, lab.open), "cancel": (1, lab.cancel), "scale": (1, lab.scale),
        "decide": (16, lab.decide), "work": (16, lab.work), "look": (14, lab.look),
        "ask_gateway": (8, lab.ask_gateway), "check": (8, lab.check),
        "answer": (8, lab.answer), "talk": (5, lab.talk), "die": (2, lab.die),
        "silence": (1, lab.silence), "heal": (3, lab.heal), "intrude": (1, lab.intrude),
        "deliver": (4, lab.deliver), "tick": (9, lab.tick), "kill": (2, lab.kill),
    }  # fmt: skip


NAMES = [n for n, (weight, _) in moves(ReleaseLab(Random(0), is_kind=True)).items()
         for _ in range(weight)]  # fmt: skip
