"""Which of several hosts is best, and which of their GPUs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.host_capacity import HostCapacity
from hostler.decide.index import Index
from hostler.decide.plan import plan
from hostler.model.hosts import Gpu, Host
from hostler.model.plans import Start
from hostler.model.runs import Run
from tests.support.values import planning as lab


def start(stage: Any, *parts: Host | Run, **run: Any) -> Start:
    """The start of the only stage of a run."""
    found = plan(lab.snapshot(*parts, lab.run("r-1", stage, **run))).actions
    (made,) = (a for a in lab.of_kind(found, Start) if a.attempt.run_id == "r-1")
    return made


def placed(stage: Any, *parts: Host | Run) -> tuple[str, list[int]]:
    attempt = start(stage, *parts).attempt
    return attempt.host, [int(uuid.rsplit("-", 1)[1]) for uuid in attempt.gpus]


def cards(host: str, *names: str) -> list[Gpu]:
    """A card of each of these names, of 80 or 24 GiB."""
    return [lab.gpu(host, i, n, 80 if n == lab.A100 else 24) for i, n in enumerate(names)]


def capacity(host: Host) -> HostCapacity:
    return HostCapacity(host, 0, Index(lab.snapshot(host)))


@pytest.mark.parametrize(
    ("cpus", "free", "left", "stranded"),
    [
        (32, 4, 16.0, 0),
        (32, 4, 15.9, 1),
        (32, 3, 12.0, 0),
        (32, 3, 0.0, 3),
        (32, 3, -1.0, 3),
        (4, 2, 2.0, 0),
        (4, 2, 1.0, 1),
        (None, 4, 3.0, 1),
    ],
)
def test_a_gpu_without_cpus_is_of_no_use(
    cpus: int | None, free: int, left: float, stranded: int
) -> None:
    """Half of what a host has for each GPU is what one is likely to need, and one at least."""
    assert capacity(lab.host("g", 4, cpus=cpus)).stranded(free, left) == stranded


def test_what_a_host_does_not_tell_is_not_lacking() -> None:
    host = lab.host("g", 4, cpus=None, memory=None)
    assert placed(lab.stage(gpus=1, cpus=999.0, ram=999 * GIB), host)[0] == "g"
    assert placed(lab.stage(cpus=999.0, ram=999 * GIB), host)[0] == "g"


def test_ram_is_counted_for_work_with_and_without_gpus() -> None:
    begun = lab.attempt("r-0", host="a", gpus=(), placed_at=lab.NOW)
    busy = lab.run("r-0", lab.stage(ram=200 * GIB), attempts=[begun])
    full = lab.host("a", 4, look={"workloads": (lab.workload(begun),)})
    for gpus in (0, 1):
        assert placed(lab.stage(gpus=gpus, ram=56 * GIB), full, busy)[0] == "a"
        other = lab.host("b", 8)
        assert placed(lab.stage(gpus=gpus, ram=57 * GIB), full, other, busy)[0] == "b"


def test_a_host_where_one_kind_is_enough_is_no_mix() -> None:
    mixed = lab.host("a", cards("a", lab.RTX, lab.RTX, lab.A100, lab.A100))
    assert placed(lab.stage(gpus=2), mixed, lab.host("b", 4)) == ("a", [0, 1])


def test_of_several_kinds_the_smallest_cards_go_first() -> None:
    mixed = lab.host("a", cards("a", lab.A100, lab.A100, lab.RTX, lab.RTX))
    assert placed(lab.stage(gpus=3), mixed) == ("a", [0, 2, 3])
    assert placed(lab.stage(gpus=1), mixed) == ("a", [2])
    assert placed(lab.stage(gpus=4), mixed) == ("a", [0, 1, 2, 3])


def test_among_equal_fits_the_fewest_cpus_left_and_then_the_name_decide() -> None:
    hosts = [lab.host("a", 1), lab.host("b", 4), lab.host("c", 1, cpus=8), lab.host("d", 1, cpus=8)]
    found = start(lab.stage(gpus=1), *hosts)
    assert found.attempt.host == "c"
    assert found.why == "the tightest fit of 4 hosts with free capacity: leaves no GPU there"
    two = start(lab.stage(gpus=2), lab.host("a", 8), lab.host("b", 4))
    assert two.why == "the tightest fit of 2 hosts with free capacity: leaves 2 GPUs there"
    assert start(lab.stage(gpus=3), lab.host("b", 4), lab.host("a", 8)).why.endswith("1 GPU there")


def test_a_tighter_host_later_in_the_list_is_found() -> None:
    hosts = [lab.host("a", 3), lab.host("b", 8), lab.host("c", 2), lab.host("d", 4)]
    assert placed(lab.stage(gpus=2), *hosts)[0] == "c"


def test_a_host_without_cpus_for_it_keeps_no_other_from_being_found() -> None:
    hosts = [lab.host("a", 2, cpus=2), lab.host("b", 4), lab.host("c", 2)]
    found = start(lab.stage(gpus=1, cpus=4.0), *hosts)
    assert found.attempt.host == "c"
    assert "of 2 hosts" in found.why


def test_cpu_work_goes_where_it_strands_nothing_and_then_to_the_tightest() -> None:
    cpu = [lab.host("b", 0, cpus=16), lab.host("c", 0, cpus=8), lab.host("d", 0, cpus=4)]
    found = start(lab.stage(cpus=8.0), lab.host("a", 4), *cpu)
    assert found.attempt.host == "c"
    assert found.why == "c suits CPU work best of 3 hosts with free capacity"
    with_gpus = [lab.host("a", 4, cpus=16), lab.host("b", 4, cpus=32)]
    assert placed(lab.stage(cpus=12.0), *with_gpus)[0] == "b"
    fewer_free = [lab.host("a", 4), lab.host("b", 2)]
    assert placed(lab.stage(cpus=1.0), *fewer_free)[0] == "b"


def test_an_aligned_block_is_taken_whole_and_else_the_lowest() -> None:
    def free(*indices: int, wanted: int = 2) -> list[int]:
        some = [lab.gpu("g", i) for i in indices]
        return placed(lab.stage(gpus=wanted), lab.host("g", some))[1]

    assert free(0, 2, 3) == [2, 3]
    assert free(1, 2, 3) == [2, 3]
    assert free(1, 2, 5) == [1, 2]
    assert free(1, 2, 4, 5, 6, 7, wanted=4) == [4, 5, 6, 7]


def test_gpus_that_are_not_well_are_not_there_at_all() -> None:
    broken = replace(lab.gpu("a", 0), problem="lost")
    host = lab.host("a", [broken, lab.gpu("a", 1)])
    assert capacity(host).total == {(lab.A100, 80 * GIB): 1}
    assert placed(lab.stage(gpus=1), host) == ("a", [1])


def test_two_stages_of_one_plan_share_a_host_without_sharing_gpus() -> None:
    host = lab.host("g", 4, cpus=4)
    runs = [lab.run(f"r-{i}", lab.stage(gpus=1, cpus=2.0)) for i in range(3)]
    starts = lab.of_kind(plan(lab.snapshot(host, *runs)).actions, Start)
    assert [s.attempt.gpus for s in starts] == [("GPU-g-0",), ("GPU-g-1",)]
    ram = [lab.run(f"r-{i}", lab.stage(gpus=1, ram=100 * GIB)) for i in range(3)]
    starts = lab.of_kind(plan(lab.snapshot(lab.host("g", 4), *ram)).actions, Start)
    assert len(starts) == 2


def test_of_kinds_with_equal_memory_the_name_decides() -> None:
    mixed = lab.host("a", [lab.gpu("a", 0, "B"), lab.gpu("a", 1, "A")])
    assert placed(lab.stage(gpus=1), mixed) == ("a", [1])
