from __future__ import annotations

from hostler.model.hosts import GpuState
from hostler.show import fleet as fleets
from tests.support.values.fleets import RTX3090, fleet, gpu, host


def test_letters_are_those_of_the_model() -> None:
    assert {state.value: state.letter for state in GpuState} == fleets.LETTERS


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
