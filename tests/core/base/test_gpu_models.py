"""Names of GPU models, and which cards they mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.gpu_models import model_matches, short_model
from hostler.base.units import GIB
from hostler.decide.plan import plan
from hostler.decide.requests import Request, model_suits
from hostler.model.plans import Start
from tests.support.values import planning as lab
from tests.support.worlds.hypothesis_profiles import examples

A100 = ("NVIDIA A100-SXM4-80GB", 85520809984)
A100_PCIE = ("NVIDIA A100 80GB PCIe", 85899345920)
A100_40 = ("NVIDIA A100-SXM4-40GB", 42505273344)
A10, A10G = ("NVIDIA A10", 24146608128), ("NVIDIA A10G", 24146608128)
RTX, TI = ("NVIDIA GeForce RTX 3090", 25447170048), ("NVIDIA GeForce RTX 3080 Ti", 12 * GIB)
L4, L40, L40S = ("NVIDIA L4", 24 * GIB), ("NVIDIA L40", 48 * GIB), ("NVIDIA L40S", 48 * GIB)
H100 = ("NVIDIA H100 80GB HBM3", 81559 * 1024**2)
H200, GH200 = ("NVIDIA H200", 141 * GIB), ("NVIDIA GH200 480GB", 96 * GIB)
T4, T400 = ("Tesla T4", 16 * GIB), ("NVIDIA T400", 4 * GIB)
A6000, A600 = ("NVIDIA RTX A6000", 49140 * 1024**2), ("NVIDIA RTX A600", 8 * GIB)
CARDS = (
    A100, A100_PCIE, A100_40, A10, A10G, RTX, TI, L4, L40, L40S, H100, H200, GH200, T4, T400,
    A6000, A600,
)  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "cards"),
    [
        ("A10", {A10}),
        ("a10", {A10}),
        ("NVIDIA A10", {A10}),
        ("A10G", {A10G}),
        ("A100", {A100, A100_PCIE, A100_40}),
        ("A100-80G", {A100, A100_PCIE}),
        ("A100-40G", {A100_40}),
        ("a100 80gb", {A100, A100_PCIE}),
        ("A100-SXM4-80GB", {A100}),
        ("A100-SXM4", {A100, A100_40}),
        ("3090", {RTX}),
        ("3090-24G", {RTX}),
        ("RTX 3090", {RTX}),
        ("3080Ti-12G", {TI}),
        ("3080Ti", {TI}),
        ("3080", {TI}),
        ("L4", {L4}),
        ("L40", {L40}),
        ("H200", {H200}),
        ("T4", {T4}),
        ("A600", {A600}),
        ("RTX A6000", {A6000}),
        ("80GB", {A100, A100_PCIE, H100}),
        ("A100*", {A100, A100_PCIE, A100_40}),
        ("A10*", {A10, A10G, A100, A100_PCIE, A100_40}),
        ("*80GB", {A100, GH200}),
        ("NVIDIA A10*", {A10, A10G, A100, A100_PCIE, A100_40}),
        ("00*", set()),
        ("100", set()),
        ("80GB A100", set()),
        ("A", set()),
        ("", set()),
        ("-", set()),
    ],
)
def test_a_name_means_whole_words(pattern: str, cards: set[tuple[str, int]]) -> None:
    assert {card for card in CARDS if model_matches(*card, [pattern])} == cards


REAL_NAMES = {
    "Tesla K80": "K80", "Tesla P100-PCIE-16GB": "P100", "Tesla V100-SXM2-32GB": "V100",
    "Tesla V100S-PCIE-32GB": "V100S", "Tesla T4": "T4", "NVIDIA T400 4GB": "T400",
    "NVIDIA A2": "A2", "NVIDIA A10": "A10", "NVIDIA A10G": "A10G", "NVIDIA A16": "A16",
    "NVIDIA A30": "A30", "NVIDIA A40": "A40", "NVIDIA A100-SXM4-40GB": "A100",
    "NVIDIA A100-SXM4-80GB": "A100", "NVIDIA A100-PCIE-40GB": "A100",
    "NVIDIA A100 80GB PCIe": "A100", "NVIDIA A100-SXM-64GB": "A100",
    "NVIDIA A800-SXM4-80GB": "A800",
    "NVIDIA L4": "L4", "NVIDIA L40": "L40", "NVIDIA L40S": "L40S", "NVIDIA L20": "L20",
    "NVIDIA H100 80GB HBM3": "H100", "NVIDIA H100 PCIe": "H100", "NVIDIA H100 NVL": "H100",
    "NVIDIA H800": "H800", "NVIDIA H20": "H20", "NVIDIA H200": "H200",
    "NVIDIA GH200 480GB": "GH200", "NVIDIA B200": "B200", "NVIDIA GB200": "GB200",
    "NVIDIA GeForce GTX 1080 Ti": "1080Ti", "NVIDIA GeForce RTX 2080 Ti": "2080Ti",
    "NVIDIA GeForce RTX 2080 SUPER": "2080SUPER", "NVIDIA GeForce RTX 3090": "3090",
    "NVIDIA GeForce RTX 3090 Ti": "3090Ti", "NVIDIA GeForce RTX 4070 Ti SUPER": "4070TiSUPER",
    "NVIDIA GeForce RTX 4090": "4090", "NVIDIA GeForce RTX 4090 D": "4090D",
    "NVIDIA GeForce RTX 4090 Laptop GPU": "4090Laptop", "NVIDIA GeForce RTX 5090": "5090",
    "NVIDIA TITAN V": "TITAN", "Quadro RTX 6000": "6000", "NVIDIA RTX A2000 12GB": "A2000",
    "NVIDIA RTX A4000": "A4000", "NVIDIA RTX A5000": "A5000", "NVIDIA RTX A6000": "A6000",
    "NVIDIA RTX 5000 Ada Generation": "5000Ada", "NVIDIA RTX 6000 Ada Generation": "6000Ada",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "PRO6000", "NVIDIA GB10": "GB10",
}  # fmt: skip
"""As NVML has them, with the short name of each."""


@pytest.mark.parametrize("family", sorted(set(REAL_NAMES.values())))
def test_the_name_of_a_family_means_its_cards_and_no_others(family: str) -> None:
    meant = {name for name in REAL_NAMES if model_matches(name, None, [family.lower()])}
    exact = {name for name, short in REAL_NAMES.items() if short == family}
    assert exact <= meant
    # Nothing but the words behind (Ti, Ada) and before (PRO) a number makes one word mean two.
    more = {"2080SUPER", "3090", "4090", "6000", "TITAN"}
    assert meant == exact or family in more


@pytest.mark.parametrize(("name", "short"), REAL_NAMES.items())
def test_the_short_name_of_a_real_card_is_its_model(name: str, short: str) -> None:
    assert short_model(name) == short
    assert model_matches(name, None, [name])


def test_names_that_begin_alike_are_different_models() -> None:
    def meant(pattern: str) -> set[str]:
        return {short for name, short in REAL_NAMES.items() if model_matches(name, None, [pattern])}

    assert [meant(name) for name in ("A10", "a10g", "a100", "L4", "H20", "T4", "A2")] == [
        {"A10"}, {"A10G"}, {"A100"}, {"L4"}, {"H20"}, {"T4"}, {"A2"},
    ]  # fmt: skip
    assert meant("RTX 6000") == {"6000", "6000Ada", "PRO6000"}  # which is told, see gpu_names
    assert meant("RTX 6000 Ada") == {"6000Ada"}
    assert meant("6000Ada") == {"6000Ada"}


def test_a_small_card_is_not_asked_for_and_given_a_large_one() -> None:
    asked = lab.stage(gpus=1, gpu_models=("A10",))
    large, right = lab.host("a", 4), lab.host("b", lab.gpus("b", 1, "NVIDIA A10", 24))
    decided = plan(lab.snapshot(large, right, lab.run("r-1", asked)))
    assert [start.attempt.host for start in lab.of_kind(decided.actions, Start)] == ["b"]


def test_no_pattern_fits_all_and_a_card_without_a_name_is_not_known() -> None:
    assert model_matches("NVIDIA A10", None, []) is True
    assert model_matches(None, 24 * GIB, ["A10"]) is None
    assert model_matches("", 24 * GIB, ["A10"]) is None


@given(st.sampled_from(CARDS))
@examples(20)
def test_every_name_that_is_shown_can_be_asked_for(card: tuple[str, int]) -> None:
    for shown in (card[0], short_model(*card), short_model(card[0]), card[0].upper()):
        assert model_matches(*card, [shown]), shown


@given(
    st.sampled_from(CARDS) | st.tuples(st.text(max_size=12), st.none() | st.integers(0, 2**40)),
    st.lists(st.sampled_from(["A100", "a100*", "*80GB", "H100*HBM?", "v1", "", "*", "[A"])
             | st.text(max_size=6), max_size=3),
)  # fmt: skip
@examples(50)
def test_the_planner_and_the_quick_path_decide_the_same(
    card: tuple[str, int | None], patterns: list[str]
) -> None:
    fields: dict[str, Any] = dict.fromkeys(Request._fields)
    asked = Request(**{**fields, "gpu_models": tuple(patterns)})
    found = model_matches(card[0] or None, card[1] or None, patterns)
    assert model_suits((card[0], card[1] or 0), asked) is (found is True)


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
    assert short_model(name, memory) == short
