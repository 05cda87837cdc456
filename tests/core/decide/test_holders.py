"""Who is on a GPU: what counts as a holder, what is said of it, and what would make it go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.holders import Holder, HolderKind, describe, holders, remedy_for
from hostler.decide.index import OpenAttempt, open_attempts
from hostler.model.hosts import ForeignContainer, Gpu, Host
from hostler.model.plans import Policy, RemedyKind
from hostler.model.runs import Phase
from tests.support.values import planning as lab

CARD = lab.gpu("gpu1", 0)
FULL = replace(CARD, memory_used=10 * GIB)
MINE = lab.attempt(placed_at=lab.NOW - 119)
OPEN = open_attempts([lab.run("r-1", lab.stage(gpus=1, timeout=900.0), attempts=[MINE])])
LEASE = lab.lease(MINE, CARD.uuid)
BY_HAND = replace(LEASE, attempt_id=None, daemon_id=lab.OTHER, owner="zoe", until=lab.NOW + 9)
BOX = ForeignContainer("c1", "jupyter", "img", (CARD.uuid,))
STRAY = lab.workload("r-9-x-1", gpus=(CARD.uuid,))
BO = lab.process(started_at=lab.NOW - 60)


def host(card: Gpu = CARD, **look: Any) -> Host:
    return lab.host("gpu1", [card], look=look)


def held(on: Host, attempts: list[OpenAttempt] | None = None, **policy: Any) -> tuple[Holder, ...]:
    """The holders of the only GPU."""
    return holders(on, Policy(**policy), lab.DAEMON, attempts or [])[CARD.uuid]


def with_processes(*processes: Any, used: int | None = 10 * GIB) -> Gpu:
    return replace(CARD, processes=processes, memory_used=used)


@pytest.mark.parametrize(
    ("on", "attempts", "words", "remedy"),
    [
        (host(), OPEN, "ana's r-1 train for 1m", RemedyKind.WAIT_FOR_ATTEMPT),
        (host(workloads=(STRAY,)), [], "our r-9-x-1, being stopped", RemedyKind.WAIT_FOR_ATTEMPT),
        (
            host(workloads=(replace(STRAY, started_at=lab.NOW - 60),)),
            [],
            "our r-9-x-1 for 1m, being stopped",
            RemedyKind.WAIT_FOR_ATTEMPT,
        ),
        (
            host(workloads=(replace(STRAY, daemon_id=lab.OTHER, owner="zoe"),)),
            [],
            "zoe's r-9-x-1",
            RemedyKind.WAIT_FOR_PROCESS,
        ),
        (
            host(workloads=(replace(STRAY, daemon_id=lab.OTHER),)),
            [],
            "an unknown user's r-9-x-1",
            RemedyKind.WAIT_FOR_PROCESS,
        ),
        (
            host(leases=(LEASE,)),
            [],
            "r-1-train-1, which ended and is being released",
            RemedyKind.WAIT_FOR_MEMORY,
        ),
        (
            host(FULL, leases=(LEASE,)),
            [],
            "r-1-train-1, which ended and is being released, memory in use 10 GiB",
            RemedyKind.WAIT_FOR_MEMORY,
        ),
        (
            host(leases=(replace(LEASE, daemon_id=lab.OTHER, owner="zoe", claimed_at=lab.NOW),)),
            [],
            "zoe's r-1-train-1",
            RemedyKind.WAIT_FOR_LEASE,
        ),
        (
            host(leases=(replace(BY_HAND, claimed_at=lab.NOW - 3600),)),
            [],
            "zoe's lease by hand for 1h",
            RemedyKind.WAIT_FOR_LEASE,
        ),
        (
            host(leases=(replace(BY_HAND, daemon_id=lab.DAEMON, user="bo", claimed_at=lab.NOW),)),
            [],
            "zoe's lease by hand",
            RemedyKind.WAIT_FOR_LEASE,
        ),
        (
            host(leases=(replace(BY_HAND, user="bo", claimed_at=lab.NOW),)),
            [],
            "bo for zoe's lease by hand",
            RemedyKind.WAIT_FOR_LEASE,
        ),
        (
            host(with_processes(BO)),
            [],
            "bob's python (77, 10 GiB) for 1m",
            RemedyKind.WAIT_FOR_PROCESS,
        ),
        (
            host(with_processes(replace(BO, attempt_id="r-9-train-1"))),
            [],
            "bob's python (77, 10 GiB) of r-9-train-1 for 1m",
            RemedyKind.WAIT_FOR_PROCESS,
        ),
        (
            host(with_processes(lab.process(user=None, command=None, memory=None))),
            [],
            "an unknown user's a process (77)",
            RemedyKind.WAIT_FOR_PROCESS,
        ),
        (
            host(with_processes(lab.process(command="  "))),
            [],
            "bob's a process (77, 10 GiB)",
            RemedyKind.WAIT_FOR_PROCESS,
        ),
        (
            host(with_processes(replace(BO, exists=False))),
            [],
            "10 GiB held by PID 77, which no longer exists",
            RemedyKind.WAIT_FOR_PROCESS,
        ),
        (
            host(foreign_containers=(BOX,)),
            [],
            "container jupyter (not Hostler's)",
            RemedyKind.WAIT_FOR_PROCESS,
        ),
        (host(FULL), [], "10 GiB in use by an unknown process", RemedyKind.WAIT_FOR_MEMORY),
        (host(replace(CARD, problem="lost")), [], "lost", RemedyKind.FIX_HOST),
        (host(replace(CARD, mig=True)), [], "MIG is on", RemedyKind.FIX_HOST),
    ],
)
def test_each_holder_is_said_in_words_with_what_makes_it_go(
    on: Host, attempts: list[OpenAttempt], words: str, remedy: RemedyKind
) -> None:
    (holder,) = held(on, attempts)
    assert describe(holder, lab.NOW) == words
    assert remedy_for(holder, "gpu1").kind is remedy


def test_a_remedy_names_what_has_to_go() -> None:
    def subject(on: Host, attempts: list[OpenAttempt] | None = None) -> str:
        return remedy_for(held(on, attempts)[0], "gpu1").subject

    assert subject(host(), OPEN) == MINE.attempt_id
    assert subject(host(leases=(BY_HAND,))) == BY_HAND.lease_id
    assert subject(host(FULL)) == f"gpu1:{CARD.uuid}"
    assert subject(host(replace(CARD, mig=True))) == "gpu1"


@pytest.mark.parametrize(
    ("on", "attempts", "facts"),
    [
        (host(), OPEN, ("ana", "r-1-train-1", lab.NOW + 840, lab.NOW - 119, True)),
        (host(leases=(BY_HAND,)), [], ("zoe", None, lab.NOW + 9, 5.0, False)),
        (host(workloads=(STRAY,)), [], (None, "r-9-x-1", None, None, True)),
        (host(with_processes(BO)), [], ("bob", None, None, lab.NOW - 60, False)),
        (host(foreign_containers=(BOX,)), [], (None, None, None, None, False)),
    ],
)
def test_what_is_known_of_a_holder(
    on: Host, attempts: list[OpenAttempt], facts: tuple[Any, ...]
) -> None:
    (holder,) = held(on, attempts)
    found = (holder.owner, holder.attempt_id, holder.until, holder.since, holder.ours)
    assert found == facts


@pytest.mark.parametrize(
    ("on", "kinds"),
    [
        (host(leases=(LEASE,), workloads=(lab.workload(MINE),)), [HolderKind.ATTEMPT]),
        (
            host(leases=(replace(LEASE, daemon_id=lab.OTHER),)),
            [HolderKind.ATTEMPT, HolderKind.LEASE],
        ),
        (host(with_processes(replace(BO, attempt_id=MINE.attempt_id))), [HolderKind.ATTEMPT]),
        (
            host(
                with_processes(replace(BO, container_id="abc")),
                leases=(replace(LEASE, workload="abc"),),
            ),
            [HolderKind.ATTEMPT],
        ),
        (
            host(
                with_processes(replace(BO, container_id="abc")),
                leases=(replace(LEASE, workload="abc", daemon_id=lab.OTHER),),
            ),
            [HolderKind.ATTEMPT, HolderKind.LEASE, HolderKind.PROCESS],
        ),
        (
            host(with_processes(replace(BO, container_id="abc"))),
            [HolderKind.ATTEMPT, HolderKind.PROCESS],
        ),
        (host(FULL), [HolderKind.ATTEMPT]),
    ],
)  # fmt: skip
def test_several_signs_of_one_attempt_are_one_holder(on: Host, kinds: list[HolderKind]) -> None:
    assert [holder.kind for holder in held(on, OPEN)] == kinds


@pytest.mark.parametrize(
    ("on", "kinds"),
    [
        (host(with_processes(BO), leases=(replace(BY_HAND, user="bob"),)), [HolderKind.LEASE]),
        (
            host(with_processes(BO), leases=(replace(BY_HAND, user="zoe"),)),
            [HolderKind.LEASE, HolderKind.PROCESS],
        ),
        (
            host(
                with_processes(replace(BO, attempt_id="r-2-x-1")),
                leases=(replace(BY_HAND, user="bob"),),
            ),
            [HolderKind.LEASE, HolderKind.PROCESS],
        ),
        (
            host(with_processes(BO), leases=(replace(LEASE, user="bob"),)),
            [HolderKind.LEASE, HolderKind.PROCESS],
        ),
        (
            host(with_processes(replace(BO, container_id="c1")), foreign_containers=(BOX,)),
            [HolderKind.CONTAINER],
        ),
        (host(with_processes(replace(BO, kind="graphics"), used=0)), []),
        (host(leases=(replace(LEASE, stale=True),)), []),
        (host(workloads=(replace(STRAY, running=False),)), []),
        (host(replace(CARD, memory_used=GIB)), []),
        (host(replace(CARD, memory_used=GIB + 1)), [HolderKind.MEMORY]),
        (host(replace(CARD, memory_used=None)), []),
        (host(replace(FULL, problem="lost")), [HolderKind.UNHEALTHY]),
    ],
)
def test_what_keeps_a_gpu_from_being_free(on: Host, kinds: list[HolderKind]) -> None:
    assert [holder.kind for holder in held(on)] == kinds


def test_programs_that_the_policy_ignores_hold_nothing() -> None:
    screen = with_processes(lab.process(command="/usr/lib/xorg/Xorg vt2"), used=0)
    assert held(host(screen)) == ()
    assert [holder.kind for holder in held(host(screen), ignore=())] == [HolderKind.PROCESS]


def test_what_is_only_collected_holds_nothing() -> None:
    over = replace(MINE, phase=Phase.COLLECTING)
    assert held(host(), open_attempts([lab.run("r-1", attempts=[over])])) == ()


@pytest.mark.parametrize(
    ("most", "on"),
    [
        (30, lambda text: host(with_processes(lab.process(command=text)))),
        (40, lambda text: host(foreign_containers=(replace(BOX, name=text),))),
        (60, lambda text: host(replace(CARD, problem=text))),
    ],
)
def test_names_of_others_are_shown_up_to_a_length(most: int, on: Any) -> None:
    assert "x" * most in describe(held(on("x" * most))[0], lab.NOW)
    assert "x" * most not in describe(held(on("x" * (most + 1)))[0], lab.NOW)


def test_a_process_that_does_not_count_hides_no_other() -> None:
    screen = lab.process(pid=1, kind="graphics")
    own = lab.process(pid=2, user="zoe")
    ours = lab.process(pid=3, attempt_id=MINE.attempt_id)
    on = host(with_processes(screen, own, ours, BO), leases=(replace(BY_HAND, user="zoe"),))
    found = [holder.source for holder in held(on, OPEN) if holder.kind is HolderKind.PROCESS]
    assert found == [BO]


def test_attempts_are_found_behind_runs_that_have_none() -> None:
    runs = [lab.run("r-0"), lab.run("r-1", attempts=[MINE])]
    assert [item.attempt for item in open_attempts(runs)] == [MINE]


def test_a_gpu_that_is_gone_hides_no_other() -> None:
    both = replace(STRAY, gpus=("GPU-gone", CARD.uuid))
    assert [holder.kind for holder in held(host(workloads=(both,)))] == [HolderKind.WORKLOAD]
