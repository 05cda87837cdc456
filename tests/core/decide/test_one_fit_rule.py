"""A host takes a request exactly when nothing is said to be in the way there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from hostler.base.units import GIB
from hostler.decide.host_capacity import HostCapacity, candidates, choose
from hostler.decide.index import Index
from hostler.decide.obstacles import host_reason, is_free
from hostler.decide.requests import Request
from hostler.insight.gpu_states import classify, fleet
from hostler.model.environments import Environment
from hostler.model.hosts import (
    Disk,
    GpuState,
    Host,
    HostCondition,
    HostFacts,
    HostMount,
    Machine,
)
from hostler.model.plans import Ailment, Snapshot
from hostler.show.need import YES, Need, answer
from tests.support.values import planning as lab
from tests.support.worlds.hypothesis_profiles import examples

_AILMENT = Ailment("broken", lab.NOW - 9, 60.0, lab.NOW + 51)
_UNWELL = ({"problem": "lost"}, {"memory_used": 20 * GIB}, {"memory_total": None})
_SUBT = str(Environment("subt"))
_MOUNTS = (HostMount("data", "/data"), HostMount("data", "/data", problem=""))
_YES = 7
"""Times as often a property is as usual."""


def _machine(runtime: str) -> Machine:
    """The disk of one runtime is fuller."""
    other = Disk("/x", 100 * GIB, 20 * GIB, (runtime,))
    return Machine(disks=(Disk("/", 100 * GIB, 60 * GIB), other))


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((usual,) * _YES + others)


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    names = draw(st.lists(st.sampled_from((lab.A100, lab.RTX, None)), max_size=4))
    cards = []
    for index, name in enumerate(names):
        card = lab.gpu("gpu1", index, size=80 if name == lab.A100 else 24)
        unwell: dict[str, Any] = draw(
            mostly({}, {"problem": "lost"}, {"memory_used": 20 * GIB}, {"memory_total": None})
        )
        used = draw(mostly((), (lab.process(),)))
        cards.append(replace(card, name=name, processes=used, **unwell))
    made = lab.host(
        "gpu1",
        cards,
        asked_at=lab.NOW - draw(mostly(0.5, 500.0)),
        condition=draw(mostly(HostCondition.UP, *HostCondition)),
        drained=draw(mostly(None, "", "new disk")),
        unmerged=draw(mostly(False, True)),
        runtimes=draw(mostly(("docker", "process"), ("process",), ())),
        facts=HostFacts(hostname="gpu1", docker_gpu=draw(mostly("nvidia", None))),
        cpus=draw(st.sampled_from((32, 4, 1, None))),
        memory=draw(st.sampled_from((256 * GIB, 8 * GIB, None))),
        labels=draw(mostly({"disk": "fast"}, {})),
        shared_paths=draw(mostly(("/home",), ())),
        mounts=draw(mostly((), *((mount,) for mount in _MOUNTS))),
        programs=draw(mostly({"/opt/python": True}, {"/opt/python": False}, {})),
        environments=draw(mostly({_SUBT: ""}, {_SUBT: "has none"}, {_SUBT: None}, {})),
        look={
            "docker_problem": draw(mostly(None, "no answer")),
            "gpu_problem": draw(mostly(None, "no driver")),
            "lease_problem": draw(mostly(None, "read-only")),
            "machine": draw(mostly(Machine(), *map(_machine, ("process", "docker")))),
        },
    )
    return replace(made, look=None) if draw(mostly(False, True)) else made


MEMORY = mostly(None, 24 * GIB, 80 * GIB)
MODELS = mostly((), ("A100",), ("3090", "H100"))
REQUESTS = st.builds(
    Request,
    gpus=st.integers(0, 3),
    gpu_memory=MEMORY,
    gpu_models=MODELS,
    cpus=st.sampled_from((0.0, 1.0, 1.0 + 1e-12, 4.0, 16.0)),
    ram=st.sampled_from((None, GIB, 64 * GIB)),
    labels=mostly((), (("disk", "fast"),)),
    hosts=mostly((), ("gpu*",), ("other",)),
    runtime=st.sampled_from(("process", "docker")),
    here=mostly(None, "/home/ana/x", "/scratch"),
    pin=mostly(None, "gpu1", "gpu2"),
    timeout=st.none(),
    mounts=mostly((), ("data",)),
    program=mostly(None, "/opt/python"),
    keeps=mostly(False, True),
    disk=mostly(None, 10 * GIB, 50 * GIB, 500 * GIB),
    environment=mostly(None, _SUBT),
)  # fmt: skip


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    host = draw(hosts())
    runs = []
    if draw(mostly(False, True)):
        stage = lab.stage(cpus=draw(st.sampled_from((1.0, 30.0))), ram=GIB)
        attempt = lab.attempt("r-9", gpus=())
        runs.append(lab.run("r-9", stage, attempts=[attempt]))
    return lab.snapshot(
        host,
        *runs,
        refused=draw(mostly({}, {"gpu1": lab.NOW})),
        ailing=draw(mostly({}, {("gpu1", "process"): _AILMENT})),
        kept_on_host=draw(mostly(None, 0)),
        store_full=draw(mostly(None, "full")),
    )


@given(snapshots(), REQUESTS)
@examples(100)
def test_a_host_takes_what_has_no_obstacle_there(snapshot: Snapshot, request: Request) -> None:
    index = Index(snapshot)
    capacity = HostCapacity(snapshot.hosts[0], 0, index)
    choice = choose(candidates([capacity], request), request)
    reason = host_reason(capacity, request, index, None)
    event("placed" if choice is not None else "refused")
    assert (choice is not None) == is_free(capacity, request, index), reason.sentence
    assert (choice is not None) == (reason.sentence == "is free")
    if choice is not None:
        shown = classify(snapshot.hosts[0], snapshot.now, snapshot.policy, snapshot.daemon_id)
        free = {each.gpu.uuid for each in shown if each.state is GpuState.FREE}
        assert {gpu.uuid for gpu in choice.gpus} <= free


_PLAIN = Request(
    gpus=1, gpu_memory=None, gpu_models=(), cpus=0.0, ram=None, labels=(), hosts=(),
    runtime="process", here=None, pin=None, timeout=None,
)  # fmt: skip


@given(
    hosts(),
    st.builds(_PLAIN._replace, gpus=st.integers(1, 3), gpu_memory=MEMORY, gpu_models=MODELS),
)
@examples(100)
def test_what_gpus_need_answers_is_what_the_planner_does(host: Host, request: Request) -> None:
    """Of a host that runs processes and has no mount that every stage gets."""
    if host.look is not None and host.look.gpu_problem is not None:
        host = lab.with_look(host, gpus=())  # as hosts tell it
    host = replace(host, runtimes=("docker", "process"))
    snapshot = lab.snapshot(host)
    capacity = HostCapacity(host, 0, Index(snapshot))
    choice = choose(candidates([capacity], request), request)
    shown = fleet([host], snapshot.now, snapshot.policy, daemon_id=snapshot.daemon_id)
    need = Need(request.gpus, memory=request.gpu_memory, models=request.gpu_models)
    answered = answer(shown, need)
    event(answered.verdict)
    assert (choice is not None) == (answered.verdict == YES), answered.sentence
