"""Where stages go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB, MIB
from hostler.decide.plan import plan
from hostler.model.hosts import ForeignContainer, Gpu, Host, HostCondition, HostFacts
from hostler.model.pipelines import Cause, Retries, Stage
from hostler.model.plans import Snapshot, Start
from hostler.model.runs import Attempt, Phase, Source
from tests.support.values import planning as lab


def starts(snapshot: Snapshot) -> dict[str, tuple[str, list[int]]]:
    """Stage -> (host, GPU indices) of what the plan starts."""
    return {
        action.stage.name: (
            action.attempt.host,
            sorted(int(uuid.rsplit("-", 1)[1]) for uuid in action.attempt.gpus),
        )
        for action in lab.of_kind(plan(snapshot).actions, Start)
    }


def host_of(stage: Stage, *hosts: Host, **fields: Any) -> str | None:
    """Where the only stage of a run goes; None: it waits."""
    snapshot = lab.snapshot(*hosts, lab.run("r-1", stage, **fields))
    found = starts(snapshot)
    if not found:
        assert plan(snapshot).reasons["r-1", stage.name].sentence
        return None
    return found[stage.name][0]


def test_a_start_carries_all_that_is_decided() -> None:
    (start,) = lab.of_kind(plan(lab.snapshot(lab.host(), lab.run())).actions, Start)
    assert start.attempt == Attempt(
        "r-1-train-1", "r-1", "train", 1, Phase.STARTING, "gpu1", ("GPU-gpu1-0",), lab.NOW,
        "process", boot_id=lab.BOOT,
    )  # fmt: skip
    assert start.why == "the only host with free capacity"


def test_the_same_snapshot_gives_the_same_plan_whatever_the_order_of_hosts() -> None:
    hosts = [lab.host(f"gpu{i}", 4) for i in range(4)]
    runs = [lab.run(f"r-{i}", lab.stage("train", gpus=i % 3)) for i in range(8)]
    one, other = lab.snapshot(*hosts, *runs), lab.snapshot(*reversed(hosts), *runs)
    assert starts(one) == starts(other)
    assert plan(one) == plan(one)


def test_the_tightest_fit_keeps_large_blocks_whole() -> None:
    assert host_of(lab.stage(gpus=2), lab.host("a", 8), lab.host("b", 2)) == "b"


def test_alike_cards_go_before_a_tighter_mix() -> None:
    mixed = lab.host("a", [lab.gpu("a", 0), lab.gpu("a", 1, lab.RTX, 24)])
    assert host_of(lab.stage(gpus=2), mixed, lab.host("b", 8)) == "b"
    assert host_of(lab.stage(gpus=2), mixed) == "a"


def test_of_equal_fits_the_smaller_cards() -> None:
    small = lab.host("z", lab.gpus("z", 2, lab.RTX, 24))
    assert host_of(lab.stage(gpus=1), lab.host("a", 2), small) == "z"


def test_neighbours_in_an_aligned_block_go_together() -> None:
    cards = list(lab.gpus("gpu1", 6))
    cards[1] = replace(cards[1], processes=(lab.process(),))
    snapshot = lab.snapshot(lab.host("gpu1", cards), lab.run("r-1", lab.stage("t", gpus=2)))
    assert starts(snapshot) == {"t": ("gpu1", [2, 3])}


def test_gpus_that_would_be_left_without_cpus_count() -> None:
    """Taking 14 of 16 CPUs would strand three GPUs of the tighter host."""
    tight, roomy = lab.host("a", 4, cpus=16), lab.host("b", 8, cpus=64)
    assert host_of(lab.stage(gpus=1, cpus=14.0), tight, roomy) == "b"


def test_cpu_work_goes_where_no_gpus_are() -> None:
    assert host_of(lab.stage(), lab.host("a", 4), lab.host("z", 0)) == "z"


def test_cpu_work_on_gpu_hosts_goes_to_the_fullest() -> None:
    busy = lab.host("z", [replace(g, processes=(lab.process(),)) for g in lab.gpus("z", 4)])
    assert host_of(lab.stage(), lab.host("a", 4), busy) == "z"


@pytest.mark.parametrize(
    ("memory", "reported", "fits"),
    [
        (80 * GIB, 81_559 * MIB, True),
        (48 * GIB, 46_068 * MIB, True),
        (80 * GIB, 46_068 * MIB, False),
        (24 * GIB, None, False),
        (None, None, True),
    ],
)
def test_gpu_memory_is_nominal(memory: int | None, reported: int | None, fits: bool) -> None:
    card = Gpu("GPU-gpu1-0", 0, "L40S", reported, 0)
    found = host_of(lab.stage(gpus=1, gpu_memory=memory), lab.host("gpu1", [card]))
    assert (found is not None) is fits


@pytest.mark.parametrize(
    ("models", "fits"),
    [
        (("A100*",), True),
        (("a100",), True),
        (("H100*", "A100*"), True),
        (("*80GB",), True),
        (("NVIDIA A100*",), True),
        (("H100",), False),
        (("A100*40GB",), False),
    ],
)
def test_gpu_models(models: tuple[str, ...], fits: bool) -> None:
    assert (host_of(lab.stage(gpus=1, gpu_models=models), lab.host()) is not None) is fits


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"labels": {"zone": "a"}}, True),
        ({"labels": {"zone": "b"}}, False),
        ({"hosts": ("gpu*",)}, True),
        ({"hosts": ("gpu2", "gpu1")}, True),
        ({"hosts": ("gpu2",)}, False),
        ({"cpus": 32.0}, True),
        ({"cpus": 33.0}, False),
        ({"ram": 256 * GIB}, True),
        ({"ram": 257 * GIB}, False),
    ],
)
def test_constraints(asked: dict[str, Any], fits: bool) -> None:
    host = lab.host(labels={"zone": "a"})
    assert (host_of(lab.stage(gpus=1, **asked), host) is not None) is fits


@pytest.mark.parametrize(
    "host",
    [
        lab.host(condition=HostCondition.UNREACHABLE),
        lab.host(condition=HostCondition.REFUSED),
        lab.host(condition=HostCondition.CONNECTING, look=None),
        lab.host(asked_at=lab.NOW - 11),
        lab.host(since=lab.NOW),
        lab.host(drained="new fans"),
        lab.host(drained=""),
        lab.host(look={"gpus": (), "gpu_problem": "no driver"}),
        lab.host(look={"lease_problem": "the lock cannot be opened"}),
        lab.host(runtimes=("docker",)),
    ],
    ids=["unreachable", "refused", "connecting", "stale", "not looked at since it is back",
         "drained", "drained without a reason", "no driver", "no leases", "no processes there"],
)  # fmt: skip
def test_hosts_that_get_nothing(host: Host) -> None:
    assert host_of(lab.stage(gpus=1), host) is None


def test_a_host_that_refused_a_claim_waits_for_a_newer_look() -> None:
    made = lab.run()
    host = lab.host(asked_at=lab.NOW - 1)
    assert not starts(lab.snapshot(host, made, refused={"gpu1": lab.NOW - 1}))
    assert starts(lab.snapshot(host, made, refused={"gpu1": lab.NOW - 2}))


def test_docker_stages_need_a_docker_that_can_be_seen() -> None:
    blind = lab.host(look={"docker_problem": "permission denied"})
    assert host_of(lab.stage(gpus=1, runtime="docker"), blind) is None
    assert host_of(lab.stage(gpus=1, runtime="process"), blind) == "gpu1"


def test_no_gpu_is_given_where_a_docker_is_silent_that_may_have_given_it() -> None:
    """The host would refuse each claim: who uses its GPUs cannot be seen."""
    usual = HostFacts(docker_gpu="nvidia", runtimes=("docker", "process"))
    silent = lab.host(facts=usual, look={"docker_problem": "Docker is not running"})
    assert host_of(lab.stage(gpus=1), silent) is None
    assert host_of(lab.stage(gpus=1), silent, lab.host("gpu2")) == "gpu2"
    assert host_of(lab.stage(), silent) == "gpu1"


def test_containers_with_gpus_need_a_docker_that_can_give_them() -> None:
    bare = lab.host(facts=HostFacts(docker_gpu=None))
    stage = lab.stage(gpus=1, runtime="docker")
    assert host_of(stage, bare) is None
    assert host_of(stage, bare, lab.host("gpu2", facts=HostFacts(docker_gpu="cdi"))) == "gpu2"
    assert host_of(lab.stage(runtime="docker"), bare) == "gpu1"
    assert host_of(lab.stage(gpus=1), bare) == "gpu1"


def test_a_host_without_known_gpus_still_takes_cpu_work() -> None:
    blind = lab.host(look={"gpus": (), "gpu_problem": "no driver"})
    assert host_of(lab.stage(), blind) == "gpu1"


def test_where_no_gpu_can_be_leased_stages_wait_and_know_why() -> None:
    host = lab.host(look={"lease_problem": "the lock .lock cannot be opened: root can remove it"})
    planned = plan(lab.snapshot(host, lab.run("r-1", lab.stage(gpus=1))))
    assert not planned.actions
    (reason,) = planned.reasons.values()
    assert "no GPU can be leased: the lock .lock cannot be opened" in reason.hosts[0].sentence
    assert host_of(lab.stage(), host) == "gpu1", "stages without GPUs need no lease"


def test_code_here_needs_a_host_that_sees_the_folder() -> None:
    stage = lab.stage(code="here")
    source = Source(path="/home/ana/x")
    assert host_of(stage, lab.host(), source=source) is None
    assert host_of(stage, lab.host(shared_paths=("/home",)), source=source) == "gpu1"
    assert host_of(stage, lab.host(shared_paths=("/home/an",)), source=source) is None
    assert host_of(stage, lab.host(transport="local"), source=source) == "gpu1"


def first(gpu: Gpu | None = None, **look: Any) -> Host:
    """A host with one GPU, taken in some way."""
    card = gpu if gpu is not None else lab.gpu("gpu1", 0)
    return lab.host("gpu1", [card], look=look)


CARD = lab.gpu("gpu1", 0)
OTHERS = lab.workload("r-9-x-1", daemon_id=lab.OTHER, gpus=(CARD.uuid,))


@pytest.mark.parametrize(
    ("host", "free"),
    [
        (first(), True),
        (first(replace(CARD, processes=(lab.process(),))), False),
        (first(replace(CARD, processes=(lab.process(kind="graphics"),))), True),
        (first(replace(CARD, processes=(lab.process(command="/usr/lib/xorg/Xorg :0"),))), True),
        (first(replace(CARD, processes=(lab.process(exists=False),))), False),
        (first(replace(CARD, memory_used=2 * GIB)), False),
        (first(replace(CARD, memory_used=GIB)), True),
        (first(replace(CARD, memory_used=None)), True),
        (first(replace(CARD, problem="lost")), False),
        (first(replace(CARD, mig=True)), False),
        (first(foreign_containers=(ForeignContainer("c", "jup", "i", (CARD.uuid,)),)), False),
        (first(leases=(lab.lease("x", CARD.uuid, daemon_id=lab.OTHER),)), False),
        (first(leases=(lab.lease("x", CARD.uuid, daemon_id=lab.OTHER, stale=True),)), True),
        (first(leases=(lab.lease("r-0-old-1", CARD.uuid),)), False),
        (first(workloads=(OTHERS,)), False),
        (first(workloads=(replace(OTHERS, running=False),)), True),
        (first(workloads=(replace(OTHERS, daemon_id=lab.DAEMON),)), False),
    ],
    ids=["free", "process", "graphics", "display server", "dead process", "memory", "at the floor",
         "memory not told", "lost", "mig", "container", "lease", "stale lease", "our lease",
         "other daemon's workload", "its ended one", "orphan of ours"],
)  # fmt: skip
def test_what_makes_a_gpu_free(host: Host, free: bool) -> None:
    assert (host_of(lab.stage(gpus=1), host) is not None) is free


def test_open_attempts_hold_their_gpus_seen_or_not() -> None:
    for phase in (Phase.STARTING, Phase.RUNNING):
        placed = lab.attempt(gpus=(0, 1, 2), phase=phase, placed_at=lab.NOW)
        runs = [lab.run("r-1", attempts=[placed]), lab.run("r-2", lab.stage("t", gpus=1))]
        snapshot = lab.snapshot(lab.host(), *runs, in_flight=frozenset({"start:r-1-train-1"}))
        assert starts(snapshot) == {"t": ("gpu1", [3])}


def test_cpus_and_ram_are_counted() -> None:
    stages = [lab.stage(f"s{i}", cpus=0.1 if i else 0.2, ram=GIB) for i in range(3)]
    host = lab.host("cpu", 0, cpus=1)
    full = lab.run("r-1", *stages)
    assert len(starts(lab.snapshot(replace(host, memory=2 * GIB), full))) == 2
    tenths = lab.run("r-1", *[lab.stage(f"s{i}", cpus=0.1) for i in range(11)])
    assert len(starts(lab.snapshot(host, tenths))) == 10


def retry_of(stage: Stage, where: str) -> dict[str, Any]:
    return {
        "attempts": [lab.attempt(phase=Phase.FAILED, host=where, gpus=(), cause=Cause.USER_ERROR)]
    }


SAVING = lab.stage(gpus=1, checkpoint="ckpt", retries=Retries(max=1, backoff=0))


PLAIN = replace(SAVING, checkpoint=None)


def failed_on(*where: str, cause: Cause = Cause.START_FAILED) -> dict[str, Any]:
    """Attempts that ended so, one after the other."""
    tries = [
        lab.attempt(phase=Phase.FAILED, host=host, gpus=(), cause=cause, number=number)
        for number, host in enumerate(where, 1)
    ]
    return {"attempts": tries}


@pytest.mark.parametrize(
    ("cause", "again"),
    [(Cause.START_FAILED, "b"), (Cause.GPU_LOST, "b"), (Cause.HOST_LOST, "b"),
     (Cause.USER_ERROR, "a"), (Cause.OOM_GPU, "a")],
)  # fmt: skip
def test_a_retry_goes_elsewhere_when_the_host_may_be_to_blame(cause: Cause, again: str) -> None:
    tight, roomy = lab.host("a", 1), lab.host("b", 8)
    assert host_of(PLAIN, tight, roomy) == "a"
    assert host_of(PLAIN, tight, roomy, **failed_on("a", cause=cause)) == again


def test_a_retry_uses_the_host_that_failed_where_no_other_has_it_free() -> None:
    stage = replace(PLAIN, retries=Retries(max=2, backoff=0))
    hosts = lab.host("a", 1), lab.host("b", 1)
    assert host_of(stage, *hosts, **failed_on("a", "b")) == "a"
    drained = lab.host("b", 1, drained="fans")
    (start,) = lab.of_kind(
        plan(lab.snapshot(hosts[0], drained, lab.run("r-1", stage, **failed_on("a")))).actions,
        Start,
    )
    assert start.why == "it failed there before, and no other host has free capacity"


def test_why_there_names_the_hosts_that_failed() -> None:
    run = lab.run("r-1", PLAIN, **failed_on("a"))
    snapshot = lab.snapshot(lab.host("a", 1), lab.host("b", 1), run)
    (start,) = lab.of_kind(plan(snapshot).actions, Start)
    assert start.why == "the only host with free capacity, after it failed on a"


def test_a_retry_goes_to_its_checkpoint() -> None:
    hosts = lab.host("a", 1), lab.host("b", 8)
    assert host_of(SAVING, *hosts, **retry_of(SAVING, "b")) == "b"
    assert host_of(replace(SAVING, checkpoint=None), *hosts, **retry_of(SAVING, "b")) == "a"


def test_a_retry_waits_for_its_checkpoint_while_that_host_is_full() -> None:
    full = lab.host("b", [replace(lab.gpu("b", 0), processes=(lab.process(),))])
    assert host_of(SAVING, lab.host("a", 1), full, **retry_of(SAVING, "b")) is None


@pytest.mark.parametrize(
    "gone",
    [
        lab.host("b", condition=HostCondition.UNREACHABLE),
        lab.host("b", drained="fans"),
        lab.host("b", [replace(lab.gpu("b", 0), problem="lost")]),
    ],
    ids=["silent", "drained", "its GPU is lost"],
)
def test_a_retry_goes_elsewhere_when_its_checkpoint_cannot_be_had(gone: Host) -> None:
    assert host_of(SAVING, lab.host("a", 1), gone, **retry_of(SAVING, "b")) == "a"


def test_an_attempt_that_never_launched_left_no_checkpoint() -> None:
    refused = lab.attempt(
        phase=Phase.FAILED, host="b", gpus=(), cause=Cause.NOT_STARTED, launched_at=None
    )
    assert host_of(SAVING, lab.host("a", 1), lab.host("b", 8), attempts=[refused]) == "a"
