"""A host or store that keeps too much gets no further stages that keep files."""

from __future__ import annotations

from typing import Any

import pytest

from hostler.base.units import GIB
from hostler.decide.fullness import keeps_files, store_over_budget
from hostler.decide.plan import plan
from hostler.model.hosts import Disk, Host, KeptTotal, Machine
from hostler.model.plans import Plan, RemedyKind, Start
from tests.support.values import planning as lab

KEY = ("r-1", "train")


def full_host(name: str = "gpu1", *, kept: int = 51 * GIB, **fields: Any) -> Host:
    return lab.with_look(lab.host(name), kept=KeptTotal(3, kept), **fields)


def decided(*hosts: Host, full: str | None = None, most: int | None = 50 * GIB, **of: Any) -> Plan:
    run = lab.run("r-1", lab.stage(gpus=1, **of))
    return plan(lab.snapshot(*hosts, run, kept_on_host=most, store_full=full))


def placed(decided: Plan) -> list[str]:
    return [action.attempt.host for action in decided.actions if isinstance(action, Start)]


def test_a_host_over_its_budget_gets_no_stage_that_keeps_files() -> None:
    made = decided(full_host())
    assert placed(made) == []
    (host,) = made.reasons[KEY].hosts
    assert "it keeps 51 GiB of files of ended stages, above its limit of 50 GiB" in host.sentence
    assert "hostler rm" in host.sentence
    assert "keep = []" in host.sentence
    assert "kept_on_host" in host.sentence
    assert [(r.kind, r.subject) for r in host.remedies] == [(RemedyKind.FREE_FILES, "gpu1")]
    assert "51 GiB of files" in made.reasons[KEY].sentence


def test_who_keeps_most_of_it_is_named() -> None:
    """Only that person can remove it."""
    run = lab.run("r-1", lab.stage(gpus=1))
    most = {"gpu1": "ana\x1b[2J"}
    made = plan(lab.snapshot(full_host(), run, kept_on_host=50 * GIB, keeps_most=most))
    (host,) = made.reasons[KEY].hosts
    assert "[limits] kept_on_host); ana" in host.sentence
    assert "\x1b" not in host.sentence
    assert "keeps most of it" in host.sentence
    assert "bo keeps most" in (store_over_budget(2, 1, "bo") or "")
    assert "keeps most" not in (store_over_budget(2, 1) or "")


def test_it_takes_those_that_keep_none_and_others_go_elsewhere() -> None:
    assert placed(decided(full_host(), keep=())) == ["gpu1"]
    assert placed(decided(full_host(), outputs={"model": "m"})) == ["gpu1"]
    assert placed(decided(full_host(), lab.host("gpu2"))) == ["gpu2"]
    assert placed(decided(full_host(kept=50 * GIB))) == ["gpu1"]
    assert placed(decided(full_host(), most=None)) == ["gpu1"]


def test_what_stays_in_a_persons_own_folder_is_kept_on_no_host() -> None:
    host = lab.with_look(lab.host(transport="local"), kept=KeptTotal(3, 51 * GIB))
    assert placed(decided(host, code="here")) == ["gpu1"]
    assert placed(decided(host)) == []


@pytest.mark.parametrize(("runtime", "hosts"), [("process", []), ("docker", ["gpu1"])])
def test_a_disk_that_is_nearly_full_counts_for_what_lies_on_it(
    runtime: str, hosts: list[str]
) -> None:
    disks = (Disk("/", 1000 * GIB, 40 * GIB), Disk("/var/lib/docker", 1000 * GIB, 500 * GIB))
    made = decided(full_host(kept=0, machine=Machine(disks=disks)), runtime=runtime)
    assert placed(made) == hosts
    if not hosts:
        assert "its disk / has 40 GiB of 1000 GiB free: free space there" in (
            made.reasons[KEY].sentence
        )


def test_of_a_large_disk_five_percent_are_enough() -> None:
    disks = (Disk("/", 4000 * GIB, 160 * GIB),)
    assert placed(decided(full_host(kept=0, machine=Machine(disks=disks)))) == ["gpu1"]
    assert placed(decided(full_host(kept=0, machine=Machine(disks=(Disk("/x", 10, 0),)))))


def test_a_full_store_counts_for_every_host() -> None:
    said = "the daemon's machine stores 3 TiB"
    made = decided(lab.host(), lab.host("gpu2"), full=said)
    assert placed(made) == []
    assert [host.sentence.startswith(said) for host in made.reasons[KEY].hosts] == [True, True]
    assert placed(decided(lab.host(), full=said, keep=())) == ["gpu1"]


def test_a_stage_that_may_start_goes_before_one_whose_files_find_no_room() -> None:
    first = lab.run("r-1", lab.stage(gpus=4), submitted_at=lab.NOW - 200)
    second = lab.run("r-2", lab.stage(gpus=1, keep=()))
    made = plan(lab.snapshot(full_host(), first, second, kept_on_host=50 * GIB))
    starts = [action.attempt.run_id for action in made.actions if isinstance(action, Start)]
    assert starts == ["r-2"]


def test_which_stages_keep_files() -> None:
    assert keeps_files(lab.stage())
    assert keeps_files(lab.stage(outputs={"a": "b"}, keep=("*.pt",)))
    assert not keeps_files(lab.stage(outputs={"a": "b"}))
    assert not keeps_files(lab.stage(keep=()))
