"""Whether a GPU can be had, in one word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.index import open_attempts
from hostler.insight.gpu_states import History, classify, fleet
from hostler.model.hosts import (
    ForeignContainer,
    Gpu,
    GpuState,
    Host,
    HostCondition,
    HostFacts,
    Lease,
)
from hostler.model.plans import Policy
from hostler.model.runs import Phase
from tests.support.values import planning as lab

CARD = lab.gpu("gpu1", 0)
SPOT = ("gpu1", CARD.uuid)
MINE = lab.attempt(placed_at=lab.NOW - 7200)
OPEN = open_attempts([lab.run("r-1", attempts=[MINE])])
LEASE = lab.lease(MINE, CARD.uuid)
FOREIGN = ForeignContainer("c1", "jupyter", "img", (CARD.uuid,))


def one(card: Gpu = CARD, *, drained: str | None = None, **look: Any) -> Host:
    return lab.host("gpu1", [card], drained=drained, look=look)


def state(host: Host, attempts: Any = (), **history: Any) -> tuple[str, tuple[str, ...]]:
    (view,) = classify(host, lab.NOW, Policy(), lab.DAEMON, attempts, History(**history))
    assert (view.why is None) == (view.state is GpuState.FREE)
    return view.state.value, view.owners


HELD = replace(CARD, processes=(lab.process(),), memory_used=10 * GIB)
FULL = replace(CARD, memory_used=10 * GIB)
DEAD = replace(CARD, processes=(lab.process(exists=False, user=None),), memory_used=10 * GIB)


@pytest.mark.parametrize(
    ("host", "attempts", "expected"),
    [
        (one(), (), ("free", ())),
        (one(drained="fans"), (), ("drained", ())),
        (one(drained=""), (), ("drained", ())),
        (one(HELD), (), ("foreign", ("bob",))),
        (one(HELD, drained="fans"), (), ("foreign", ("bob",))),
        (one(foreign_containers=(FOREIGN,)), (), ("foreign", ())),
        (one(), OPEN, ("leased", ("ana",))),
        (one(leases=(LEASE,)), OPEN, ("leased", ("ana",))),
        (one(leases=(LEASE,), workloads=(lab.workload(MINE),)), OPEN, ("leased", ("ana",))),
        (one(leases=(replace(LEASE, daemon_id=lab.OTHER, owner="zoe"),)), (), ("leased", ("zoe",))),
        (one(HELD), OPEN, ("contested", ("ana", "bob"))),
        (one(leases=(replace(LEASE, attempt_id="x", daemon_id=lab.OTHER, owner="zoe"),)), OPEN,
         ("contested", ("ana", "zoe"))),
        (one(replace(CARD, problem="lost")), OPEN, ("unhealthy", ("ana",))),
        (one(replace(CARD, mig=True)), (), ("unhealthy", ())),
        (one(FULL), (), ("unhealthy", ())),
        (one(DEAD), (), ("unhealthy", ())),
        (one(FULL, leases=(LEASE,)), (), ("unhealthy", ("ana",))),
        (one(leases=(LEASE,)), (), ("leased", ("ana",))),
        (one(leases=(replace(LEASE, stale=True),)), (), ("free", ())),
    ],
    ids=["free", "drained", "drained without reason", "process", "process on a drained host",
         "container", "open attempt", "with lease", "with workload", "somebody's lease",
         "process on a leased one", "two leases", "lost", "mig", "memory of nobody", "dead process",
         "quarantined", "being released", "stale lease"],
)  # fmt: skip
def test_states(host: Host, attempts: Any, expected: tuple[str, tuple[str, ...]]) -> None:
    assert state(host, attempts) == expected


def test_memory_may_take_its_time_to_come_back() -> None:
    releasing = one(FULL, leases=(LEASE,))
    assert state(releasing, ended_at={MINE.attempt_id: lab.NOW - 10})[0] == "leased"
    assert state(releasing, ended_at={MINE.attempt_id: lab.NOW - 121})[0] == "unhealthy"


def test_idle_needs_a_history() -> None:
    assert state(one(), OPEN, idle_since={SPOT: lab.NOW - 900})[0] == "idle"
    assert state(one(), (), idle_since={SPOT: lab.NOW - 900})[0] == "free"


def test_quiet_before_the_lease_does_not_count_as_idle() -> None:
    quiet = {SPOT: lab.NOW - 5000}
    for ago, word in ((10, "leased"), (899, "leased"), (900, "idle")):
        begun = open_attempts([lab.run("r-1", attempts=[replace(MINE, placed_at=lab.NOW - ago)])])
        assert state(one(), begun, idle_since=quiet)[0] == word


def test_our_own_process_on_its_gpu_is_no_contest() -> None:
    ours = lab.process(attempt_id=MINE.attempt_id)
    assert state(one(replace(HELD, processes=(ours,))), OPEN)[0] == "leased"
    docker = replace(MINE, runtime="docker")
    work = lab.workload(docker, runtime="docker", ref="abc")
    inside = lab.process(container_id="abc", user="root")
    host = one(replace(HELD, processes=(inside,)), workloads=(work,))
    assert state(host, open_attempts([lab.run("r-1", attempts=[docker])]))[0] == "leased"


def test_our_process_on_a_gpu_it_was_not_given_is_contested() -> None:
    other = lab.attempt("r-2", gpus=(1,))
    cards = [replace(CARD, processes=(lab.process(attempt_id=other.attempt_id),)),
             lab.gpu("gpu1", 1)]  # fmt: skip
    runs = [lab.run("r-1", attempts=[MINE]), lab.run("r-2", attempts=[other])]
    views = classify(lab.host("gpu1", cards), lab.NOW, Policy(), lab.DAEMON, open_attempts(runs))
    assert [v.state.value for v in views] == ["contested", "leased"]


@pytest.mark.parametrize(
    "silent",
    [
        lab.host("gpu1", [CARD], condition=HostCondition.UNREACHABLE),
        lab.host("gpu1", [CARD], asked_at=lab.NOW - 11),
    ],
)
def test_unknown_is_neither_free_nor_zero_percent(silent: Host) -> None:
    busy = lab.with_look(silent, gpus=(replace(CARD, utilization=97.0),))
    shown = fleet([busy], lab.NOW, Policy())
    (card,) = shown["hosts"][0]["gpus"]
    assert card["state"] == "unknown"
    assert card["utilization"] is None
    assert card["memory_used"] is None
    assert card["memory_total"] == 80 * GIB
    assert shown["summary"] == {"total": 1, "free": 0}


def test_a_host_never_heard_has_no_gpus_to_show() -> None:
    silent = replace(lab.host(), look=None, condition=HostCondition.CONNECTING)
    assert classify(silent, lab.NOW, Policy()) == ()
    (shown,) = fleet([silent], lab.NOW, Policy())["hosts"]
    assert (shown["gpus"], shown["age_s"], shown["condition"]) == ([], None, "connecting")


def test_the_fleet_object_is_what_the_protocol_says() -> None:
    card = replace(CARD, utilization=12.0, temperature=31.0, power=56.2)
    host = lab.host("gpu1", [card, lab.gpu("gpu1", 1)], labels={"zone": "a"})
    shown = fleet([host], lab.NOW, Policy(), daemon_id=lab.DAEMON, attempts=OPEN)
    assert shown == {
        "schema": "hostler.gpus/1", "at": lab.NOW, "source": "daemon",
        "summary": {"total": 2, "free": 1},
        "hosts": [{
            "host": "gpu1", "transport": "ssh", "condition": "up", "problem": None, "age_s": 0.5,
            "gpu_problem": None, "drained": None, "labels": {"zone": "a"},
            "gpus": [
                {"index": 0, "uuid": "GPU-gpu1-0", "model": lab.A100, "state": "leased",
                 "why": "ana's r-1 train for 2h", "owners": ["ana"], "since": lab.NOW - 7200,
                 "until": None, "memory_total": 80 * GIB, "memory_used": 0, "utilization": 12.0,
                 "temperature": 31.0, "power": 56.2},
                {"index": 1, "uuid": "GPU-gpu1-1", "model": lab.A100, "state": "free", "why": None,
                 "owners": [], "since": None, "until": None, "memory_total": 80 * GIB,
                 "memory_used": 0, "utilization": None, "temperature": None, "power": None},
            ],
        }],
    }  # fmt: skip


def test_problems_of_gpus_and_docker_are_the_hosts() -> None:
    blind = lab.host(look={"gpus": (), "gpu_problem": "no driver"})
    assert fleet([blind], lab.NOW, Policy())["hosts"][0]["problem"] == "no driver"


def test_where_docker_is_silent_no_gpu_is_free_and_what_is_known_stays() -> None:
    look = {"docker_problem": "Docker is not running", "leases": (LEASE,)}
    host = lab.host(facts=HostFacts(runtimes=("docker", "process")), look=look)
    views = classify(host, lab.NOW, Policy(), lab.DAEMON)
    assert {view.state for view in views} == {GpuState.LEASED, GpuState.UNKNOWN}
    unknown = next(view for view in views if view.state is GpuState.UNKNOWN)
    assert "Docker is not running" in str(unknown.why)
    without = replace(host, facts=HostFacts(runtimes=("process",)))
    views = classify(without, lab.NOW, Policy(), lab.DAEMON)
    assert {view.state for view in views} == {GpuState.LEASED, GpuState.FREE}


def test_final_attempts_hold_nothing() -> None:
    final = replace(MINE, phase=Phase.SUCCEEDED)
    assert open_attempts([lab.run("r-1", attempts=[final])]) == []


def test_until_when_is_told_where_a_time_limit_tells() -> None:
    begun = replace(MINE, phase=Phase.RUNNING, launched_at=lab.NOW - 60)
    for limit, until in ((600.0, lab.NOW + 540), (None, None)):
        held = open_attempts([lab.run("r-1", lab.stage("train", timeout=limit), attempts=[begun])])
        (view,) = classify(one(leases=(LEASE,)), lab.NOW, Policy(), lab.DAEMON, held)
        assert (view.state, view.until) == (GpuState.LEASED, until)


OTHERS = replace(LEASE, daemon_id="d-other", attempt_id="z-1", owner="cleo", uid=1007, user="bob")
HELD_BY_HAND = replace(OTHERS, attempt_id=None, owner="bob")


@pytest.mark.parametrize("lease", [OTHERS, HELD_BY_HAND])
def test_whoever_leased_a_gpu_may_be_at_work_on_it(lease: Lease) -> None:
    assert state(one(HELD, leases=(lease,)))[0] == "leased"
    told = replace(lease, user="mallory")
    assert state(one(HELD, leases=(told,)))[0] == "contested", "the text names bob, the file not"
    assert state(one(HELD, leases=(replace(lease, user=None),)))[0] == "contested"


def test_a_person_beside_our_own_attempt_is_contested() -> None:
    ours = replace(LEASE, uid=1007, user="bob")
    assert state(one(HELD, leases=(ours,)), OPEN)[0] == "contested"


def test_the_name_in_a_lease_is_shown_beside_the_files_owner() -> None:
    (view,) = classify(one(leases=(OTHERS,)), lab.NOW, Policy(), lab.DAEMON)
    assert view.owners == ("bob for cleo",)
    assert (view.why or "").startswith("bob for cleo's z-1")
    (same,) = classify(one(leases=(HELD_BY_HAND,)), lab.NOW, Policy(), lab.DAEMON)
    assert same.owners == ("bob",)
    old = replace(OTHERS, user=None)
    (older,) = classify(one(leases=(old,)), lab.NOW, Policy(), lab.DAEMON)
    assert older.owners == ("cleo",)


def test_what_this_daemon_wrote_for_a_member_is_the_members() -> None:
    """A shared daemon's login owns the files of all of its leases."""
    ours = replace(LEASE, uid=990, user="hostler")
    assert state(one(leases=(ours,)))[1] == ("ana",)


