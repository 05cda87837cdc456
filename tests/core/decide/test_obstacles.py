"""Every obstacle on a host, in words, with what would remove it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.plan import plan
from hostler.model.environments import Environment
from hostler.model.hosts import (
    ForeignContainer,
    Gpu,
    Host,
    HostCondition,
    HostFacts,
    HostMount,
)
from hostler.model.plans import Ailment, HostReason, Remedy, RemedyKind
from hostler.model.runs import Phase, Run, Source
from tests.support.values import planning as lab

WAIT = Remedy(RemedyKind.WAIT_FOR_LOOK, "gpu1")
FIX = Remedy(RemedyKind.FIX_HOST, "gpu1")


def drop(what: str) -> Remedy:
    return Remedy(RemedyKind.DROP, what)


def lower(what: str, value: float) -> Remedy:
    return Remedy(RemedyKind.LOWER, what, value)


def obstacles(
    host: Host, *others: Run, run: dict[str, Any] | None = None, **asked: Any
) -> HostReason:
    """What is said of the only host to a stage that asks for this."""
    values = {"gpus": 1, **asked}
    snapshot = values.pop("snapshot", {})
    made = lab.run("r-1", lab.stage(**values), **(run or {}))
    reasons = plan(lab.snapshot(host, *others, made, **snapshot)).reasons
    (found,) = reasons["r-1", "train"].hosts
    return found


UNREACHABLE = HostCondition.UNREACHABLE


@pytest.mark.parametrize(
    ("host", "words", "remedies"),
    [
        (lab.host(condition=HostCondition.REFUSED), "refused us", (FIX,)),
        (lab.host(condition=HostCondition.REFUSED, problem="key"), "refused us: key", (FIX,)),
        (replace(lab.host(), look=None), "no answer yet", (WAIT,)),
        (
            replace(lab.host(problem="no route"), look=None, condition=UNREACHABLE),
            "no answer yet: no route",
            (WAIT,),
        ),
        (
            lab.host(condition=UNREACHABLE, asked_at=lab.NOW - 7),
            "unreachable, last answer 7s ago",
            (WAIT,),
        ),
        (
            lab.host(condition=UNREACHABLE, asked_at=lab.NOW + 7, problem="no route"),
            "unreachable, last answer 0s ago: no route",
            (WAIT,),
        ),
        (
            replace(lab.host(), unmerged=True),
            "its notes since the backup are not merged yet",
            (WAIT,),
        ),
        (lab.host(asked_at=lab.NOW - 11), "has not answered lately", (WAIT,)),
        (lab.host(drained=""), "drained", (Remedy(RemedyKind.UNDRAIN, "gpu1"),)),
        (
            lab.host(asked_at=lab.NOW - 11, drained="fans"),
            "has not answered lately; drained: fans",
            (WAIT, Remedy(RemedyKind.UNDRAIN, "gpu1")),
        ),
    ],
)  # fmt: skip
def test_a_host_that_gets_nothing_says_why(
    host: Host, words: str, remedies: tuple[Remedy, ...]
) -> None:
    assert obstacles(host) == HostReason("gpu1", words, remedies)


def test_a_refused_claim_waits_for_a_newer_look() -> None:
    host = lab.host(asked_at=lab.NOW - 2)
    found = obstacles(host, snapshot={"refused": {"gpu1": lab.NOW - 2}})
    assert found.sentence == "GPU state just changed; waiting for the next update"
    assert found.remedies == (WAIT,)


DOCKER: dict[str, Any] = {"runtime": "docker", "image": "a:1"}
SUBT = str(Environment("subt"))
SILENT = lab.host(look={"docker_problem": "dockerd is away"}, facts=HostFacts(runtimes=("docker",)))


@pytest.mark.parametrize(
    ("host", "asked", "words", "remedies"),
    [
        (lab.host(runtimes=("process",)), DOCKER, "cannot run docker stages", (FIX,)),
        (SILENT, DOCKER, "cannot run docker stages: dockerd is away", (FIX,)),
        (SILENT, {}, "it is unknown which GPUs its containers hold: dockerd is away", (FIX,)),
        (
            replace(SILENT, runtimes=("docker",)),
            {"gpus": 0},
            "cannot run process stages",
            (FIX,),
        ),
        (
            lab.host(facts=HostFacts()),
            DOCKER,
            "Docker there cannot give GPUs to containers (what to do: hostler doctor gpu1; then "
            "hostler daemon restart)",
            (FIX,),
        ),
        (
            lab.host(),
            {"hosts": ("a", "b*")},
            "is not one of the requested hosts (a, b*)",
            (drop("hosts"),),
        ),
        (
            lab.host(labels={"zone": "a", "net": "ib"}),
            {"labels": {"zone": "b", "net": "ib"}},
            "lacks the label zone=b",
            (drop("labels"),),
        ),
        (
            lab.host(programs={"/v/python": False}),
            {"program": "/v/python"},
            "does not have /v/python from the submitter's environment",
            (drop("program"),),
        ),
        (lab.host(), {"program": "/v/python"}, "was not checked yet for /v/python", (WAIT,)),
        (
            lab.host(environments={SUBT: "has no conda environment called subt\x1b[2J"}),
            {"conda": "subt"},
            "has no conda environment called subt␛[2J",
            (FIX,),
        ),
        (
            lab.host(),
            {"conda": "subt"},
            "was not checked yet for conda environment subt",
            (WAIT,),
        ),
        (
            lab.host(environments={SUBT: None}),
            {"conda": "subt"},
            "did not answer in time whether it has conda environment subt",
            (WAIT,),
        ),
    ],
)
def test_a_host_of_the_wrong_kind_says_what_is_missing(
    host: Host, asked: dict[str, Any], words: str, remedies: tuple[Remedy, ...]
) -> None:
    assert obstacles(host, **asked) == HostReason("gpu1", words, remedies)


def test_a_host_that_does_not_see_the_folder_says_so() -> None:
    found = obstacles(lab.host(), run={"source": Source(path="/home/ana/x")}, code="here")
    said = "does not see /home/ana/x, where the code is ([shared] paths, or send it)"
    assert found == HostReason("gpu1", said, (drop("code"),))


@pytest.mark.parametrize(
    ("look", "words", "remedies"),
    [
        ({"gpu_problem": "no driver"}, "no GPUs known: no driver", (FIX,)),
        ({"gpus": ()}, "has no GPUs", ()),
        ({"lease_problem": "disk full"}, "no GPU can be leased: disk full", (FIX,)),
    ],
)
def test_a_host_without_gpus_to_give(
    look: dict[str, Any], words: str, remedies: tuple[Remedy, ...]
) -> None:
    assert obstacles(lab.host(look=look)) == HostReason("gpu1", words, remedies)


BIG, SMALL = lab.gpu("gpu1", 0), lab.gpu("gpu1", 1, lab.RTX, 24)
OTHER_BIG = lab.gpu("gpu1", 2)


@pytest.mark.parametrize(
    ("cards", "asked", "words", "remedies"),
    [
        ([BIG], {"gpus": 2}, "has 1 GPU that suit, of 2 requested", (lower("gpus", 1),)),
        (
            [BIG, OTHER_BIG],
            {"gpus": 2, "gpu_models": ("H100",)},
            "has 0 of the requested model (H100)",
            (drop("gpu_models"),),
        ),
        (
            [BIG, SMALL],
            {"gpus": 2, "gpu_models": ("A100", "H100")},
            "has 1 of the requested model (A100, H100)",
            (drop("gpu_models"),),
        ),
        (
            [BIG, SMALL],
            {"gpus": 2, "gpu_memory": 40 * GIB},
            "its GPUs have 24 GiB, not 40 GiB",
            (lower("gpu_memory", 24 * GIB),),
        ),
        (
            [SMALL],
            {"gpus": 2, "gpu_models": ("RTX 3090",), "gpu_memory": 40 * GIB},
            "has 1 GPU, of 2 requested; its GPUs have 24 GiB, not 40 GiB",
            (lower("gpus", 1), lower("gpu_memory", 24 * GIB)),
        ),
        (
            [BIG],
            {"gpus": 2, "gpu_models": ("H100",), "gpu_memory": 40 * GIB},
            "has no GPU of the requested model (H100); has 1 GPU, of 2 requested",
            (drop("gpu_models"), lower("gpus", 1)),
        ),
        (
            [SMALL],
            {"gpu_models": ("H100",), "gpu_memory": 40 * GIB},
            "has no GPU of the requested model (H100); its GPUs have 24 GiB, not 40 GiB",
            (drop("gpu_models"), lower("gpu_memory", 24 * GIB)),
        ),
    ],
)
def test_of_several_ways_to_ask_for_less_the_one_that_gives_up_least_is_told(
    cards: list[Gpu], asked: dict[str, Any], words: str, remedies: tuple[Remedy, ...]
) -> None:
    assert obstacles(lab.host("gpu1", cards), **asked) == HostReason("gpu1", words, remedies)


def test_those_gpus_are_named_that_are_nearest_to_being_free() -> None:
    """Six held in six ways, the worst with the lowest index."""
    cards = list(lab.gpus("gpu1", 6))
    cards[0] = replace(cards[0], problem="lost")
    cards[1] = replace(cards[1], memory_used=10 * GIB)
    cards[2] = replace(cards[2], processes=(lab.process(),))
    theirs = lab.lease("r-7-x-1", cards[3].uuid, daemon_id=lab.OTHER, owner="zoe")
    stray = lab.workload("r-8-x-1", gpus=(cards[4].uuid,))
    first = lab.run("r-0", attempts=[lab.attempt("r-0", gpus=(5,))])
    work = lab.workload(first.attempts[0])
    host = lab.host("gpu1", cards, look={"leases": (theirs,), "workloads": (stray, work)})
    told = [
        "GPU 5: ana's r-0 train for 1m",
        "GPU 4: our r-8-x-1, being stopped",
        "GPU 3: zoe's r-7-x-1 for 11d13h",
        "GPU 2: bob's python (77, 10 GiB)",
        "GPU 1: 10 GiB in use by an unknown process",
    ]
    for count in range(1, 6):
        said = obstacles(host, first, gpus=count).sentence
        assert said == ", ".join(["0 of 6 GPUs free", *told[:count]])
    box = ForeignContainer("c", "box", "img", (cards[1].uuid,))
    boxed = lab.with_look(host, foreign_containers=(box,))
    assert "GPU 1: container box" in obstacles(boxed, first, gpus=4).sentence


def test_free_gpus_go_first_and_holders_are_named_once_with_all_their_gpus() -> None:
    holding = lab.run("r-0", lab.stage(gpus=2), attempts=[lab.attempt("r-0", gpus=(0, 2))])
    host = lab.host("gpu1", 4, look={"workloads": (lab.workload(holding.attempts[0]),)})
    found = obstacles(host, holding, gpus=4)
    assert found.sentence == "2 of 4 GPUs free, GPU 0,2: ana's r-0 train for 1m"
    assert found.remedies == (Remedy(RemedyKind.WAIT_FOR_ATTEMPT, "r-0-train-1"),)


def cpu_work(run_id: str, cpus: float, ram: int | None = None) -> Run:
    """A run that is at work on the host."""
    work = lab.attempt(run_id, "x", gpus=(), placed_at=lab.NOW)
    return lab.run(run_id, lab.stage("x", cpus=cpus, ram=ram), attempts=[work])


def working(*runs: Run, **fields: Any) -> Host:
    works = tuple(lab.workload(run.attempts[0]) for run in runs)
    return lab.host(look={"workloads": works}, **fields)


@pytest.mark.parametrize(
    ("asked", "words", "remedies"),
    [
        ({"cpus": 40.0}, "has 32 CPUs, of 40 requested", (lower("cpus", 32.0),)),
        (
            {"ram": 300 * GIB},
            "has 256 GiB RAM, of 300 GiB requested",
            (lower("ram", 256.0 * GIB),),
        ),
    ],
)
def test_a_host_that_is_too_small(
    asked: dict[str, Any], words: str, remedies: tuple[Remedy, ...]
) -> None:
    assert obstacles(lab.host(), gpus=0, **asked) == HostReason("gpu1", words, remedies)


def test_who_has_the_cpus_is_named_up_to_those_that_are_enough() -> None:
    runs = [cpu_work("r-a", 4.0), cpu_work("r-b", 16.0), cpu_work("r-c", 12.0)]
    host = working(*runs)
    found = obstacles(host, *runs, gpus=0, cpus=20.0)
    assert found.sentence == "0 of 32 CPUs free: ana's r-b x, ana's r-c x"
    waits = [Remedy(RemedyKind.WAIT_FOR_ATTEMPT, f"r-{name}-x-1") for name in "bc"]
    assert found.remedies == tuple(waits)
    assert obstacles(host, *runs, gpus=0, cpus=16.0).remedies == tuple(waits[:1])
    too_much = obstacles(host, *runs, gpus=0, cpus=33.0)
    assert too_much.sentence.startswith("has 32 CPUs, of 33 requested; 0 of 32 CPUs free: ")


def test_who_has_the_ram_is_named_and_more_than_three_are_counted() -> None:
    runs = [cpu_work(f"r-{name}", 1.0, 60 * GIB) for name in "abcd"]
    host = working(*runs)
    found = obstacles(host, *runs, gpus=0, cpus=1.0, ram=76 * GIB)
    assert found.sentence == "16 GiB of 256 GiB RAM free: ana's r-a x"
    found = obstacles(host, *runs, gpus=0, cpus=1.0, ram=250 * GIB)
    named = "ana's r-a x, ana's r-b x, ana's r-c x"
    assert found.sentence == f"16 GiB of 256 GiB RAM free: {named}, 1 more"
    found = obstacles(host, *runs, gpus=0, cpus=1.0, ram=196 * GIB)
    assert found.sentence == f"16 GiB of 256 GiB RAM free: {named}"


def test_cpus_come_back_with_the_gpus_that_are_waited_for() -> None:
    work = lab.attempt("r-0", placed_at=lab.NOW)
    stage = lab.stage(gpus=1, cpus=32.0, ram=256 * GIB)
    holding = lab.run("r-0", stage, attempts=[work])
    host = lab.host("gpu1", 1, look={"workloads": (lab.workload(work),)})
    found = obstacles(host, holding, cpus=32.0, ram=256 * GIB)
    assert found.sentence == "0 of 1 GPUs free, GPU 0: ana's r-0 train"
    assert [remedy.subject for remedy in found.remedies] == ["r-0-train-1"]
    idle = lab.with_look(host, gpus=lab.gpus("gpu1", 2))
    assert obstacles(idle, holding, cpus=32.0).sentence == "0 of 32 CPUs free: ana's r-0 train"
    over = replace(holding, attempts=(replace(work, phase=Phase.COLLECTING),))
    assert plan(lab.snapshot(idle, over, lab.run("r-1"))).reasons.get(("r-1", "train")) is None


def test_what_is_kept_for_another_is_said_with_its_turn() -> None:
    work = lab.attempt("r-0", gpus=(0,), placed_at=lab.NOW)
    holding = lab.run("r-0", lab.stage(gpus=1, cpus=26.0), attempts=[work])
    host = lab.host("gpu1", 2, look={"workloads": (lab.workload(work),)})
    large = lab.run("r-big", lab.stage(gpus=2, cpus=4.0), owner="bo")
    turn = Remedy(RemedyKind.WAIT_FOR_TURN, "r-big/train", 1.0)
    found = obstacles(host, holding, large, run={"owner": "cy"})
    assert found.sentence == (
        "0 of 2 GPUs free, GPU 1: kept for bo's r-big train, which is ahead in the queue"
    )
    assert found.remedies == (turn,)
    cpus = obstacles(host, holding, large, run={"owner": "cy"}, gpus=0, cpus=4.0)
    assert (
        cpus.sentence == "2 of 32 CPUs free: kept for bo's r-big train, which is ahead in the queue"
    )
    assert cpus.remedies == (turn,)


LONG: list[tuple[int, Any]] = [
    (80, lambda text: obstacles(lab.host(condition=HostCondition.REFUSED, problem=text))),
    (60, lambda text: obstacles(lab.host(drained=text))),
    (80, lambda text: obstacles(lab.host(look={"gpu_problem": text}))),
    (200, lambda text: obstacles(lab.host(look={"lease_problem": text}))),
    (80, lambda text: obstacles(lab.with_look(SILENT, docker_problem=text))),
    (80, lambda text: obstacles(lab.with_look(SILENT, docker_problem=text), **DOCKER)),
    (80, lambda text: obstacles(lab.host(), run={"source": Source(path=text)}, code="here")),
    (120, lambda text: obstacles(lab.host(), program=text)),
    (80, lambda text: obstacles(lab.host(mounts=(HostMount("m", text),)), mounts=("m",))),
    (80, lambda text: obstacles(
        lab.host(mounts=(HostMount("m", "/m", problem=text),)), mounts=("m",)
    )),
    (120, lambda text: obstacles(
        lab.host(), snapshot={"ailing": {("gpu1", "process"): Ailment(text, 0, 10, lab.NOW + 9)}}
    )),
]  # fmt: skip


@pytest.mark.parametrize(("most", "said"), LONG)
def test_texts_of_others_are_shown_up_to_a_length(most: int, said: Any) -> None:
    assert "x" * most in said("x" * most).sentence
    assert "x" * most not in said("x" * (most + 1)).sentence


@pytest.mark.parametrize(
    ("gpus_only", "kind"), [(False, "no process starts"), (True, "no process with GPUs starts")]
)
def test_a_host_on_which_nothing_starts_says_what_does_not(gpus_only: bool, kind: str) -> None:
    ailment = Ailment("disk full", 0, 10, lab.NOW + 9, gpus_only=gpus_only)
    found = obstacles(lab.host(), snapshot={"ailing": {("gpu1", "process"): ailment}})
    assert found.sentence == (
        f"{kind} there: disk full (one is tried after 10s; after the repair: hostler undrain gpu1)"
    )
    assert found.remedies == (Remedy(RemedyKind.WAIT_FOR_HOST, "gpu1"),)


def test_others_are_named_behind_what_is_waited_for_anyway() -> None:
    work = lab.attempt("r-0", gpus=(0,), placed_at=lab.NOW)
    holding = lab.run("r-0", lab.stage(gpus=1, cpus=20.0), attempts=[work])
    other = cpu_work("r-a", 12.0)
    works = (lab.workload(work), lab.workload(other.attempts[0]))
    host = lab.host("gpu1", 1, look={"workloads": works})
    assert obstacles(host, holding, other, cpus=30.0).sentence == (
        "0 of 1 GPUs free, GPU 0: ana's r-0 train; 0 of 32 CPUs free: ana's r-a x"
    )
