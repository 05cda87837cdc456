"""`disk` of resources: free space where a stage writes, checked at placement and not reserved."""

from __future__ import annotations

from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.fullness import disk_of
from hostler.decide.plan import plan
from hostler.decide.reasons import unplaceable
from hostler.model.hosts import Disk, Host, Machine
from hostler.model.plans import Plan, RemedyKind, Start
from tests.support.values import planning as lab

KEY = ("r-1", "train")


def host_with(*disks: Disk, name: str = "gpu1", **fields: Any) -> Host:
    return lab.with_look(lab.host(name, **fields), machine=Machine(disks=disks))


def root(free: int, total: int = 1000) -> Disk:
    return Disk("/", total * GIB, free * GIB, ("process", "docker"))


def decided(*hosts: Host, disk: int = 500, **of: Any) -> Plan:
    run = lab.run("r-1", lab.stage(gpus=1, disk=disk * GIB, **of))
    return plan(lab.snapshot(*hosts, run))


def placed(made: Plan) -> list[str]:
    return [action.attempt.host for action in made.actions if isinstance(action, Start)]


@pytest.mark.parametrize(("free", "hosts"), [(500, ["gpu1"]), (499, [])])
def test_a_host_with_too_little_free_gets_none(free: int, hosts: list[str]) -> None:
    made = decided(host_with(root(free)))
    assert placed(made) == hosts
    if not hosts:
        (reason,) = made.reasons[KEY].hosts
        assert "its disk / has 499 GiB free of 500 GiB requested: free space" in reason.sentence
        assert [(r.kind, r.subject) for r in reason.remedies] == [(RemedyKind.FREE_FILES, "gpu1")]


def test_it_goes_where_there_is_room() -> None:
    assert placed(decided(host_with(root(10)), host_with(root(600), name="gpu2"))) == ["gpu2"]


@pytest.mark.parametrize(("runtime", "hosts"), [("process", ["gpu1"]), ("docker", [])])
def test_the_disk_is_the_one_that_its_runtime_writes_to(runtime: str, hosts: list[str]) -> None:
    disks = (
        Disk("/", 1000 * GIB, 1 * GIB),
        Disk("/var/tmp/hostler-7", 1000 * GIB, 600 * GIB, ("process",)),
        Disk("/data/docker", 1000 * GIB, 400 * GIB, ("docker",)),
    )
    made = decided(host_with(*disks), runtime=runtime)
    assert placed(made) == hosts
    if not hosts:
        assert "its disk /data/docker has 400 GiB" in made.reasons[KEY].sentence


def test_nothing_is_reserved() -> None:
    host = host_with(root(600))
    runs = [lab.run(f"r-{n}", lab.stage(gpus=1, disk=500 * GIB)) for n in (1, 2)]
    assert placed(plan(lab.snapshot(host, *runs))) == ["gpu1", "gpu1"]


def test_a_disk_that_is_too_small_will_never_do() -> None:
    host = host_with(root(free=300, total=400))
    made = decided(host)
    assert placed(made) == []
    (reason,) = made.reasons[KEY].hosts
    assert reason.sentence.startswith("its disk / has 300 GiB free of 500 GiB requested")
    assert reason.sentence.endswith("; has a disk of 400 GiB, of 500 GiB requested")
    lower = [(r.subject, r.value) for r in reason.remedies if r.kind is RemedyKind.LOWER]
    assert lower == [("disk", 400.0 * GIB)]
    run = lab.run("r-1", lab.stage(disk=500 * GIB))
    assert "as requested" in (unplaceable(lab.snapshot(host), run) or "")
    assert unplaceable(lab.snapshot(host_with(root(1))), run) is None, "it may be emptied"


def test_a_host_that_does_not_tell_is_not_left_out() -> None:
    assert placed(decided(host_with())) == ["gpu1"]


def test_of_hosts_that_only_list_file_systems_the_path_decides() -> None:
    look = host_with(Disk("/", 10, 1), Disk("/var/lib/docker", 10, 2)).look
    assert look is not None
    assert disk_of("docker", look) == Disk("/var/lib/docker", 10, 2)
    assert disk_of("process", look) == Disk("/", 10, 1)


def test_a_disk_whose_path_only_begins_alike_holds_nothing_of_it() -> None:
    disks = (Disk("/", 10, 1), Disk("/var/tm", 10, 2), Disk("/var/lib/dock", 10, 3))
    look = host_with(*disks).look
    assert look is not None
    assert [disk_of(runtime, look) for runtime in ("process", "docker")] == [disks[0]] * 2
