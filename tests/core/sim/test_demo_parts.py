"""What the demo is made of: its clock, its people, its pipelines."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hostler.sim.clock import LabClock
from hostler.sim.fleet import demo_lab
from hostler.sim.people import card_fails, own_daemon
from hostler.sim.traffic import Order, endless, history, opening
from hostler.spec.pipeline import read_pipeline
from tests.support.daemons.simlab import faults_on, small_lab


def test_a_clock_that_is_behind_catches_up_and_goes_on_at_its_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = [100.0]
    monkeypatch.setattr(time, "time", lambda: 50_000.0)
    monkeypatch.setattr(time, "monotonic", lambda: real[0])
    clock = LabClock(2.0, behind=998.0, catch_up=2.0)
    assert (clock.now(), clock.speed, clock.real(500.0)) == (49_002.0, 500.0, 1.0)
    real[0] += 1.0
    assert clock.now() == 49_502.0
    real[0] += 1.0
    assert clock.now() == clock.caught_up_at == 50_002.0
    real[0] += 3.0
    assert (clock.now(), clock.speed) == (50_008.0, 2.0)


def test_all_that_is_submitted_can_be_read() -> None:
    source = endless(1)
    orders: list[Order] = [*history(0), *opening(), *(next(source) for _ in range(60))]
    names = {
        read_pipeline(o.pipeline, file="f", params=dict(o.params), glob=lambda _: []).name
        for o in orders
    }
    services = {"chat", "embed", "tts"}
    assert names == {"finetune", "sweep", "shards", "distill", "pretrain", "notebook", *services}
    assert sum(order.after for order in history(0)) < 2000
    assert [next(endless(3)) for _ in range(2)] == [next(endless(3))] * 2


async def test_a_colleague_has_leases_of_another_daemon_and_gives_them_back() -> None:
    lab = small_lab(1, gpus=4)
    host = lab.host("gpu1")
    script = own_daemon(host, 2)
    lab.scripts.append(script)
    held = set()
    begun = lab.clock.now()
    for second in range(0, 4000, 100):
        script(begun + second)
        for work in host.works.values():  # as if its time had come
            work.ended_at = work.started_at
        held |= {lease.attempt_id for lease in host.leases.values()}
        assert len(host.leases) == len(host.works) <= 1
    assert len(held) > 5
    assert lab.referee.violations == []


def test_a_card_fails_once_and_stays_lost() -> None:
    lab = small_lab(1)
    script = card_fails(faults_on(lab, "gpu1"), 1, after=60.0)
    told: list[Any] = []
    lab.host("gpu1").listeners.add(told.append)
    for now in (0.0, 59.0):
        script(now)
    assert lab.host("gpu1").gpus[1].problem is None
    for now in (60.0, 90.0):
        script(now)
    assert lab.host("gpu1").gpus[1].problem == "lost"
    assert len(told) == 1


def test_a_lab_has_the_size_that_was_asked_for() -> None:
    lab = demo_lab(hosts=50, gpus=8)
    assert {len(host.gpus) for host in lab.hosts.values()} == {8}
    assert list(lab.hosts)[::49] == ["gpu-01", "gpu-50"]
    assert len({gpu.name for host in lab.hosts.values() for gpu in host.gpus}) == 5
    assert list(demo_lab(gpus=2).hosts)[-1] == "gpu-10"
