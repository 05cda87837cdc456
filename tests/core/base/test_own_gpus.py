"""Commands and scripts that choose GPUs by their numbers on the host."""

from __future__ import annotations

import pytest

from hostler.base.own_gpus import own_gpus


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CUDA_VISIBLE_DEVICES=0 python x", "CUDA_VISIBLE_DEVICES=0"),
        ('export CUDA_VISIBLE_DEVICES="1,2"', "CUDA_VISIBLE_DEVICES=1,2"),
        ("env\nCUDA_VISIBLE_DEVICES=GPU-12ab-3\nx", "CUDA_VISIBLE_DEVICES=GPU-12ab-3"),
        ("setenv CUDA_VISIBLE_DEVICES 3", "CUDA_VISIBLE_DEVICES=3"),
        ('os.environ["CUDA_VISIBLE_DEVICES"] = "0"', "CUDA_VISIBLE_DEVICES=0"),
        ("os.environ.update(CUDA_VISIBLE_DEVICES='0')", "CUDA_VISIBLE_DEVICES=0"),
        ("CUDA_VISIBLE_DEVICES=${SLURM_LOCALID} x", "CUDA_VISIBLE_DEVICES=$SLURM_LOCALID"),
        ("for i in 0 1; do CUDA_VISIBLE_DEVICES=$i x; done", "CUDA_VISIBLE_DEVICES=$i"),
        ("CUDA_VISIBLE_DEVICES=$((i % 4)) x", "CUDA_VISIBLE_DEVICES"),
        ("docker run -e NVIDIA_VISIBLE_DEVICES=all x", "NVIDIA_VISIBLE_DEVICES=all"),
        ("true # first\nCUDA_VISIBLE_DEVICES=7 x", "CUDA_VISIBLE_DEVICES=7"),
    ],
)
def test_a_choice_of_the_hosts_gpus_is_found(text: str, said: str) -> None:
    assert own_gpus(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "python x", "CUDA_VISIBLE_DEVICES= x", 'CUDA_VISIBLE_DEVICES="" x',
        "CUDA_VISIBLE_DEVICES=-1 x", "# CUDA_VISIBLE_DEVICES=0", "x # CUDA_VISIBLE_DEVICES=0",
        "echo $CUDA_VISIBLE_DEVICES",
        '[ "$CUDA_VISIBLE_DEVICES" = 0 ]', "MY_CUDA_VISIBLE_DEVICES=0",
        'if os.environ["CUDA_VISIBLE_DEVICES"] == "0":', "export CUDA_VISIBLE_DEVICES\nx",
        "CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES%%,*} x",
        "for g in ${CUDA_VISIBLE_DEVICES//,/ }; do CUDA_VISIBLE_DEVICES=$g x; done",
    ],
)  # fmt: skip
def test_no_gpus_and_those_that_were_given_are_no_choice(text: str) -> None:
    assert own_gpus(text) is None
