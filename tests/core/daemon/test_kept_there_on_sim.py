"""What a host says that it keeps, against what the database knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError
from hostler.daemon.kept_there import Difference, compare
from hostler.daemon.standing import Standing
from hostler.model.codec import to_json
from hostler.model.files import KeptFolder
from hostler.model.hosts import KeptTotal, Look, Workload
from hostler.model.records import Remainder
from hostler.sim.link import SimLink
from tests.core.daemon.test_expiry_on_sim import DAY
from tests.core.daemon.test_expiry_on_sim import Kept as Lab
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage

THERE = KeptFolder("raaaaaa-train-1", "process", "raaaaaa-train-1", 0.0, 2, 5, "/var/tmp/x")


def remainder(attempt_id: str) -> Remainder:
    return Remainder(attempt_id, "r", "s", "gpu1", "process", "x", "/x", 1, 1, 0.0, 0.0)


class Told:
    """What gpu1 says, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders: list[KeptFolder] = []
        self.asked = 0
        self.silent = False
        call, look, told = SimLink.call, SimLink.look, self

        async def answered(
            self: SimLink, verb: str, payload: Mapping[str, Any], timeout: float = 10.0
        ) -> dict[str, Any]:
            if verb != "kept.list":
                return await call(self, verb, payload, timeout)
            told.asked += 1
            if told.silent:
                raise AgentError("gpu1", "does not know kept.list")
            return {"kept": [to_json(folder) for folder in told.folders]}

        async def seen(self: SimLink, asked_at: float, timeout: float) -> Look:
            found = await look(self, asked_at, timeout)
            there = [folder for folder in told.folders if folder.exists]
            return replace(found, kept=KeptTotal(len(there), 5))

        monkeypatch.setattr(SimLink, "call", answered)
        monkeypatch.setattr(SimLink, "look", seen)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


@pytest.fixture
async def lab(tmp_path: Path, told: Told) -> Any:
    made = Lab(SimDaemon(small_lab(1), tmp_path))
    await made.begin()
    try:
        yield made
    finally:
        await made.daemon.stop()
        await made.daemon.lab.close()


async def seen(lab: Lab, count: int) -> None:
    """Until a look tells of so many."""
    monitor = lab.daemon.daemon.context.monitors["gpu1"]
    await lab.daemon.until(
        lambda: monitor.host.look is not None and monitor.host.look.kept.count == count,
        "no look",
        30,
    )


async def test_files_that_somebody_removed_are_told_as_lost_once(lab: Lab, told: Told) -> None:
    await lab.leave()
    told.folders = [replace(THERE, exists=False)]
    await lab.step(times=2, seconds=1.0)
    assert await lab.left() == []
    (alert,) = await lab.alerts()
    assert alert.what == (
        "model.pt (3 GiB) of run raaaaaa on gpu1 no longer exist: someone removed them on the host"
    )
    assert (alert.run_id, alert.host, alert.count) == ("raaaaaa", "gpu1", 1)


async def test_files_of_a_removed_run_that_are_gone_are_no_loss(lab: Lab, told: Told) -> None:
    await lab.leave()
    told.folders = [replace(THERE, exists=False)]
    await lab.give_up("raaaaaa")
    await lab.step(seconds=1.0)
    assert (await lab.left(), await lab.alerts()) == ([], [])


async def test_what_the_database_forgot_is_looked_after_again(lab: Lab, told: Told) -> None:
    left = await lab.leave()
    store = lab.daemon.daemon.context.store
    await store.remove_remainder(left.attempt_id)
    told.folders = [replace(THERE, until=lab.clock.now() - DAY)]
    await seen(lab, 1)
    await lab.step(seconds=1.0)
    (found,) = await lab.left()
    assert (found.run_id, found.stage, found.host) == ("raaaaaa", "train", "gpu1")
    assert (found.files, found.size, found.path) == (2, 5, "/var/tmp/x")
    assert found.until >= lab.clock.now() + 7 * DAY - 60


