"""A real daemon (store, planner, controller, monitors) on a simulated lab, without its API.

    lab = small_lab()
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.05")))
        run = await daemon.finished(run_id)

The daemon's own pauses are as short as the lab's (`FAST`); a test may pass other `timings`, or
change some while it runs (`daemon.set_timings(alerts_every=0.05)`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from hostler.daemon.assemble import Daemon, assemble
from hostler.model.calls import Caller
from hostler.model.config import Config
from hostler.model.events import EventKind
from hostler.model.hosts import HostCondition
from hostler.model.pipelines import Stage
from hostler.model.plans import Policy
from hostler.model.records import NewEvent
from hostler.model.runs import Attempt, Run
from hostler.model.timings import Timings
from hostler.ports import Clock, Outside
from hostler.sim import SimLab, outside
from tests.support.daemons.simlab import faults_on
from tests.support.values import planning

ANA = Caller(uid=1000, user="ana")
OWNER = Caller(uid=os.getuid(), user="owner")
"""Whose daemon it is: may close and open hosts."""
FAST = Timings(
    plan_every=0.05,
    retry_action=0.05,
    follow_again=0.02,
    connect_pause=0.03,
    record_every=0.5,
    gpu_healthy_for=0.2,
)
"""The daemon's own pauses, as short as the lab's."""
GUARD_S = 50.0
"""Seconds after which a wait has failed. It only ends what hangs: nothing is to take so long."""
_numbers = itertools.count(1)


def sim(text: str) -> dict[str, str]:
    """The environment of a stage that does this."""
    return {"SIM": text}


@dataclass
class SetClock:
    """A clock that is set by so many seconds against another."""

    clock: Clock
    by: float = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.clock.now() + self.by


class Bugs(logging.Handler):
    """What the daemon calls a bug of its own: its log alone has it, since it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.counts = True
        """Not while a daemon is killed: nothing works any more then."""

    def emit(self, record: logging.LogRecord) -> None:
        if self.counts and "bug in Hostler" in record.msg:
            self.found.append(self.format(record))


