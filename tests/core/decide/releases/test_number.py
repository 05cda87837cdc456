"""How many replicas a release gets, and what becomes of stages that need them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostler.decide.releases.number import Number, in_file, number_for, resized
from hostler.spec.pipeline import read_pipeline
from tests.support.values.planning import run as run_of

FILE = """
name = "digits"
[stages.load]
command = "load"
[stages.serve]
kind = "service"
command = "serve"
health = "/"
replicas = 2
needs = ["load"]
[stages.smoke]
command = "smoke"
needs = ["load", "serve"]
"""


@pytest.mark.parametrize(
    ("new", "live", "scaled", "wanted"),
    [
        (2, None, 0, 2),
        (2, 2, 2, 2),
        (3, 2, 2, 3),
        (2, 2, 5, 5),
        (2, 2, 1, 1),
        (3, 2, 5, 3),
        (2, 2, 0, 2),
    ],
)
def test_a_scaled_number_stays_until_the_file_changes(
    new: int, live: int | None, scaled: int, wanted: int
) -> None:
    found = number_for(new, live, scaled)
    assert found.replicas == wanted
    assert bool(found.told) == (live is not None and scaled != live)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_stages_that_need_the_service_need_all_of_its_replicas(number: int) -> None:
    run = resized(run_of("r-1", *read_pipeline(FILE, file="pipeline.toml").stages), number)
    serve = [f"serve.{index}" for index in range(number)]
    assert [stage.name for stage in run.stages] == ["load", *serve, "smoke"]
    assert all(stage.base == "serve" for stage in run.stages[1:-1])
    smoke = run.stages[-1]
    assert sorted(smoke.needs) == sorted(["load", *serve])
    assert in_file(run) == 2
    assert in_file(None) is None


def test_what_may_begin_once_the_service_has_ended_waits_for_all_of_its_replicas() -> None:
    load, first, second, smoke = read_pipeline(FILE, file="pipeline.toml").stages
    for before, after in (
        ({"serve.0", "load"}, {"serve.0", "serve.1", "serve.2", "load"}),
        ({"load"}, {"load"}),
        (set(), set()),
    ):
        last = replace(smoke, needs_ended=frozenset(before))
        run = resized(run_of("r-1", load, first, second, last), 3)
        assert run.stages[-1].needs_ended == after
    assert resized(run_of("r-1", load), 3).stages == (load,)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (number_for(2, 2, 0), "2, as the file says (it was scaled to 0)"),
        (number_for(2, 2, 5), "5, as it was scaled (the file says 2)"),
        (number_for(3, 2, 5), "3, as the file says now (it was scaled to 5)"),
    ],
)
def test_people_read_why_it_is_another_number(found: Number, told: str) -> None:
    assert found.told == told