async def test_what_a_host_says_of_attempts_that_never_ran_there_is_not_believed(
    lab: Lab, told: Told
) -> None:
    await lab.daemon.submit(stage(env=sim("seconds=9")), run_id="rbbbbbb")
    await lab.daemon.attempt("rbbbbbb", timeout=30)
    names = ("rccccc-train-1", "raaaaaa-train-7", "rbbbbbb-train-1", "x", "")
    told.folders = [replace(THERE, attempt_id=name) for name in names]
    await seen(lab, len(names))
    await lab.step(seconds=1.0)
    assert told.asked == 1
    assert await lab.left() == []


async def test_a_host_is_asked_when_its_looks_tell_of_another_number_and_every_hour(
    lab: Lab, told: Told
) -> None:
    await lab.step(seconds=1.0)
    assert told.asked == 0
    await lab.leave()
    told.folders = [THERE]
    await seen(lab, 1)
    await lab.step(times=3, seconds=1.0)
    assert told.asked == 1
    lab.clock.by += 3700
    await seen(lab, 1)
    await lab.step(seconds=1.0)
    assert told.asked == 2
    told.folders = []
    await seen(lab, 0)
    await lab.step(seconds=1.0)
    assert told.asked == 3


async def test_what_a_host_does_not_name_for_a_while_is_lost_and_found_again(
    lab: Lab, told: Told
) -> None:
    await lab.leave()
    told.folders = [THERE]
    await seen(lab, 1)
    await lab.step(seconds=1.0)
    told.folders = []  # its folder cannot be read just now, or is gone for good
    await seen(lab, 0)
    await lab.step(times=3, seconds=150.0)
    assert len(await lab.left()) == 1
    told.folders = [THERE]
    await seen(lab, 1)
    lab.clock.by += 3700
    await lab.step(seconds=1.0)
    told.folders = []
    await seen(lab, 0)
    await lab.step(times=4, seconds=150.0)
    assert len(await lab.left()) == 1
    await lab.step(seconds=150.0)
    assert await lab.left() == []
    (alert,) = await lab.alerts()
    assert alert.what.startswith("model.pt (3 GiB) of run raaaaaa on gpu1 no longer exist")
    told.folders = [THERE]
    await seen(lab, 1)
    await lab.step(seconds=1.0)
    assert len(await lab.left()) == 1


@pytest.mark.parametrize("hidden", [True, False])
async def test_what_is_not_marked_yet_or_cannot_be_seen_is_not_given_up(
    lab: Lab, told: Told, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    """The host could not note that it keeps an ended container; or its Docker does not answer."""
    left, look = await lab.leave(runtime="docker"), SimLink.look
    shown = Workload(
        left.attempt_id, lab.daemon.daemon.context.daemon_id, "docker", "c", running=True
    )

    async def seen_look(self: SimLink, asked_at: float, timeout: float) -> Look:
        found = await look(self, asked_at, timeout)
        if hidden:
            return replace(found, docker_problem="it does not answer")
        return replace(found, workloads=(shown,))

    monkeypatch.setattr(SimLink, "look", seen_look)
    monitor = lab.daemon.daemon.context.monitors["gpu1"]
    await lab.daemon.until(
        lambda: (
            monitor.host.look is not None
            and bool(monitor.host.look.docker_problem or monitor.host.look.workloads)
        ),
        "no look",
        30,
    )
    await lab.step(times=8, seconds=150.0)
    assert told.asked
    assert len(await lab.left()) == 1


async def test_a_host_whose_notes_are_not_merged_yet_is_not_asked(
    lab: Lab, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.leave()
    monkeypatch.setattr(Standing, "is_unmerged", lambda self, host: True)
    await lab.step(seconds=1.0)
    assert told.asked == 0


async def test_a_host_that_does_not_tell_loses_nothing(lab: Lab, told: Told) -> None:
    await lab.leave()
    told.silent = True
    await lab.step(times=2, seconds=1.0)
    assert told.asked == 2
    assert len(await lab.left()) == 1


def test_no_host_makes_the_database_grow_without_end() -> None:
    many = [replace(THERE, attempt_id=f"r-{n}-1") for n in range(5000)]
    assert len(compare([], many).unknown) == 1000
    assert compare([], []) == Difference((), (), ())


def test_a_list_that_is_cut_proves_nothing() -> None:
    left = remainder("r-0-1")
    many = [replace(THERE, attempt_id=f"r-{n}-1") for n in range(1, 10_001)]
    assert compare([left], many).missing == ()
    assert compare([left], many[1:]).missing == (left,)