def test_a_lease_that_names_our_attempt_is_not_taken_for_it() -> None:
    forged = replace(OTHERS, attempt_id=MINE.attempt_id, workload="c" * 64)
    host = one(leases=(LEASE, forged))
    assert state(host, OPEN)[0] == "contested"
    inside = replace(CARD, processes=(lab.process(user="eve", container_id="c" * 64),))
    (view,) = classify(
        lab.host("gpu1", [inside], look={"leases": (LEASE, forged)}),
        lab.NOW, Policy(), lab.DAEMON, OPEN, History(),
    )  # fmt: skip
    assert "eve" in view.owners


def test_a_gpu_that_cannot_be_leased_is_not_called_free() -> None:
    """Nor may whoever leased it be seen where the folder of leases is not fit."""
    broken = one(lease_problem="the lock cannot be opened")
    assert state(broken)[0] == "unknown"
    (view,) = classify(broken, lab.NOW, Policy())
    assert view.why == "it cannot be leased: the lock cannot be opened"
    assert state(one(HELD, lease_problem="the lock cannot be opened"))[0] == "foreign"


@pytest.mark.parametrize("field", ["lease_problem", "left_out"])
def test_trouble_of_a_look_is_the_hosts_problem(field: str) -> None:
    told: dict[str, Any] = {field: "too much"}
    shown = fleet([one(**told)], lab.NOW, Policy())
    assert shown["hosts"][0]["problem"] == "too much"


