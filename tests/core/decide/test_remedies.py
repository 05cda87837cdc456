"""A reason that names a remedy is right: apply it, and the stage starts in the next plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from hostler.base.units import GIB
from hostler.decide.plan import plan
from hostler.decide.reasons import Reasons
from hostler.model.hosts import (
    Disk,
    ForeignContainer,
    Gpu,
    Host,
    HostCondition,
    KeptTotal,
    Look,
    Machine,
)
from hostler.model.pipelines import Resources, Stage
from hostler.model.plans import Plan, Snapshot, Start
from hostler.model.runs import Attempt, Phase, Run, Source
from tests.support.values import planning as lab
from tests.support.values.remedies import apply_remedies, its_turn, the_stage, with_stage
from tests.support.worlds.advance import advance
from tests.support.worlds.hypothesis_profiles import examples


@pytest.mark.slow
@given(st.integers(0, 2**32).map(Random))
@examples(60)
def test_the_remedies_of_a_host_let_the_stage_start(rng: Random) -> None:
    before = _quiet_lab(rng)
    decided = plan(before)
    after = advance(before, decided)
    for key, reason in decided.reasons.items():
        for host in reason.hosts:
            if not host.remedies:
                continue
            remedies = (*reason.remedies, *host.remedies)
            changed = apply_remedies(_unpinned(after, decided, key), key, remedies)
            started = _started(changed)
            note(f"{key} {host}")
            assert key in started, f"{key} on {host.host}: {host.sentence}"


@given(st.integers(0, 2**32).map(Random))
@examples(50)
def test_the_nearest_request_would_start_now(rng: Random) -> None:
    before = _quiet_lab(rng)
    decided = plan(before)
    after = advance(before, decided)
    assert isinstance(decided.reasons, Reasons)
    for key, reason in decided.reasons.items():
        if not reason.hosts:
            continue
        near = decided.reasons.nearest(key)
        assert (near is None) == (reason.nearest is None)
        if near is None:
            continue
        changed = its_turn(_unpinned(after, decided, key), key)
        asked = the_stage(changed, key).resources
        smaller = replace(asked, gpus=near.gpus, cpus=near.cpus)
        if near.any_card:
            smaller = replace(smaller, gpu_models=(), gpu_memory=None)
        assert key in _started(_asking(changed, key, smaller)), near


@given(st.integers(0, 2**32).map(Random))
@examples(60)
def test_whatever_waits_has_a_reason_with_a_remedy_or_a_host_that_says_no(rng: Random) -> None:
    decided = plan(_quiet_lab(rng))
    for reason in decided.reasons.values():
        assert reason.sentence
        assert reason.remedies or reason.hosts
        for host in reason.hosts:
            assert host.sentence
            assert host.sentence != "is free"


def _unpinned(snapshot: Snapshot, decided: Plan, key: tuple[str, str]) -> Snapshot:
    """A checkpoint that did not tie the stage to its host must not do so in the what-if either,
    where that host may have become able to take it."""
    if any("the checkpoint of its last" in h.sentence for h in decided.reasons[key].hosts):
        return snapshot
    return with_stage(snapshot, key, lambda s: replace(s, checkpoint=None))


def _started(snapshot: Snapshot) -> dict[tuple[str, str], Start]:
    return {
        (a.attempt.run_id, a.stage.name): a for a in plan(snapshot).actions if isinstance(a, Start)
    }


def _asking(snapshot: Snapshot, key: tuple[str, str], resources: Resources) -> Snapshot:
    return with_stage(snapshot, key, lambda s: replace(s, resources=resources))


def _quiet_lab(rng: Random) -> Snapshot:
    """A lab in which nothing is about to change by itself: work runs, work waits."""
    hosts = [_random_host(rng, f"gpu{i}") for i in range(rng.randint(1, 4))]
    runs: list[Run] = []
    for host in list(hosts):
        runs += _work_on(rng, host, hosts, len(runs))
    for i in range(rng.randint(1, 6)):
        runs.append(_waiting_run(rng, f"w-{i}", hosts))
    rng.shuffle(runs)
    refused = {h.name: lab.NOW - rng.choice([0.1, 5]) for h in hosts if rng.random() < 0.1}
    full = "the store is full" if rng.random() < 0.05 else None
    return lab.snapshot(*hosts, *runs, refused=refused, kept_on_host=50 * GIB, store_full=full)


def _random_host(rng: Random, name: str) -> Host:
    mixed = rng.random() < 0.2
    cards = [
        lab.gpu(
            name, i, *((lab.RTX, 24) if rng.random() < (0.5 if mixed else 0) else (lab.A100, 80))
        )
        for i in range(rng.choice([0, 1, 2, 4, 8]))
    ]
    foreign = []
    for i, card in enumerate(cards):
        trouble = rng.random()
        if trouble < 0.08:
            cards[i] = replace(card, processes=(lab.process(),), memory_used=10 * GIB)
        elif trouble < 0.12:
            cards[i] = replace(card, problem="lost")
        elif trouble < 0.16:
            cards[i] = replace(card, memory_used=5 * GIB)
        elif trouble < 0.19:
            foreign.append(ForeignContainer(f"c{i}", "jupyter", "img", (card.uuid,)))
    host = lab.host(
        name,
        cards,
        look={"foreign_containers": tuple(foreign)},
        cpus=rng.choice([2, 8, 32, None]),
        memory=rng.choice([8 * GIB, 256 * GIB]),
        labels={"zone": rng.choice(["a", "b"])},
        transport=rng.choice(["ssh", "local"]),
        runtimes=rng.choice([("docker", "process")] * 4 + [("process",)]),
    )
    return _with_kept_files(rng, _with_host_trouble(rng, host))


def _with_kept_files(rng: Random, host: Host) -> Host:
    if host.look is None or rng.random() < 0.85:
        return host
    if rng.random() < 0.5:
        return lab.with_look(host, kept=KeptTotal(3, 60 * GIB))
    return lab.with_look(host, machine=Machine(disks=(Disk("/", 1000 * GIB, 2 * GIB),)))


def _with_host_trouble(rng: Random, host: Host) -> Host:
    trouble = rng.random()
    if trouble < 0.08:
        return replace(host, drained=rng.choice(["", "new fans"]))
    if trouble < 0.14:
        return replace(host, condition=HostCondition.UNREACHABLE, problem="no route")
    if trouble < 0.18:
        return replace(host, condition=HostCondition.REFUSED)
    if trouble < 0.22:
        return lab.with_look(host, asked_at=lab.NOW - 500)
    if trouble < 0.26:
        return lab.with_look(host, docker_problem="permission denied")
    if trouble < 0.30:
        return lab.with_look(host, gpus=(), gpu_problem="no driver", foreign_containers=())
    if trouble < 0.33:
        return lab.with_look(host, lease_problem="the lock cannot be opened")
    if trouble < 0.36:
        return replace(host, facts=replace(host.facts, docker_gpu=None))
    if trouble < 0.39:
        return replace(host, look=None, condition=HostCondition.CONNECTING, runtimes=(), cpus=None)
    return host


def _work_on(rng: Random, host: Host, hosts: list[Host], first: int) -> Iterator[Run]:
    """Runs with an attempt on some of the host's GPUs; its look shows them, or somebody else's."""
    if host.look is None:
        return
    look = host.look
    capacity = list(look.gpus)
    rng.shuffle(capacity)
    number = first
    while capacity and rng.random() < 0.6:
        mine = [capacity.pop() for _ in range(min(len(capacity), rng.choice([1, 2, 4])))]
        run_id = f"b-{number}"
        number += 1
        theirs = rng.random()
        stage = lab.stage(
            "go",
            gpus=len(mine),
            cpus=rng.choice([0.5, 1.0, 4.0]),
            timeout=rng.choice([None, 300.0]),
        )
        attempt = lab.attempt(run_id, "go", host=host.name, gpus=[g.index for g in mine])
        look = _seen(look, attempt, mine, theirs)
        if theirs > 0.2:
            yield lab.run(run_id, stage, attempts=[attempt], owner=rng.choice("abc"))
    hosts[hosts.index(host)] = replace(host, look=look)


def _seen(look: Look, attempt: Attempt, mine: list[Gpu], theirs: float) -> Look:
    daemon = lab.OTHER if theirs < 0.15 else lab.DAEMON
    workload = lab.workload(attempt, daemon_id=daemon, owner="zoe")
    leases = tuple(lab.lease(attempt, gpu.uuid, daemon_id=daemon, owner="zoe") for gpu in mine)
    busy = {
        gpu.uuid: replace(
            gpu,
            processes=(*gpu.processes, lab.process(9, attempt_id=attempt.attempt_id)),
            memory_used=(gpu.memory_used or 0) + 10 * GIB,
        )
        for gpu in mine
    }
    return replace(
        look,
        workloads=(*look.workloads, workload),
        leases=(*look.leases, *leases),
        gpus=tuple(busy.get(gpu.uuid, gpu) for gpu in look.gpus),
    )


def _waiting_run(rng: Random, run_id: str, hosts: list[Host]) -> Run:
    stages: list[Stage] = []
    attempts: list[Attempt] = []
    for i in range(rng.randint(1, 3)):
        name = f"s{i}"
        gpus = rng.choice([0, 0, 1, 1, 2, 4, 8])
        stage = lab.stage(
            name,
            gpus=gpus,
            cpus=rng.choice([0.5, 1.0, 2.0, 6.0, 40.0]),
            ram=rng.choice([None, None, GIB, 100 * GIB]),
            gpu_memory=rng.choice([None, None, 24 * GIB, 40 * GIB]) if gpus else None,
            gpu_models=rng.choice([(), (), ("A100*",), ("3090",)]) if gpus else (),
            labels=rng.choice([{}, {}, {"zone": "a"}]),
            hosts=rng.choice([(), (), ("gpu1",), ("gpu[01]",)]),
            runtime=rng.choice(["process", "docker"]),
            code=rng.choice(["snapshot", "snapshot", "here"]),
            timeout=rng.choice([None, None, 60.0]),
            checkpoint=rng.choice([None, "ckpt"]),
            priority=rng.choice([0, 0, -1]),
            keep=rng.choice([None, None, (), ("*.pt",)]),
        )
        stages.append(stage)
        if stage.checkpoint and rng.random() < 0.7:
            where = rng.choice(hosts).name
            failed = lab.attempt(run_id, name, host=where, gpus=(), phase=Phase.FAILED)
            stages[-1] = replace(stage, retries=replace(stage.retries, max=3))
            attempts.append(replace(failed, cause=stage.retries.on[0]))
    return lab.run(
        run_id,
        *stages,
        attempts=attempts,
        owner=rng.choice("abc"),
        source=Source(path="/home/ana/x"),
        priority=rng.choice([0, 0, -1]),
    )
