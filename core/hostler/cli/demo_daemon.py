"""Runs the daemon of `hostler demo`: how much of the lab's past passes before it opens, how
often its simulated hosts are asked, and its end with its parent.

It belongs to the process that started it: when its stdin ends, so does it, and the folder goes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from types import FrameType

from hostler.api.serve import serve_api
from hostler.base.paths import SOCKET_NAME
from hostler.client import Client
from hostler.daemon.host_monitor import HostMonitor
from hostler.daemon.serve import log_to_stderr, serve
from hostler.daemon.service import Service
from hostler.model.config import Config
from hostler.model.gateway_config import GatewayConfig
from hostler.model.timings import Timings
from hostler.sim import Pace, SimLab, demo_lab, outside
from hostler.sim.clock import LabClock
from hostler.sim.fleet import DRAINED, GATEWAY
from hostler.sim.traffic import Traffic

_BEFORE_S = 2400.0
"""Seconds of the lab's time that have passed when the demo opens."""
_BEFORE_REAL_S = 1.6
"""Real seconds that this takes on an idle machine."""
_PATIENCE_S = 60.0
"""Seconds to wait for the daemon's answers to submissions."""
_LAST_S = 2.0
"""Seconds from the request to stop to the end of the process, even if something hangs."""
_LOOK_S, _MANY_LOOK_S = 1.0, 2.0
_MANY_HOSTS = 20
_STEPS, _MANY_STEPS = 30, 8
"""Observations of each host before the demo opens."""
_POLL_S = 0.03
_SEEN_WITHIN_S = 1.0
_ALONE = threading.Event()
"""Set when the parent process has ended."""
_FAST = Pace(message=0.0005, create=0.001, start=0.001, remove=0.001, claim=0.0005, pulse=0.02)


def run(args: Namespace, slowed: float = 1.0) -> int:
    """Serve the lab until stopped; says "ready" on stdout once there is something to see.

    `slowed`: the factor by which other work slows this machine down.
    """
    folder = Path(args.folder)
    log_to_stderr(verbose=args.debug)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    try:
        clock = LabClock(args.speed, behind=_BEFORE_S, catch_up=_BEFORE_REAL_S * slowed)
        lab = demo_lab(hosts=args.hosts, gpus=args.gpus, seed=args.seed, clock=clock)
        demo = Demo(lab, speed=args.speed, seed=args.seed, runs=not args.no_runs)
        ending = lambda: _end_within(_LAST_S, folder)  # noqa: E731
        serve(
            demo.config, folder, folder / SOCKET_NAME, demo.serve, outside(lab), lab.clock,
            ending=ending,
        )  # fmt: skip
    finally:
        if _ALONE.is_set():  # else whoever started it wants to read the log
            shutil.rmtree(folder, ignore_errors=True)
    return 0


class Demo:
    """A simulated lab with a daemon, and users who submit to it."""

    def __init__(self, lab: SimLab, *, speed: float, seed: int, runs: bool) -> None:
        self._lab, self._seed, self._runs = lab, seed, runs
        looks = _MANY_LOOK_S if len(lab.hosts) > _MANY_HOSTS else _LOOK_S
        # Looks are made in real time and grow old in the lab's, which first runs fast.
        host = GATEWAY if GATEWAY in lab.hosts else next(iter(lab.hosts))
        made = replace(
            lab.config(look_interval=looks / max(1.0, speed)), gateway=GatewayConfig(host=host)
        )
        usual = made.policy.fresh_for * max(1.0, speed)
        self._live = replace(made, policy=replace(made.policy, fresh_for=usual))
        patient = replace(made.policy, fresh_for=2 * _BEFORE_S)
        self.config: Config = replace(made, policy=patient)

    async def serve(
        self, service: Service, path: Path, *, group: int | None, ready: Callable[[], None]
    ) -> None:
        """Serve the API, and run the lab meanwhile."""
        lives: list[asyncio.Task[None]] = []

        def begin() -> None:
            ready()
            lives.append(asyncio.create_task(self._run(service, path), name="demo"))

        try:
            await serve_api(service, path, group=group, ready=begin)
        finally:
            for task in lives:
                task.cancel()

    async def _run(self, service: Service, path: Path) -> None:
        client, gateway = Client(str(path), timeout=_PATIENCE_S), self.config.gateway.host
        traffic = Traffic(client, self._lab.clock, self._seed, gateway)
        opens_at = self._lab.clock.caught_up_at
        try:
            if self._runs:
                drained = DRAINED if DRAINED in self._lab.hosts else None
                before = asyncio.create_task(asyncio.to_thread(traffic.before, opens_at, drained))
            await self._let_time_pass(service, opens_at)
            if self._runs:
                await before
            _say_ready()
            if self._runs:
                await asyncio.to_thread(traffic.go_on)
        finally:
            traffic.stop()

    async def _let_time_pass(self, service: Service, opens_at: float) -> None:
        """Run the time before the demo opens at high speed; from then on the lab's own pace."""
        lab, pace = self._lab, self._lab.pace
        context, timings = service.context, service.context.timings
        monitors = context.monitors.values()
        lab.pace, context.timings = _FAST, _hurried(timings)
        step = _BEFORE_REAL_S / (_STEPS if len(monitors) <= _MANY_HOSTS else _MANY_STEPS)
        while (left := opens_at - lab.clock.now()) > 0:
            _look(monitors)
            await asyncio.sleep(min(step, lab.clock.real(left)))
        lab.pace, context.timings = pace, timings
        await _until_seen(monitors, opens_at)
        context.config = self._live


def _hurried(timings: Timings) -> Timings:
    """A gateway is asked in real time, as hosts are, while the lab's first runs fast."""
    gateway = replace(timings.gateway, poll=_POLL_S)
    return replace(timings, gateway_every=_POLL_S, no_gateway=_POLL_S, gateway=gateway)


def _look(monitors: Iterable[HostMonitor]) -> None:
    for monitor in monitors:
        monitor.look_soon()


async def _until_seen(monitors: Collection[HostMonitor], since: float) -> None:
    """Wait until every host was observed since then, at most as long as a user would accept."""
    ends = time.monotonic() + _SEEN_WITHIN_S
    while time.monotonic() < ends:
        looks = [monitor.host.look for monitor in monitors]
        if all(look is not None and look.asked_at >= since for look in looks):
            return
        _look(monitors)
        await asyncio.sleep(0.02)


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def _follow_parent() -> None:
    """End when the process at the other end of stdin ends, for any reason."""
    while os.read(0, 4096):
        pass
    _ALONE.set()
    os.kill(os.getpid(), signal.SIGTERM)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _end_within(seconds: float, folder: Path) -> None:
    def end() -> None:
        time.sleep(seconds)
        if _ALONE.is_set():
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=end, name="end", daemon=True).start()
