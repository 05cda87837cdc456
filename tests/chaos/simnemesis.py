"""Random faults on a service that gets one release after the other, in a simulated lab with a
gateway: minutes of a real one in seconds.

    python -m tests.chaos.simnemesis --minutes 3 --seed 1

Releases, faults and moments come from the seed. Each segment is a lab of its own, in which in the
end all is healed, and its history is checked. In a kind segment nothing breaks that served, so each
request has to be answered. Exit 1 if there was a violation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostler.base.errors import HostlerError
from hostler.daemon.deploys import Deploys, Wanted, deploys_of
from hostler.daemon.releases import releases_of
from hostler.daemon.submit import Submission
from hostler.model.calls import Caller
from hostler.model.releases import ServiceState, StepKind, Strategy
from hostler.sim.parts import SimWork
from hostler.store.releases import Releases
from tests.chaos.checker import Violation, of_services
from tests.chaos.history import (
    AttemptEnd,
    Fault,
    Final,
    GrantSeen,
    History,
    ServiceEnd,
    SlotGivenBack,
    Unanswered,
)
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simgateway import SimGateway
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

ANA = Caller(1000, "ana")
HOST, NAME, GPUS = "gpu1", "digits", 5
STEPS, REST_S = 30, 60.0
POINTS = (
    "before_step", "after_step", "before_ready", "after_intent", "after_claim", "after_create",
    "after_bind", "after_start", "after_verdict", "before_record", "before_release",
    "after_server_added", "after_server_drained", "after_server_ready", "after_server_removed",
    "before_gateway_write", "after_gateway_write", "before_gateway_reload",
    "after_gateway_reload", "before_gateway_start", "after_gateway_start", "before_opening",
    "after_opening", "after_submit",
)  # fmt: skip
FILE = """
name = "digits"
[stages.serve]
kind = "service"
command = "serve"
health = "/"
replicas = COUNT
startup = "STARTUPs"
drain = "0.3s"
resources = { gpus = 1 }
env = { SIM = "SAYS" }
"""


@dataclass
class Play:
    """One lab, and what happens there."""

    daemon: SimDaemon
    gateway: SimGateway
    chance: random.Random
    is_kind: bool
    history: History = field(default_factory=History)

    # What people do

    async def deploy(self) -> None:
        """A release that is good, slow, or never answers."""
        says, startup = self.chance.choice(
            [("ready=0.05", 30)] * 3 + [("ready=0.4", 30), ("ready=1000", 0.4)]
        )
        text = FILE.replace("SAYS", f"seconds=36000 {says}").replace("STARTUP", str(startup))
        text = text.replace("COUNT", str(self.chance.choice((1, 2, 2, 3))))
        strategy = self.chance.choice((None, None, Strategy.RECREATE))
        with self._tried():
            await self.deploys.deploy(Wanted(Submission(pipeline=text), strategy=strategy), ANA)

    async def rollback(self) -> None:
        """Undo the open release, or bring an earlier one back."""
        with self._tried():
            await self.deploys.rollback(NAME, None, ANA)

    async def train(self) -> None:
        """Somebody else wants a GPU for a moment, or all of them."""
        for _ in range(self.chance.choice((1, 1, 2 * GPUS))):
            with self._tried():
                await self.daemon.submit(stage("train", gpus=1, env=sim("seconds=0.5")))

    # Faults under which each request is to be answered

    async def kill_soon(self) -> None:
        """The daemon dies at a failpoint, when it comes there."""
        point = self.chance.choice(POINTS)
        self.gateway.arm(f"{point}@{self.chance.choice((1, 1, 2))}")

    async def kill(self) -> None:
        """The daemon dies now."""
        self.gateway.kill(self.daemon)

    async def gateway_dies(self) -> None:
        """kill -9; nobody is answered until there is another one."""
        self.gateway.end()

    async def gateway_freezes(self) -> None:
        """It stands still for a while."""
        self.gateway.is_frozen = True
        await self._pause(0.6)
        self.gateway.is_frozen = False

    async def port_taken(self) -> None:
        """Its next start, or reload, is refused for a while."""
        self.gateway.is_port_taken = True
        await self._pause(0.4)
        self.gateway.is_port_taken = False

    async def cut(self) -> None:
        """The daemon does not reach the host."""
        faults_on(self.gateway.lab, HOST).cut()
        await self._pause(0.5)
        faults_on(self.gateway.lab, HOST).heal_quietly()

    async def lose_reply(self) -> None:
        """It is done, and the daemon does not hear of it."""
        verb = self.chance.choice(("claim", "job.create", "job.start", "line", "job.signal"))
        faults_on(self.gateway.lab, HOST).lose_reply(verb)

    # Those that break what served

    async def crash(self) -> None:
        """A replica ends by itself."""
        running = [work for work in self._works() if work.running]
        if running:
            host = self.gateway.lab.host(HOST)
            host.end(self.chance.choice(running), host.clock.now(), 1)

    async def reboot(self) -> None:
        """The host, with its gateway."""
        begun = self.gateway.lab.clock.now()
        faults_on(self.gateway.lab, HOST).reboot()
        self.gateway.end()
        self.history.faults.append(Fault(begun, self.gateway.lab.clock.now(), "power", HOST))

    async def gpu_lost(self) -> None:
        """A GPU falls off the bus, and is back later."""
        index, faults = self.chance.randrange(GPUS), faults_on(self.gateway.lab, HOST)
        begun = self.gateway.lab.clock.now()
        faults.lose_gpu(index)
        await self._pause(0.4)
        faults.mend_gpu(index)
        self.history.faults.append(Fault(begun, self.gateway.lab.clock.now(), "gpu lost", HOST))

    # The play

    @property
    def deploys(self) -> Deploys:
        """Of the daemon of now."""
        return deploys_of(self.daemon.daemon.service)

    @property
    def service(self) -> ServiceState | None:
        """As the daemon knows it."""
        return self.daemon.daemon.context.services.get(NAME)

    def _tried(self) -> contextlib.suppress:
        """It may be refused, and the daemon may die of it."""
        return contextlib.suppress(HostlerError, asyncio.CancelledError)

    async def _pause(self, most: float) -> None:
        await asyncio.sleep(self.chance.uniform(0, most))

    def _works(self) -> list[SimWork]:
        """Replicas of all releases."""
        works = self.gateway.lab.host(HOST).works.values()
        return [work for work in works if "-serve." in work.attempt_id]

    def is_promised(self) -> bool:
        """Whether what the daemon does may never end the last answer."""
        state = self.service
        if not self.is_kind or state is None or state.live is None:
            return False
        opened, wanted = state.opened, state.deployment.replicas
        if opened is not None and opened.strategy is Strategy.RECREATE and wanted == 1:
            return opened.replicas > 1
        return wanted > 0

    async def one_step(self) -> str:
        """One thing of chance; its name."""
        moves: list[tuple[int, Callable[[], Any]]] = [
            (8, self.deploy), (3, self.rollback), (4, self.train), (5, self.kill_soon),
            (2, self.kill), (1, self.gateway_dies), (2, self.gateway_freezes),
            (1, self.port_taken), (2, self.cut), (3, self.lose_reply),
        ]  # fmt: skip
        if not self.is_kind:
            moves += [(4, self.crash), (1, self.reboot), (2, self.gpu_lost)]
        (move,) = self.chance.choices([m for _, m in moves], [weight for weight, _ in moves])
        await move()
        await self._pause(0.3)
        await self.revive()
        return str(move.__name__)

    async def revive(self) -> None:
        """Another daemon, where the last one is dead."""
        while self.gateway.died.is_set():
            await self.gateway.revive(self.daemon)

    async def rest(self) -> ServiceEnd:
        """Heal all, and wait until nothing changes any more."""
        self.gateway.disarm()
        ends = time.monotonic() + REST_S
        while not self._rests() and time.monotonic() < ends:
            await self.revive()
            await asyncio.sleep(0.05)
        state = self.service
        wanted = state.deployment.replicas if state is not None else 0
        running = tuple(work.attempt_id for work in self._works() if work.running)
        problem = "" if self._rests() else self._situation()
        runs = {
            g.attempt_id.partition("-")[0] for g in self.history.grants if "-serve." in g.attempt_id
        }
        given_back = await slots_given_back(releases_of(self.daemon.daemon.context), NAME)
        return ServiceEnd(NAME, wanted, running, problem, tuple(sorted(runs)), given_back)

    def _rests(self) -> bool:
        state = self.service
        if self.gateway.died.is_set() or (state is not None and state.opened is not None):
            return False
        wanted = state.deployment.replicas if state is not None else 0
        running = [work for work in self._works() if work.running]
        return len(running) == wanted and (not wanted or self.gateway.answers(NAME))

    def _situation(self) -> str:
        state, plan = self.service, self.daemon.daemon.controller.plan
        opened = state.opened if state is not None else None
        said = f"release {opened}: {plan.releases.get(NAME)}; gateway {self.gateway.servers}"
        problem = self.daemon.daemon.service.gateways.problem
        return f"{said}, {problem}; {self.daemon.situation()}"

    def watch_starts(self) -> None:
        """Note which GPUs each thing that is started gets."""
        referee, true = self.gateway.lab.referee, self.gateway.lab.referee.started

        def started(host: str, work: SimWork, *more: Any) -> None:
            at = self.gateway.lab.clock.now()
            grant = GrantSeen(at, host, work.ref, work.attempt_id, work.gpus, ())
            self.history.grants.append(grant)
            true(host, work, *more)

        referee.started = started  # type: ignore[assignment, method-assign]

    async def end(self) -> list[Violation]:
        """Rest, and check all that happened."""
        service, store = await self.rest(), self.daemon.daemon.context.store
        runs = {grant.attempt_id.split("-")[0] for grant in self.history.grants}
        attempts = [a for run_id in runs for a in (await store.get_run(run_id)).attempts]
        ends = (
            AttemptEnd(
                a.attempt_id, a.run_id, a.stage, a.number, a.phase.value, a.host, a.exit_code,
                None, a.cause, a.launched_at, a.finished_at, a.placed_at, a.ready_at,
            )
            for a in attempts
        )  # fmt: skip
        now = self.gateway.lab.clock.now()
        self.history.unanswered += [Unanswered(now, NAME, v) for v in self.gateway.violations]
        self.history.final = Final(now, {}, tuple(ends), (), services=(service,))
        found = of_services(self.history, self.history.final)
        return found + [Violation("I1", text) for text in self.gateway.lab.referee.violations]


async def slots_given_back(store: Releases, name: str) -> tuple[SlotGivenBack, ...]:
    """By the steps that are stored: those without a successor."""
    releases = {release.number: release for release in await store.releases(name, 1000)}
    steps = [step for number in releases for step in await store.steps(name, number)]
    return tuple(
        SlotGivenBack(releases[step.slot.release].run_id, f"serve.{step.slot.index}", step.at)
        for step in steps
        if step.kind is StepKind.DRAIN and step.successor is None and step.slot is not None
    )


async def segment(folder: Path, seed: str, steps: int = STEPS) -> tuple[list[str], list[Violation]]:
    """One lab: what happened, and what was violated."""
    chance = random.Random(seed)
    gateway, done = SimGateway(small_lab(1, gpus=GPUS), HOST), []
    async with gateway.daemon(folder) as daemon:
        play = Play(daemon, gateway, chance, chance.random() < 0.6)
        play.watch_starts()
        gateway.is_promised = play.is_promised
        with gateway.kill_at(daemon):
            for _ in range(steps):
                done.append(await play.one_step())
            found = await play.end()
    return done, found


def main(argv: list[str]) -> int:
    """Segments until the time is over; how many violations there were, at most 100."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.simnemesis")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args(argv)
    ends, number, count = time.monotonic() + options.minutes * 60, 0, 0
    while time.monotonic() < ends:
        number += 1
        seed = f"{options.seed}.{number}"
        with tempfile.TemporaryDirectory() as folder:
            done, found = asyncio.run(segment(Path(folder), seed))
        for violation in found:
            count += 1
            print(
                f"{seed}: {violation.invariant}: {violation.text}\n  {' '.join(done)}", flush=True
            )
    print(f"seed {options.seed}: {number} segments of {STEPS} steps, {count} violations")
    return min(count, 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