@pytest.mark.parametrize(
    ("silent", "why"),
    [
        (lab.host(condition=HostCondition.UNREACHABLE), "host unreachable"),
        (lab.host(condition=HostCondition.REFUSED, problem="key"), "host refused: key"),
        (lab.host(asked_at=lab.NOW - 11), "no news from the host"),
        (
            replace(lab.host(condition=HostCondition.UNREACHABLE), unmerged=True),
            "host unreachable",
        ),
        (
            replace(lab.host(), unmerged=True),
            "the host's notes since the backup are not merged yet",
        ),
    ],
)
def test_why_nothing_is_known_of_a_silent_host(silent: Host, why: str) -> None:
    views = classify(silent, lab.NOW, Policy())
    assert silent.look is not None
    assert {(view.why, view.since) for view in views} == {(why, silent.look.asked_at)}


def test_what_an_old_look_measured_is_not_shown() -> None:
    card = replace(CARD, temperature=31.0, power=5.0, utilization=1.0, memory_used=5)
    shown = fleet([lab.host("gpu1", [card], asked_at=lab.NOW - 11)], lab.NOW, Policy())
    (found,) = shown["hosts"][0]["gpus"]
    assert (found["temperature"], found["power"]) == (None, None)
    assert (found["utilization"], found["memory_used"]) == (None, None)