class SimDaemon:
    """A daemon that can be stopped in order, or killed and begun again. At the end of the block it
    has met no bug of its own, unless the test takes it out of `bugs.found`."""

    def __init__(
        self,
        lab: SimLab,
        state: Path,
        *,
        change: Callable[[Config], Config] = lambda config: config,
        timings: Timings = FAST,
        world: Callable[[Callable[[str], Path]], Outside] | None = None,
    ) -> None:
        self.lab, self.state, self.timings = lab, state, timings
        self._world = world or outside(lab)
        self.clock = SetClock(lab.clock)
        """Of this daemon, or of the next one that begins."""
        # Real seconds that only a fault may use up: a busy machine must not pass for a silent host.
        config = lab.config(look_interval=0.05, look_timeout=30.0, connect_timeout=30.0)
        self.config = change(replace(config, policy=Policy(fresh_for=30.0, release_patience=0.1)))
        self._daemon: Daemon | None = None
        self._task: asyncio.Task[None] | None = None
        self.bugs = Bugs()

    @property
    def daemon(self) -> Daemon:
        """The parts of the one that runs now."""
        assert self._daemon is not None
        return self._daemon

    async def __aenter__(self) -> SimDaemon:
        logging.getLogger("hostler").addHandler(self.bugs)
        await self.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger("hostler").removeHandler(self.bugs)
        await self.stop()
        await self.lab.close()
        if error is None:
            assert not self.bugs.found, "\n".join(self.bugs.found)

    async def begin(self) -> None:
        """Assemble and run."""
        self.bugs.counts = True
        self._daemon = await assemble(
            self.config, self.state, self._world, self.clock, timings=self.timings
        )
        self._task = asyncio.create_task(self._daemon.run(), name="daemon")

    def set_timings(self, **changes: float) -> None:
        """Change some, also of the daemon that runs."""
        self.timings = replace(self.timings, **changes)  # type: ignore[arg-type]
        if self._daemon is not None:
            self._daemon.context.timings = self.timings
            for monitor in self._daemon.context.monitors.values():
                monitor.timings = self.timings

    async def stop(self) -> None:
        """As `hostler daemon stop` does."""
        daemon, task, self._daemon, self._task = self._daemon, self._task, None, None
        if daemon is None or task is None:
            return
        task.cancel()
        await asyncio.wait((task,), timeout=GUARD_S)
        assert task.done(), f"the daemon does not stop: {asyncio.all_tasks()}"
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await daemon.close()

    async def kill(self) -> None:
        """As `kill -9`: nothing more is written from this moment on, whatever is under way; what
        was handed to the disk before is. What was asked of hosts already still happens."""
        self.bugs.counts = False
        writer = self.daemon.context.store._writer
        self.stop_writing()
        await self.stop()
        await asyncio.to_thread(writer._thread.join)
        writer._connection.close()

    def stop_writing(self) -> None:
        """The moment of a kill; `kill` has to follow."""
        writer = self.daemon.context.store._writer
        if not writer._closed:
            writer._closed = True
            writer._queue.put(None)

    async def wait_silent(self, host: str) -> None:
        """Cut a host, and let minutes pass for the daemon: it has not heard of any host since, and
        those that are not cut are heard again at once. To wait for a short time instead would take
        a busy machine for a silent host. A daemon that has just begun has no connection either,
        so what counts is that it knows of the silence: the minutes that pass are part of it."""
        faults_on(self.lab, host).cut()
        monitor = self.daemon.context.monitors[host]
        silent = HostCondition.UNREACHABLE
        await self.until(lambda: monitor.host.condition is silent, f"{host} is heard")
        self.clock.by += 600.0

    async def next_plan(self) -> None:
        """Until the daemon has planned on what is so now."""
        controller = self.daemon.controller
        before = controller.plan
        controller.wake()
        await self.until(lambda: controller.plan is not before, "it does not plan")

    async def submit(self, *stages: Stage, run_id: str | None = None, **fields: Any) -> str:
        """A run of these stages, durable when this returns; its id."""
        context = self.daemon.context
        name = run_id or f"r{os.getpid():x}{next(_numbers):04x}"
        run = planning.run(name, *stages, **{"submitted_at": context.clock.now(), **fields})
        event = NewEvent(at=run.submitted_at, kind=EventKind.RUN_SUBMITTED, message="", run_id=name)
        await context.store.create_run(run, "", [event])
        context.run_cache.add(run)
        context.wake()
        return name

    async def cancel(self, run_id: str) -> None:
        """As a person does."""
        await self.daemon.service.cancel(run_id, ANA)

    async def run(self, run_id: str) -> Run:
        """As the database has it."""
        return await self.daemon.context.store.get_run(run_id)

    async def finished(self, run_id: str, timeout: float = GUARD_S) -> Run:
        """The run, once it has its outcome."""
        await self.until(lambda: self._open(run_id) is None, f"{run_id} does not end", timeout)
        return await self.run(run_id)

    async def attempt(
        self,
        run_id: str,
        wanted: Callable[[Attempt], bool] = lambda attempt: True,
        timeout: float = GUARD_S,
    ) -> Attempt:
        """The first attempt of an open run that is as wanted, once there is one."""

        def find() -> Attempt | None:
            run = self._open(run_id)
            return next((a for a in run.attempts if wanted(a)), None) if run else None

        await self.until(lambda: find() is not None, f"no such attempt of {run_id}", timeout)
        found = find()
        assert found is not None
        return found

    async def until(self, true: Callable[[], bool], why: str, timeout: float = GUARD_S) -> None:
        """Until something holds, looked at whenever the daemon publishes and every 10 ms."""
        ends = time.monotonic() + timeout
        hub = self.daemon.context.hub
        while not true():
            if time.monotonic() > ends:
                raise AssertionError(f"{why}; {self.situation()}")
            await hub.wait(hub.version, 0.01)

    async def clean(self, timeout: float = GUARD_S) -> None:
        """Until no workload and no lease is left anywhere."""
        await self.until(lambda: not self.lab.left(), "something is left", timeout)

    async def kinds(self, run_id: str) -> list[str]:
        """The kinds of a run's events, in order."""
        return [event.kind for event in await self.daemon.context.store.events(0, run_id)]

    def situation(self) -> str:
        """What a person would want to know when it hangs."""
        context = self.daemon.context
        open_attempts = [
            f"{a.attempt_id} {a.phase} on {a.host}" for a in context.run_cache.open_attempts()
        ]
        reasons = {
            key: self.daemon.controller.plan.reasons[key].sentence
            for key in self.daemon.controller.plan.reasons
        }
        hosts = [
            f"{k.host.name} {k.host.condition} {k.host.problem}" for k in context.monitors.values()
        ]
        return f"open {open_attempts}; waits {reasons}; hosts {hosts}; left {self.lab.left()}"

    def _open(self, run_id: str) -> Run | None:
        return self.daemon.context.run_cache.find(run_id)


def told(run: Run) -> str:
    """How its attempts ended, for messages of tests."""
    return "; ".join(f"{a.attempt_id} {a.phase} {a.cause} {a.detail}" for a in run.attempts)
