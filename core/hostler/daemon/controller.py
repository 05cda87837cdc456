"""The loop: look, plan, act, publish; actions that fail are retried and their failure is logged
here. Looking is the monitors' work, so a step never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, assert_never

from hostler.base.errors import (
    HostError,
    HostlerError,
    StateError,
    Superseded,
    Unreachable,
)
from hostler.daemon.apply import Applier, is_slow_start
from hostler.daemon.context import Context
from hostler.decide.index import PlanCache
from hostler.decide.plan import plan
from hostler.model.events import FAILED, EventKind
from hostler.model.plans import (
    Action,
    Conclude,
    EndRun,
    EndService,
    Finish,
    MarkReady,
    Plan,
    Record,
    Release,
    Remove,
    Resume,
    SendWarning,
    Snapshot,
    Start,
    Stop,
    TakeStep,
)

if TYPE_CHECKING:
    from hostler.model.releases import ServiceState

_log = logging.getLogger("hostler.daemon")


_COMPLAINTS = 1000
_TELLING = (Finish, Conclude, Remove, EndRun)
"""Actions whose effect is published before they end: their end does not wake watchers."""


class Controller:
    """Makes a snapshot, plans, and carries out the actions concurrently, one per key."""

    def __init__(self, context: Context, applier: Applier) -> None:
        self._context = context
        self._applier = applier
        self._news = asyncio.Event()
        self._tasks: dict[str, tuple[Action, asyncio.Task[None]]] = {}
        self._paused: dict[str, float] = {}
        self._complaints: dict[str, tuple[str, float]] = {}
        self._plan = Plan(actions=(), reasons={})
        self._plan_cost_s = 0.0
        self.plan_cache = PlanCache()
        """Cached results of plans about open runs; views may use it too."""
        context.wake = self.wake

    @property
    def plan(self) -> Plan:
        """The latest plan, with the reasons of all waiting stages."""
        return self._plan

    def wake(self) -> None:
        """Plan again soon: something changed."""
        self._news.set()

    def snapshot(self) -> Snapshot:
        """All data that a decision may depend on, as of now."""
        context, standing = self._context, self._context.standing
        now = context.clock.now()
        was_restored = standing.restored_at is not None
        hosts = [host.name for host in context.config.hosts]
        unsure = frozenset(standing.unmerged(hosts) if was_restored else ())
        self._paused = {key: until for key, until in self._paused.items() if until > now}
        return Snapshot(
            now=now,
            daemon_id=context.daemon_id,
            hosts=context.hosts(),
            runs=context.run_cache.runs(),
            in_flight=frozenset((*self._tasks, *self._paused, *context.opening)),
            in_setup=frozenset(self._applier.starter.setups.attempts),
            refused=_later(self._applier.starter.refused, context.unseen),
            ailing=dict(context.health.ailing),
            lately=dict(self._applier.usage.ended_at),
            policy=context.config.policy,
            begun_at=context.begun_at,
            earlier=frozenset(context.earlier),
            ended=dict(context.ended),
            kept_on_host=context.config.limits.kept_on_host,
            keeps_most=context.keeps_most,
            strays={attempt_id: stray for attempt_id, (_, stray) in context.strays.items()},
            store_full=context.store_full,
            restored=frozenset(standing.restored_runs) if unsure else frozenset(),
            unsure=unsure,
            halted=standing.halted() if standing.superseded_by is not None else "",
            images=context.images,
            services=(services := _services(context) if context.services else ()),
            at_gateway=dict(context.at_gateway),
            unheard=_unheard(services),
            near=context.near,
        )

    async def run(self) -> None:
        """Plan again and again until cancelled; running work continues."""
        try:
            while True:
                self._news.clear()
                self._try_step()
                await self._wait()
        finally:
            await self._end_tasks()

    def _try_step(self) -> None:
        """Do one step. A plan that fails must not end the daemon: running work is still monitored
        and shown."""
        try:
            self.step()
        except Exception:
            _log.exception("planning failed: this is a bug in Hostler, please report it")

    def step(self) -> Plan:
        """Plan once and start the planned actions."""
        begun = time.thread_time()  # what others do on this machine does not count
        snapshot = self.snapshot()
        decided = plan(snapshot, self.plan_cache)
        self._plan_cost_s = time.thread_time() - begun
        self._plan = decided
        for action in decided.actions:
            if action.key not in self._tasks and action.key not in self._paused:
                self._begin(action)
        if snapshot.runs:
            # Reasons are worked out when they are read; to compare them here would read them all.
            self._context.hub.publish()
        return decided

    async def interrupt_starts(self, run_id: str) -> None:
        """Stop waiting for slow parts of starts (pulls) of a cancelled run.

        Only for those: if the daemon stopped waiting for the start on the host, it would not know
        whether the workload starts, and could free GPUs that the workload is about to use.
        """
        preparing = self._applier.starter.preparing
        tasks = [
            task
            for action, task in self._tasks.values()
            if is_slow_start(action, run_id, preparing)
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.wake()

    def _begin(self, action: Action) -> None:
        self._applier.announce(action)
        task = asyncio.create_task(self._carry_out(action), name=action.key)
        self._tasks[action.key] = (action, task)

    async def _carry_out(self, action: Action) -> None:
        told = False
        try:
            await self._applier.apply(action)
            told = isinstance(action, _TELLING)
        except Superseded as error:
            self._pause(action)
            await self._context.superseded(error)
        except Unreachable as error:
            self._pause(action)
            if self._is_news(action, str(error)):
                _log.info("%s waits: %s", action.key, error)
        except HostlerError as error:
            await self._complain(action, error)
        except Exception:
            _log.exception("%s failed: this is a bug in Hostler, please report it", action.key)
            self._pause(action)
        finally:
            self._tasks.pop(action.key, None)
            if not told:
                self.wake()

    def _pause(self, action: Action) -> None:
        self._paused[action.key] = self._context.clock.now() + self._context.timings.retry_action

    async def _complain(self, action: Action, error: HostlerError) -> None:
        self._pause(action)
        context, said = self._context, str(error)
        at_state = isinstance(error, StateError)
        if not self._is_news(action, "the state" if at_state else said):
            return  # how much a full disk has left is another number each time
        _log.warning("%s: %s", action.key, error)
        with contextlib.suppress(StateError):
            kind = "state" if at_state else action.key.partition(":")[0]
            host = None if at_state else _host_of(action)
            host = error.host if isinstance(error, HostError) else host
            event = context.event(EventKind(kind + FAILED), said, severity="warning", host=host)
            await context.tell(event)

    def _is_news(self, action: Action, said: str) -> bool:
        """Whether this message is new for the action; remembers it as reported."""
        now = self._context.clock.now()
        before, at = self._complaints.get(action.key, ("", 0.0))
        if said == before and now - at < self._context.timings.repeat_complaint:
            return False
        self._complaints[action.key] = said, now
        while len(self._complaints) > _COMPLAINTS:
            del self._complaints[next(iter(self._complaints))]
        return True

    async def _wait(self) -> None:
        """Wait until there is news, and at least ten times as long as a plan takes."""
        least = self._plan_cost_s * 10 if self._plan_cost_s > 0.005 else 0.0
        if least:
            await asyncio.sleep(least)
        now = self._context.clock.now()
        wakes = [until - now for until in self._paused.values()]
        if self._plan.wake_at is not None:
            wakes.append(self._plan.wake_at - now)
        timeout = max(0.0, min([self._context.timings.plan_every, *wakes]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()

    async def _end_tasks(self) -> None:
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._applier.followers.close()


def _services(context: Context) -> tuple[ServiceState, ...]:
    from hostler.daemon.gateway_looks import with_gateway  # loaded where something was deployed

    return with_gateway(context)


def _unheard(services: Iterable[ServiceState]) -> frozenset[str]:
    """Runs of releases whose gateway does not answer."""
    silent = (s for s in services if s.gateway is None and not s.is_direct)
    return frozenset(release.run_id for state in silent for release in state.releases)


def _host_of(action: Action) -> str | None:
    """The host that an action sends requests to: a failure there counts as the host's event,
    whatever the kind of error."""
    match action:
        case Start() | Resume() | Finish() | Conclude() | SendWarning() | MarkReady():
            return action.attempt.host
        case Stop() | Remove() | Release():
            return action.host
        case Record() | EndService() | TakeStep() | EndRun():
            return None
        case _:
            assert_never(action)


def _later(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """The later of two times, for each host."""
    return {host: max(one.get(host, 0.0), other.get(host, 0.0)) for host in {*one, *other}}
