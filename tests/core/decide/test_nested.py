"""What a run gets that a stage submits."""

from __future__ import annotations

import pytest

from hostler.base.errors import ConflictError, InputError
from hostler.decide.nested import (
    MOST_RUNS,
    MOST_STAGES,
    MOST_TEXT,
    check_room,
    check_size,
    nested_stages,
)
from tests.support.values.planning import stage


def test_a_tree_is_full_at_its_limits() -> None:
    check_room(MOST_RUNS - 1, 1, 1)
    with pytest.raises(ConflictError, match="has submitted 100 runs"):
        check_room(MOST_RUNS, 1, 1)
    check_room(0, 1, MOST_STAGES - 1)
    with pytest.raises(ConflictError, match=r"would have 10,001 stages"):
        check_room(0, 1, MOST_STAGES)


def test_a_long_script_is_for_few_tasks() -> None:
    check_size("x" * 1000, ["x" * 24], MOST_TEXT // 1024)
    with pytest.raises(InputError):
        check_size("x" * 1000, ["x" * 24], MOST_TEXT // 1024 + 1)


def test_variables_and_arguments_of_a_large_array_count_as_its_script() -> None:
    with pytest.raises(InputError, match="with its options and arguments"):
        check_size("x", ["--export=A=" + "x" * 80_000], 10_000)


def test_labels_narrow_and_never_widen() -> None:
    parent = stage("p", labels={"pool": "a"}, hosts=("gpu*",))
    (made,) = nested_stages(parent, [stage("s", labels={"disk": "ssd"})], {"gpu2", "gpu1"}, None)
    assert made.resources.labels == {"pool": "a", "disk": "ssd"}
    assert made.resources.hosts == ("gpu1", "gpu2")
    with pytest.raises(InputError, match="may only use hosts with pool=a"):
        nested_stages(parent, [stage("s", labels={"pool": "b"})], {"gpu1"}, None)
    with pytest.raises(ConflictError, match="no host that this run may use"):
        nested_stages(parent, [stage("s")], set(), None)


def test_variables_of_the_parents_own_job_stay_there() -> None:
    parent = stage("p", env={"SLURM_JOB_NAME": "p", "LR": "1", "A": "1"})
    (made,) = nested_stages(parent, [stage("s", env={"SLURM_NTASKS": "2", "A": "2"})], {"h"}, "sub")
    assert made.env == {"LR": "1", "A": "2", "SLURM_NTASKS": "2"}
    assert made.workdir == "sub"
