from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.decide.requests import MEMORY_TOLERANCE, Request, model_suits
from hostler.model.hosts import GpuState
from hostler.quick import fleet as fleets
from tests.support.fleets import GIB, RTX3090, fleet, gpu, host


def test_letters_are_those_of_the_model() -> None:
    assert {state.value: state.letter for state in GpuState} == fleets.LETTERS


def test_slack_is_that_of_the_planner() -> None:
    assert fleets.TOLERANCE == MEMORY_TOLERANCE


@pytest.mark.parametrize(
    ("name", "memory", "short"),
    [
        ("NVIDIA A100-SXM4-80GB", 85520809984, "A100-80G"),
        ("NVIDIA GeForce RTX 3090", 25447170048, "3090-24G"),
        ("NVIDIA GeForce RTX 3080 Ti", 12 * GIB, "3080Ti-12G"),
        ("NVIDIA L40S", 46068 * 1024**2, "L40S-48G"),
        ("Tesla V100-PCIE-16GB", 16160 * 1024**2, "V100-16G"),
        ("NVIDIA H100 80GB HBM3", 81559 * 1024**2, "H100-80G"),
        ("NVIDIA RTX A6000", 49140 * 1024**2, "A6000-48G"),
        ("NVIDIA", None, "-"),
        (None, None, "-"),
    ],
)
def test_short_models(name: str | None, memory: int | None, short: str) -> None:
    assert fleets.short_model(name, memory) == short


def test_selecting_counts_again_and_keeps_what_is_unknown() -> None:
    whole = fleet(host("a", "..L"), host("b", ".", RTX3090), host("c", "", condition="connecting"))
    chosen = fleets.select(whole, models=["A100"])
    assert [entry["host"] for entry in chosen["hosts"]] == ["a", "c"]
    assert chosen["summary"] == {"total": 3, "free": 2, "leased": 1}
    assert [h["host"] for h in fleets.select(whole, free=True)["hosts"]] == ["a", "b"]
    assert [h["host"] for h in fleets.select(whole, hosts=["b"])["hosts"]] == ["b"]
    assert fleets.select(whole) is whole


def test_a_gpu_without_a_name_is_not_left_out() -> None:
    odd = host("a", "", gpus=[gpu(0, "?", (None, None))])
    assert fleets.select(fleet(odd), models=["A100"])["summary"]["total"] == 1


def test_old_values_become_unknown() -> None:
    whole = fleet(host("a", ".", age_s=3.0), host("b", ".", age_s=30.0))
    aged = fleets.age_out(whole, 10.0)
    assert [h["gpus"][0]["state"] for h in aged["hosts"]] == ["free", "unknown"]
    assert fleets.age_out(whole, None) is whole


@given(
    st.sampled_from(["NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "Tesla V100", ""]),
    st.lists(st.sampled_from(["A100", "a100*", "*80GB", "H100*HBM?", "v1", "", "*", "[A"])),
)
def test_models_match_as_the_planner_matches(name: str, patterns: list[str]) -> None:
    fields: dict[str, Any] = dict.fromkeys(Request._fields)
    asked = Request(**{**fields, "gpu_models": tuple(patterns)})
    assert fleets.model_matches(name, patterns) == model_suits((name, 80 * GIB), asked)
