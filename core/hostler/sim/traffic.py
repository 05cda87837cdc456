"""Decides which runs the demo submits and when (at most 12 open), through the ordinary client;
`pipelines` has the files."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hostler.base.errors import ConflictError, HostlerError
from hostler.base.json_types import JsonTable
from hostler.client import Client
from hostler.sim import pipelines
from hostler.sim.clock import LabClock

_log = logging.getLogger("hostler.sim")
_MOST_OPEN = 12
"""Runs. While more are open, new ones wait."""


@dataclass(frozen=True, slots=True)
class Order:
    """A submission to be made."""

    after: float
    """Seconds of the lab's time after the previous order."""
    pipeline: str
    params: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    deploy: bool = False
    """As a release of a service."""


def history(seed: int) -> list[Order]:
    """The half hour before the demo opens: enough for runs to compare, and for failed ones."""
    chance = random.Random(seed)  # noqa: S311
    tuned = [(0.003, 0.81), (0.001, 0.88), (0.0003, 0.92)]
    finetunes = [
        Order(
            300.0,
            pipelines.FINETUNE,
            {"lr": f"{rate:g}", "steps": "200", "accuracy": f"{score + chance.random() / 50:.3f}"},
            f"learning rate {rate:g}",
        )
        for rate, score in tuned
    ]
    return [
        Order(0.0, pipelines.CHAT, {"model": "chat-7b"}, deploy=True),
        Order(10.0, pipelines.EMBED, deploy=True),
        Order(20.0, pipelines.NOTEBOOK, title="exploring the data"),
        Order(30.0, pipelines.FLAKY, {"steps": "60"}, "does it fit on one card?"),
        finetunes[0],
        Order(0.0, pipelines.CHAT, {"model": "chat-7b-v2"}, deploy=True),
        Order(120.0, pipelines.SHARDS, {"seconds": "40"}),
        finetunes[1],
        Order(120.0, pipelines.SWEEP, {"steps": "100"}),
        finetunes[2],
        Order(60.0, pipelines.TTS),
    ]


def opening() -> list[Order]:
    """Orders submitted just before the demo opens."""
    return [
        Order(0.0, pipelines.CHAT, {"model": "chat-7b-v2", "max_len": "8192"}, deploy=True),
        Order(0.0, pipelines.PRETRAIN),
        Order(0.0, pipelines.FINETUNE, {"lr": "0.0002", "accuracy": "0.935"}, "after the clean-up"),
        Order(0.0, pipelines.SWEEP),
        Order(0.0, pipelines.SHARDS),
    ]


def endless(seed: int) -> Iterator[Order]:
    """The later runs, endlessly."""
    chance = random.Random(seed)  # noqa: S311
    while True:
        kinds = ["finetune", "finetune", "sweep", "shards", "shards", "flaky", "big", "chat"]
        kind = chance.choice(kinds)
        pause = chance.uniform(8.0, 30.0)
        yield _order(kind, pause, chance)


def _order(kind: str, pause: float, chance: random.Random) -> Order:
    if kind == "finetune":
        score = round(chance.uniform(0.82, 0.95), 3)
        rate = chance.choice(["0.0001", "0.0003", "0.001"])
        steps = str(chance.randrange(50, 180))
        return Order(
            pause, pipelines.FINETUNE, {"lr": rate, "steps": steps, "accuracy": str(score)}
        )
    if kind == "sweep":
        return Order(pause, pipelines.SWEEP, {"steps": str(chance.randrange(30, 90))})
    if kind == "shards":
        return Order(pause, pipelines.SHARDS, {"seconds": str(chance.randrange(8, 30))})
    if kind == "chat":
        wrong = {"says": "exit=1 ready=1e9 seconds=8"} if chance.random() < 0.3 else {}
        longest = {"max_len": chance.choice(["4096", "8192", "16384"])}
        return Order(pause, pipelines.CHAT, {**longest, **wrong}, deploy=True)
    if kind == "flaky":
        return Order(pause, pipelines.FLAKY, {"temperature": f"{chance.uniform(1, 4):.1f}"})
    return Order(pause, pipelines.PRETRAIN, {"steps": str(chance.randrange(60, 200))})


class Traffic:
    """Submits orders when they are due, until stopped or the daemon ends. For a thread."""

    def __init__(
        self, client: Client, clock: LabClock, seed: int = 0, gateway: str | None = None
    ) -> None:
        """`gateway`: the host of the gateway. Without one no services are deployed."""
        self._client, self._clock, self._seed = client, clock, seed
        self._gateway = gateway
        self._stop = threading.Event()

    def stop(self) -> None:
        """Submit no more orders."""
        self._stop.set()

    def before(self, opens_at: float, drained: str | None = None) -> None:
        """The history; returns once the lab's time is `opens_at` or all is submitted. `drained`: a
        host that a person drains."""
        if drained is not None:
            self._try(lambda: self._client.drain(drained, "new power supply on Friday"))
        for order in history(self._seed):
            due = min(self._clock.now() + order.after, opens_at)
            if not self._wait(due) or due >= opens_at:
                return
            self._submit(order)

    def go_on(self) -> None:
        """Submit the first orders when the demo opens, then more until stopped."""
        for order in opening():
            self._submit(order)
        for order in endless(self._seed):
            if not self._wait(self._clock.now() + order.after):
                return
            if self._has_room(order):
                self._submit(order)

    def _wait(self, due: float) -> bool:
        """Until the lab's time is `due`; False: stopped."""
        while (left := self._clock.real(due - self._clock.now())) > 0:
            if self._stop.wait(min(left, 0.5)):
                return False
        return not self._stop.is_set()

    def _has_room(self, order: Order) -> bool:
        try:
            open_runs = self._client.runs(state="open", limit=_MOST_OPEN)
        except HostlerError:  # the daemon ends, or is too busy for more
            return False
        big = any(run.pipeline == "pretrain" for run in open_runs)
        return len(open_runs) < _MOST_OPEN and not (big and order.pipeline is pipelines.PRETRAIN)

    def _submit(self, order: Order) -> None:
        text = order.pipeline.replace("GATEWAY", self._gateway or "")
        body: JsonTable = {"pipeline": text, "params": dict(order.params), "title": order.title}
        if order.deploy:
            self._deploy(body)
        else:
            self._try(lambda: self._client.submit(body))

    def _deploy(self, body: JsonTable) -> None:
        """Not while an earlier release takes over."""
        try:
            if self._gateway is not None:
                self._client.deploy(body)
        except ConflictError:
            return
        except HostlerError as error:
            self._warn(error)

    def _try(self, ask: Callable[[], object]) -> None:
        """Ignores failed submissions: the daemon ends, or the machine is too busy."""
        try:
            ask()
        except HostlerError as error:
            self._warn(error)

    def _warn(self, error: HostlerError) -> None:
        if not self._stop.is_set():
            _log.warning("the demo failed: %s", error)
