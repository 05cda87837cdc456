"""What is told of names of GPU models that mean none of the lab's, or several."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostler.decide.gpu_names import told_of_models
from hostler.model.hosts import Host
from tests.support.values import planning as lab

HOSTS = (
    lab.host("a", lab.gpus("a", 4, "NVIDIA A100-SXM4-80GB", 80)),
    lab.host("b", lab.gpus("b", 2, "NVIDIA A100-SXM4-40GB", 40)),
    lab.host("c", lab.gpus("c", 2, "Quadro RTX 6000", 24)),
    lab.host("d", lab.gpus("d", 1, "NVIDIA RTX 6000 Ada Generation", 48)),
)
ALL = "4 A100-80G, 2 A100-40G, 2 6000-24G, 1 6000Ada-48G"


def told(*models: str, hosts: tuple[Host, ...] = HOSTS) -> str | None:
    return told_of_models(hosts, [lab.stage(gpus=1, gpu_models=models), lab.stage("b")])


@pytest.mark.parametrize(
    "names", [("A100",), ("a100-40g", "6000Ada"), ("RTX 6000 Ada",), ("*6000*",), ()]
)
def test_one_model_needs_no_word(names: tuple[str, ...]) -> None:
    assert told(*names) is None


def test_a_name_of_several_models_says_which() -> None:
    said = "'RTX 6000' means several models here: 2 6000-24G, 1 6000Ada-48G"
    assert told("RTX 6000") == said
    assert told("A100", "RTX 6000") == said
    assert told("RTX 6000", hosts=HOSTS[:3]) is None


def test_an_unknown_name_says_what_there_is() -> None:
    assert told("A10") == f"no GPU here is called 'A10'; here are {ALL}"
    assert told("A10", "6000") == (
        f"no GPU here is called 'A10'; here are {ALL}; '6000' means several models here: "
        "2 6000-24G, 1 6000Ada-48G"
    )


def test_hosts_that_were_not_heard_may_have_it() -> None:
    silent = replace(lab.host("e"), look=None)
    assert told("A10", hosts=(*HOSTS, silent)) == (
        f"no GPU here is called 'A10' (unknown for e); here are {ALL}"
    )
    assert told("A10", hosts=(silent,)) is None


def test_of_many_models_the_most_frequent_are_named() -> None:
    many = tuple(lab.host(f"h{n}", lab.gpus(f"h{n}", 1, f"NVIDIA X{n}", 8)) for n in range(20))
    assert told("A10", hosts=many) is not None
    assert str(told("A10", hosts=many)).endswith("1 X7-8G, 12 more models")
