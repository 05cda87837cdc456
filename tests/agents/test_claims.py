"""What a claim asks, whose leases it takes for its own, and what it says of those in its way."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hostler_agent.claims import Claims, lease_text, read_claim
from hostler_agent.containers import Running
from hostler_agent.folders import Refusal
from hostler_agent.leases import (
    Clocks,
    Found,
    Leases,
    Live,
    is_stale,
    parse,
    plain_owner,
    untouched,
    works,
)
from hostler_agent.look_sections import GpuValues
from hostler_agent.nvml import Reading
from tests.support.values.claiming import BOOT, CONTAINER, GPU, OTHER, Scene, a_lease, claim

GIB = 1024**3
ASKED: Any = {"gpus": [GPU], "attempt_id": "a-1", "daemon_id": "d1", "owner": "alice"}


def refused(claims: Claims, **asked: Any) -> str:
    return str(claims.claim(claim(**asked)).get("refused"))


def test_what_a_claim_leaves_out_has_a_default() -> None:
    found = read_claim(ASKED)
    assert (found.memory_floor, found.ignore, found.until) == (GIB, (), None)
    assert (found.gpus, found.attempt_id, found.owner) == ((GPU,), "a-1", "alice")


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ([], "a claim should be an object"),
        ({**ASKED, "attempt_id": "a 1"}, "attempt_id of the claim is not an id"),
        ({**ASKED, "daemon_id": ""}, "daemon_id of the claim is not an id"),
    ],
)
def test_a_claim_that_does_not_fit_is_refused(payload: Any, said: str) -> None:
    with pytest.raises(Refusal, match=said) as refusal:
        read_claim(payload)
    assert refusal.value.kind == "InputError"


@pytest.mark.parametrize(("used", "free"), [(1023, True), (1024, False)])
def test_memory_counts_from_the_floor_on(
    claims: Claims, scene: Scene, used: int, free: bool
) -> None:
    scene.put(GPU, used=used)
    said = refused(claims)
    assert said == (
        "None" if free else "GPU 0: 1.0 GiB of its memory are in use by no process that NVML lists"
    )


@pytest.mark.parametrize(
    ("described", "memory", "said"),
    [
        ({"user": "bob", "command": "x"}, 512, "in use by bob: x (PID 50, 0.5 GiB)"),
        ({}, 1024, "in use by an unknown user: an unknown program (PID 50, 1.0 GiB)"),
        ({"memory": None, "user": "bob", "command": "x"}, 0, "in use by bob: x (PID 50)"),
        (
            {"exists": False, "memory": None},
            0,
            "its memory is held by PID 50, which no longer exists",
        ),
        (
            {"exists": False},
            2048,
            "its memory is held by PID 50, which no longer exists, 2.0 GiB",
        ),
    ],
)
def test_a_process_in_the_way_is_described(
    claims: Claims, scene: Scene, described: dict[str, Any], memory: int, said: str
) -> None:
    scene.put(GPU, (50, memory))
    scene.described[50] = described
    assert refused(claims) == f"GPU 0: {said}"


def test_a_long_command_is_cut(claims: Claims, scene: Scene) -> None:
    scene.put(GPU, (50, 0))
    scene.described[50] = {"command": "x" * 120}
    assert "x" * 120 in refused(claims)
    scene.described[50] = {"command": "x" * 121}
    assert "x" * 121 not in refused(claims)


def test_a_stranger_behind_its_own_process_is_in_the_way(claims: Claims, scene: Scene) -> None:
    scene.put(GPU, (50, 10), (51, 10))
    scene.described[50] = {"attempt_id": "a-1"}
    assert "PID 51" in refused(claims)
    scene.described[51] = {"attempt_id": "a-2"}
    assert "PID 51" in refused(claims)


def test_to_a_reservation_no_process_is_its_own(claims: Claims, scene: Scene) -> None:
    scene.put(GPU, (50, 10))
    assert "PID 50" in refused(claims, attempt=None)


def test_no_container_is_a_reservations_own(claims: Claims, scene: Scene) -> None:
    box = Running(CONTAINER, "web", "nginx:1", ("0",), None, "d1")
    scene.containers = [box]
    assert "container web" in refused(claims, attempt=None)
    scene.containers = [box._replace(attempt_id="a-1", daemon_id="d2")]
    assert "container web" in refused(claims)
    scene.containers = [box._replace(attempt_id="a-1")]
    assert refused(claims) == "None"


def test_a_container_is_ignored_by_its_image_and_hides_no_other(
    claims: Claims, scene: Scene
) -> None:
    first = Running(CONTAINER, "one", "dcgm:1", ("all",), None, None)
    scene.containers = [first]
    assert refused(claims, ignore=["dcgm*"]) == "None"
    claims.release(claims.claim(claim(ignore=["dcgm*"]))["lease_ids"])
    scene.containers = [first, first._replace(name="two", image="nginx", grants=("1", "0"))]
    assert "container two (nginx)" in refused(claims, ignore=["dcgm*"])


def test_of_several_gpus_the_one_in_the_way_is_named(claims: Claims, scene: Scene) -> None:
    scene.readings[OTHER] = None
    said = str(claims.claim(claim(GPU, OTHER)).get("refused"))
    assert said == "GPU 1: it does not answer"


def test_a_gpu_that_is_not_there_is_told_with_what_is_wrong(folder: Leases, scene: Scene) -> None:
    sight = scene.sight()._replace(gpu_problem=lambda: "no driver")
    said = Claims(folder, sight).claim(claim("GPU-none"))["refused"]
    assert said == "GPU GPU-none is not on this machine: no driver"
    plain = Claims(folder, scene.sight()).claim(claim("GPU-none"))["refused"]
    assert plain == "GPU GPU-none is not on this machine"


def test_a_claim_that_is_repeated_changes_only_its_end_and_owner(
    claims: Claims, folder: Leases, scene: Scene
) -> None:
    first = claims.claim(claim())
    claims.bind(first["lease_ids"], CONTAINER, claim())
    (before,) = folder.list(scene.live(()))
    assert claims.claim(claim(until=9e9, owner="bo")) == first
    (after,) = folder.list(scene.live(()))
    assert after.lease == {**before.lease, "until": 9e9, "owner": "bo"}


def test_a_lease_passes_to_the_next_attempt_once_nothing_of_the_first_runs(
    claims: Claims, folder: Leases, scene: Scene
) -> None:
    first = claims.claim(claim(attempt="a-1"))["lease_ids"]
    claims.started("d1", "a-1", "10:500")
    scene.alive = {(10, 500)}
    assert refused(claims, attempt="a-2").startswith("GPU 0: leased ")
    said = refused(claims, attempt="a-2", instead_of=["a-0", "a-1"])
    assert said == "GPU 0: attempt a-1 before this one has not ended"
    scene.alive = set()
    scene.put(GPU, (50, 100))
    scene.described[50] = {"attempt_id": "a-1"}
    assert "PID 50" in refused(claims, attempt="a-2", instead_of=["a-1"])
    scene.put(GPU, used=4096)
    assert "no process that NVML lists" in refused(claims, attempt="a-2", instead_of=["a-1"])
    scene.put(GPU)
    assert refused(claims, attempt="b-1", daemon="d2", instead_of=["a-1"]).startswith("GPU 0: ")
    assert claims.claim(claim(attempt="a-2", instead_of=["a-1"])) == {"lease_ids": first}
    (found,) = folder.of("d1")
    assert (found.lease["attempt_id"], found.lease["workload"]) == ("a-2", None)
    assert refused(claims, attempt="a-1").startswith("GPU 0: leased ")
    box = Running(CONTAINER, "hostler-d1-a-2", "x", ("0",), "a-2", "d1")
    claims.bind(first, CONTAINER, claim(attempt="a-2", instead_of=["a-1"]))
    scene.containers = [box]
    said = refused(claims, attempt="a-3", instead_of=["a-1", "a-2"])
    assert said == "GPU 0: attempt a-2 before this one has not ended"


def test_a_lease_of_before_a_boot_is_written_anew(
    claims: Claims, folder: Leases, scene: Scene
) -> None:
    old = Claims(folder, scene.sight()._replace(live=lambda found: scene.live(found, "boot-0")))
    first = old.claim(claim())["lease_ids"]
    second = claims.claim(claim())["lease_ids"]
    assert first != second
    (found,) = folder.list(scene.live(()))
    assert (found.lease["boot_id"], found.stale) == (BOOT, False)


def test_a_new_lease_says_all_that_was_claimed(
    claims: Claims, folder: Leases, scene: Scene
) -> None:
    began = time.time()
    (lease_id,) = claims.claim(claim(until=9e9))["lease_ids"]
    (found,) = folder.list(scene.live(()))
    claimed_at = found.lease["claimed_at"]
    assert began <= claimed_at <= time.time()
    assert found.lease == {
        "lease_id": lease_id, "gpu": GPU, "daemon_id": "d1", "owner": "alice", "attempt_id": "a-1",
        "claimed_at": claimed_at, "until": 9e9, "boot_id": BOOT, "workload": None,
    }  # fmt: skip
    assert found.uid == os.getuid()


def test_a_reservation_belongs_to_whom_it_names(claims: Claims) -> None:
    first = claims.claim(claim(attempt=None))
    assert claims.claim(claim(attempt=None)) == first
    assert refused(claims, attempt=None, owner="bo").startswith("GPU 0: leased ")
    assert refused(claims, attempt=None, daemon="d2").startswith("GPU 0: leased ")
    assert refused(claims).startswith("GPU 0: leased ")


def test_a_lease_is_told_with_its_owner_and_what_it_is_for() -> None:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(1000.0))

    def said(uid: int, **lease: Any) -> str:
        return lease_text(Found(a_lease(**lease), False, uid, "x"))

    assert said(0) == f"leased by root to bob for z-1 since {since}"
    assert said(0, owner="root") == f"leased to root for z-1 since {since}"
    assert said(0, attempt_id=None) == f"leased by root to bob by reservation since {since}"


def test_what_a_lease_is_bound_to_is_kept_up_to_a_length(
    claims: Claims, folder: Leases, scene: Scene
) -> None:
    ids = claims.claim(claim())["lease_ids"]
    claims.bind(ids, "w" * 300, claim())
    (found,) = folder.of("d1")
    assert found.lease["workload"] == "w" * 255


def test_only_the_leases_of_a_started_job_are_bound_to_it(claims: Claims, folder: Leases) -> None:
    claims.claim(claim(attempt="a-1"))
    claims.claim(claim(OTHER, attempt="a-2"))
    claims.started("d2", "a-1", "10:500")
    claims.started("d1", "a-3", "10:500")
    assert {f.lease["workload"] for f in folder.of("d1")} == {None}
    claims.started("d1", "a-1", "10:500")
    bound = {f.lease["attempt_id"]: f.lease["workload"] for f in folder.of("d1")}
    assert bound == {"a-1": "10:500", "a-2": None}
    assert folder.of("d2") == []


def test_a_bound_lease_whose_work_is_gone_is_bound_anew(
    claims: Claims, folder: Leases, scene: Scene
) -> None:
    ids = claims.claim(claim())["lease_ids"]
    claims.bind(ids, "d" * 64, claim())
    assert claims.bind(ids, CONTAINER, claim()) == {"lease_ids": ids}
    assert folder.of("d1")[0].lease["workload"] == CONTAINER


def test_leases_of_other_gpus_are_listed_where_nothing_is_asked_for(
    claims: Claims, folder: Leases, scene: Scene
) -> None:
    claims.claim(claim(OTHER, attempt="a-2"))
    claims.claim(claim())
    assert [f.lease["gpu"] for f in folder.list(scene.live(()))] == [GPU, OTHER]
    assert len(folder.list(scene.live(()), ())) == 2, "one's own are always listed"


LIVE = Live(BOOT, lambda pid, ticks: (pid, ticks) == (10, 500), lambda ref: ref == CONTAINER)


@pytest.mark.parametrize(
    ("workload", "found"),
    [
        (None, False),
        ("a-1", False),
        ("10:500", True),
        ("10:501", False),
        (CONTAINER, True),
        ("d" * 64, False),
        ("c" * 63, False),
    ],
)
def test_what_a_lease_is_bound_to_works(workload: str | None, found: bool) -> None:
    assert works(workload, LIVE) is found


def test_a_job_that_has_not_started_is_no_container_that_nobody_can_see() -> None:
    blind = LIVE._replace(container=lambda ref: None)
    assert works("a-1", blind) is False
    assert works(CONTAINER, blind) is None


@pytest.mark.parametrize(
    ("lease", "age", "now", "stale"),
    [
        ({}, 7200.0, 1e9, False),
        ({}, 7200.5, 1e9, True),
        ({"until": 1e9}, 0.0, 1e9, False),
        ({"until": 1e9 - 1}, 0.0, 1e9, True),
        ({"until": 1e9 - 1, "workload": "a-1"}, 0.0, 1e9, True),
        ({"until": 1e9 + 1}, 7200.5, 1e9, True),
        ({"attempt_id": None, "until": 1e9 + 1}, 7200.5, 1e9, False),
        ({"attempt_id": None, "until": 1e9 - 1}, 0.0, 1e9, True),
    ],
)
def test_when_a_lease_holds_nothing_any_more(
    lease: dict[str, Any], age: float, now: float, stale: bool
) -> None:
    assert is_stale(a_lease(**lease), age, LIVE, now) is stale


def test_a_lease_whose_container_nobody_can_see_ends_by_its_time_alone_if_it_has_none() -> None:
    blind = LIVE._replace(container=lambda ref: None)
    bound = a_lease(workload=CONTAINER, until=5.0)
    assert not is_stale(bound, 9e9, blind, 1e9)
    assert is_stale(a_lease(until=5.0), 0.0, blind, 1e9)


@pytest.mark.parametrize(
    ("touched", "changed", "now", "age"),
    [
        (None, 90.0, Clocks(100.0, 50.0), 10.0),
        (45.0, 90.0, Clocks(100.0, 50.0), 5.0),
        (20.0, 90.0, Clocks(100.0, 50.0), 10.0),
        (60.0, 90.0, Clocks(100.0, 50.0), 10.0),
        (50.0, 90.0, Clocks(100.0, 50.0), 0.0),
        (45.0, 90.0, Clocks(100.0, None), 10.0),
        (None, 110.0, Clocks(100.0, 50.0), 0.0),
    ],
)
def test_the_shorter_of_what_two_clocks_say_counts(
    touched: float | None, changed: float, now: Clocks, age: float
) -> None:
    assert untouched(touched, changed, now) == age


def parsed(**changes: Any) -> Any:
    found = parse(json.dumps({**a_lease(), **changes}).encode(), GPU, os.getuid())
    return None if found is None else found[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"lease_id": f"{GPU}.{os.getuid()}.xyz"},
        {"lease_id": f"{OTHER}.{os.getuid()}.{'0' * 12}"},
        {"lease_id": f"{GPU}.{os.getuid() + 1}.{'0' * 12}"},
        {"lease_id": None},
        {"gpu": OTHER},
        {"attempt_id": "a 1"},
        {"attempt_id": 5},
        {"claimed_at": None},
        {"claimed_at": -1.0},
        {"claimed_at": 1e11},
        {"daemon_id": "d 1"},
        {"daemon_id": None},
        {"owner": ""},
        {"owner": None},
    ],
)
def test_a_file_with_a_wrong_part_holds_no_lease(changes: dict[str, Any]) -> None:
    assert parsed(**changes) is None


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"boot_id": "x y"}, "boot_id", None),
        ({"boot_id": 5}, "boot_id", None),
        ({"workload": "x y"}, "workload", None),
        ({"until": -1}, "until", None),
        ({"until": 1e11}, "until", None),
        ({"until": 0}, "until", 0),
        ({"claimed_at": 0}, "claimed_at", 0),
        ({"attempt_id": None}, "attempt_id", None),
        ({"owner": "\x1bbo" + "x" * 100}, "owner", "?bo" + "x" * 61),
    ],
)
def test_what_else_is_wrong_is_left_out(changes: dict[str, Any], key: str, value: Any) -> None:
    assert parsed(**changes)[key] == value


def test_a_lease_is_read_up_to_a_size() -> None:
    text = json.dumps(a_lease()).encode()
    assert parse(text + b" " * (4096 - len(text)), GPU, os.getuid()) is not None
    assert parse(text + b" " * (4097 - len(text)), GPU, os.getuid()) is None
    assert parse(b"\xff" + text, GPU, os.getuid()) is None


def test_an_owner_is_plain_text_of_sixty_four_letters() -> None:
    assert plain_owner(" ~\x7f\x1fé") == " ~???"
    assert plain_owner("x" * 65) == "x" * 64


def test_a_lease_is_known_by_its_whole_id(claims: Claims, folder: Leases) -> None:
    (lease_id,) = claims.claim(claim())["lease_ids"]
    assert folder.own(lease_id) is not None
    gpu, uid, number = lease_id.split(".")
    others = (f"{gpu}.{uid}.{'0' * 12}", f"{gpu}.{int(uid) + 1}.{number}", f"{lease_id}0", "x")
    for other in others:
        assert folder.own(other) is None
        folder.remove(other)
    assert folder.own(lease_id) is not None
    folder.remove(lease_id)
    assert folder.own(lease_id) is None


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path, scene: Scene) -> None:
    nowhere = Leases(str(tmp_path / "a" / "leases"))
    assert nowhere.list(scene.live(())) == []
    assert nowhere.stamp() is None
    assert nowhere.problem() is None
    assert nowhere.own(f"{GPU}.{os.getuid()}.{'0' * 12}") is None
    nowhere.touch("d1")
    nowhere.remove(f"{GPU}.{os.getuid()}.{'0' * 12}")
    assert not (tmp_path / "a").exists()


def test_the_stamp_changes_with_what_lies_there(claims: Claims, folder: Leases) -> None:
    ids = claims.claim(claim())["lease_ids"]
    before = folder.stamp()
    assert before is not None
    claims.release(ids)
    assert folder.stamp() != before


def test_a_mig_reading_comes_before_processes(claims: Claims, scene: Scene) -> None:
    scene.readings[GPU] = Reading(GpuValues(), (), "lost", True)
    assert refused(claims) == "GPU 0: it cannot be used: lost"


def test_only_what_this_user_left_half_written_is_swept_away(
    claims: Claims, folder: Leases
) -> None:
    claims.claim(claim())
    me, path = os.getuid(), Path(folder.folder)
    left = [f".{me}.a.new", f".{me + 1}.a.new", f".{me}.a", "a.new"]
    for name in left:
        (path / name).write_text("x")
    folder.touch("d9")
    assert all((path / name).exists() for name in left), "no leases of that daemon"
    folder.touch("d1")
    assert [name for name in left if (path / name).exists()] == left[1:]


def test_leases_of_a_daemon_are_never_judged(claims: Claims, folder: Leases) -> None:
    claims.claim(claim())
    claims.started("d1", "a-1", "10:500")
    (found,) = folder.of("d1")
    assert not found.stale


@pytest.mark.parametrize(("mode", "fit"), [(0o1777, True), (0o1775, False), (0o1757, False)])
def test_a_folder_that_not_everybody_may_use_is_refused(
    folder: Leases, scene: Scene, mode: int, fit: bool
) -> None:
    Claims(folder, scene.sight()).claim(claim())
    os.chmod(folder.folder, mode)
    problem = folder.problem()
    if fit:
        assert problem is None
    else:
        assert problem is not None
        assert f"has mode {mode:o} and should have 1777" in problem
        assert f"chmod 1777 {folder.folder}" in problem