def test_the_age_of_a_look_is_never_negative() -> None:
    (shown,) = fleet([lab.host(asked_at=lab.NOW + 5)], lab.NOW, Policy())["hosts"]
    assert shown["age_s"] == 0.0
    (shown,) = fleet([lab.host(asked_at=lab.NOW - 1.26)], lab.NOW, Policy())["hosts"]
    assert shown["age_s"] == 1.3


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        (lab.host(), None),
        (lab.host(problem="no route", look={"gpu_problem": "x"}), "no route"),
        (replace(lab.host(problem="no route"), look=None), "no route"),
        (lab.host(look={"gpus": (), "docker_problem": "dockerd"}), "no GPUs; dockerd"),
        (lab.host(look={"docker_problem": "dockerd"}), "dockerd"),
        (lab.host(look={"gpus": (), "gpu_problem": "x", "docker_problem": "dockerd"}), "x"),
        (lab.host(look={"gpus": ()}), None),
    ],
)
def test_the_problem_of_a_host(host: Host, problem: str | None) -> None:
    (shown,) = fleet([host], lab.NOW, Policy())["hosts"]
    assert shown["problem"] == problem


@pytest.mark.parametrize(
    ("used", "ago", "word"),
    [(GIB, 121.0, "leased"), (GIB + 1, 121.0, "unhealthy"), (GIB + 1, 120.0, "leased")],
)
def test_memory_is_late_when_more_than_the_floor_is_used_after_its_time(
    used: int, ago: float, word: str
) -> None:
    host = one(replace(CARD, memory_used=used), leases=(LEASE,))
    assert state(host, ended_at={MINE.attempt_id: lab.NOW - ago})[0] == word


def test_of_many_on_a_gpu_twenty_are_named() -> None:
    def why(number: int) -> str:
        on = tuple(lab.process(pid=n) for n in range(number))
        (view,) = classify(one(replace(CARD, processes=on)), lab.NOW, Policy(), lab.DAEMON)
        return str(view.why)

    assert why(20).count("bob") == 20
    assert "more" not in why(20)
    assert why(22).count("bob") == 20
    assert why(22).endswith("; and 2 more")


def test_what_two_hold_is_had_when_both_have_ended_if_that_is_known() -> None:
    theirs = replace(LEASE, daemon_id=lab.OTHER, attempt_id="z-1", until=lab.NOW + 50)
    (view,) = classify(one(leases=(theirs,)), lab.NOW, Policy(), lab.DAEMON)
    assert (view.state.value, view.until) == ("leased", lab.NOW + 50)
    stray = lab.workload(MINE, gpus=(CARD.uuid,))
    idle = {SPOT: lab.NOW - 5000}
    both = one(leases=(replace(theirs, attempt_id=None),), workloads=(stray,))
    (view,) = classify(both, lab.NOW, Policy(), lab.DAEMON, (), History(idle_since=idle))
    assert (view.state.value, view.until) == ("contested", None)


@pytest.mark.parametrize(("drained", "why"), [("fans", "fans"), ("", "drained")])
def test_why_a_host_is_drained_is_said_where_that_is_known(drained: str, why: str) -> None:
    (view,) = classify(one(drained=drained), lab.NOW, Policy(), lab.DAEMON, (), History())
    assert view.why == why
