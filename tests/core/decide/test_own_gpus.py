"""What a submitter is told of stages that choose GPUs themselves."""

from __future__ import annotations

import time

from hostler.decide.own_gpus import told_of_own_gpus
from tests.support.values.planning import stage

LINE = ("CUDA_VISIBLE_DEVICES=0 python3 train.py",)


def test_stages_that_set_the_same_are_told_together() -> None:
    cells = [stage(f"train.{n}", base="train", command=LINE, shell=True) for n in range(3)]
    others = [stage(name, command=("env", *LINE)) for name in "bcd"]
    assert told_of_own_gpus([*cells, *others, stage("plain", command=("x",))]) == (
        "CUDA_VISIBLE_DEVICES=0 in stage train, b, c and 1 more counts all GPUs of the host, not "
        "those that Hostler gives: remove it"
    )


def test_a_command_that_sets_it_a_thousand_times_holds_nobody_up() -> None:
    line = "CUDA_VISIBLE_DEVICES=$x y\n" * 4000 + "echo $CUDA_VISIBLE_DEVICES"
    begun = time.thread_time()
    cells = [stage(f"a.{n}", base="a", command=(line,), shell=True) for n in range(500)]
    assert told_of_own_gpus(cells) is None
    assert time.thread_time() - begun < 5, "in the thread in which everybody is answered"


def test_a_container_may_count_from_its_own_gpus() -> None:
    assert told_of_own_gpus([stage("a", command=LINE, shell=True, runtime="docker")]) is None


def test_no_more_than_half_a_mebibyte_of_commands_is_read() -> None:
    line = f"{LINE[0]} #"
    whole = line + "x" * (512 * 1024 - len(line))
    assert told_of_own_gpus([stage("a", command=(whole,), shell=True)]) is not None
    assert told_of_own_gpus([stage("a", command=(f"{whole}x",), shell=True)]) is None
    unnamed = stage("a", command=("echo " + "x" * 512 * 1024,), shell=True)
    assert told_of_own_gpus([unnamed, stage("b", command=LINE, shell=True)]) is not None
