"""What header lines as people write them ask for."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.base.units import GIB, MIB
from hostler.sbatch.header import is_batch_script, options_of
from hostler.sbatch.job import BatchJob, read_job
from hostler.sbatch.options import FLAGS, KNOWN, READ, REFUSED, SHORT, UNUSED
from hostler.sbatch.values import Array, read_array, read_time
from tests.support.worlds.hypothesis_profiles import examples


def job(*lines: str) -> BatchJob:
    return read_job("\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), "true"]))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("--job-name=train", {"name": "train"}),
        ('-J "my job"', {"name": "my job"}),
        ("--job-name 'a b'   # what it does", {"name": "a b"}),
        ("--gpus=2", {"gpus": 2}),
        ("-G 4", {"gpus": 4}),
        ("-G4", {"gpus": 4}),
        ("--gpus=a100:4", {"gpus": 4, "gpu_models": ("a100",)}),
        ("--gpus-per-node=8", {"gpus": 8}),
        ("--gpus-per-node v100:2", {"gpus": 2, "gpu_models": ("v100",)}),
        ("--gres=gpu", {"gpus": 1}),
        ("--gres=gpu:1", {"gpus": 1}),
        ("--gres gpu:a100:4", {"gpus": 4, "gpu_models": ("a100",)}),
        ("--gres=gpu:rtx3090:1", {"gpus": 1, "gpu_models": ("3090",)}),
        ("--gres=gpu:rtx_2080ti:1", {"gpus": 1, "gpu_models": ("2080ti",)}),
        ("--gres=gpu:rtxa6000", {"gpus": 1, "gpu_models": ("a6000",)}),
        ("--gres=gpu:a100_80gb:2", {"gpus": 2, "gpu_models": ("a100 80gb",)}),
        ("--gres=tmpspace:50G,gpu:2", {"gpus": 2, "notes": ("not used: gres tmpspace",)}),
        ("--gres=none", {"gpus": 0}),
        ("--gres=gpu:1(S:0)", {"gpus": 1}),
        ("--gres=gpu:a100:2(S:0,1),tmpfs:10G", {"gpus": 2, "notes": ("not used: gres tmpfs",)}),
        ("--gpus=gpu:2", {"gpus": 2, "gpu_models": ()}),
        ("-G a100:1", {"gpus": 1, "gpu_models": ("a100",)}),
        ("--gpus=4 --ntasks-per-gpu=2 -c 3", {"gpus": 4, "tasks": 8, "cpus": 24}),
        ("-n 8 --ntasks-per-gpu=2", {"gpus": 4, "tasks": 8}),
        ("--tasks-per-node=4 -c 2", {"tasks": 4, "cpus": 8}),
        ("--cluster=a --oom-kill-step --mem=1G", {"notes": ("not used: clusters, oom-kill-step",)}),
        ("-p gpu --gres=gpu:1 -t 1:00:00 # all in one", {"gpus": 1, "time": 3600.0}),
        ("--ntasks=4 --gpus-per-task=1 --cpus-per-task=6", {"gpus": 4, "cpus": 24, "tasks": 4}),
        ("-N 1 --ntasks-per-node=8 -c 4", {"tasks": 8, "cpus": 32, "cpus_per_task": 4}),
        ("-n1 -c10", {"cpus": 10}),
        ("--gpus=2 --cpus-per-gpu=8", {"cpus": 16}),
        ("--cpus-per-t=12", {"cpus": 12}),
        ("--mem=32G", {"memory": 32 * GIB}),
        ("--mem=64000", {"memory": 64000 * MIB}),
        ("--mem 16GB", {"memory": 16 * GIB}),
        ("--mem=0", {"memory": None}),
        ("--mem-per-cpu=4G -c 8", {"memory": 32 * GIB}),
        ("--mem-per-gpu=40G --gres=gpu:2", {"memory": 80 * GIB}),
        ("--time=24:00:00", {"time": 86400.0}),
        ("-t 1-12", {"time": 36 * 3600.0}),
        ("--time=90", {"time": 5400.0}),
        ("-t 0", {"time": None}),
        ("--time=UNLIMITED", {"time": None}),
        ("--array=1-10%2", {"array": Array(tuple(range(1, 11)), at_once=2)}),
        ("-a 0-15:4", {"array": Array((0, 4, 8, 12), step=4)}),
        ("--array=5,1,3", {"array": Array((1, 3, 5))}),
        ("--chdir=/scratch/x", {"chdir": "/scratch/x"}),
        ("-D sub", {"chdir": "sub"}),
        ("--export=ALL,SEED=1", {"export": ("ALL", "SEED=1")}),
        ("--export=all,SEED=1", {"export": ("ALL", "SEED=1")}),
        ("--export=none", {"export": ("NONE",)}),
        ("--nice --mem=16G", {"memory": 16 * GIB}),
        ("--nice=10 --propagate --mem=16G", {"memory": 16 * GIB}),
        ("--requeue", {"requeue": True}),
        ("--requeue --no-requeue", {"requeue": False}),
        ("--nodes=1-1", {"tasks": 1}),
        ("-d afterok:rab:rcd,afterany:ref", {"after": ("rab", "rcd"), "after_any": ("ref",)}),
        ("-p gpu -A lab --qos=long", {"notes": ("not used: partition, account, qos",)}),
        ("--exclusive -o x.out -G 1", {"notes": ("not used: exclusive, output",)}),
        ("--mail-type=END,FAIL --mail-user=a@b.c", {"notes": ("not used: mail-type, mail-user",)}),
    ],
)  # fmt: skip
def test_a_line_is_read(line: str, wanted: dict[str, Any]) -> None:
    found = job(line)
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_the_last_of_several_counts_and_nothing_behind_the_first_command() -> None:
    found = read_job(
        "#!/bin/bash -l\n\n# a comment\n##SBATCH --gpus=7\n# SBATCH --gpus=6\n#SBATCH --gpus=1\n"
        "#SBATCH --gpus=2\nset -e\n#SBATCH --gpus=5\n"
    )
    assert found.gpus == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--nodes=2", "--nodes asks for 2 nodes, and a run has one host"),
        ("-N 4-8", "asks for 4 nodes"),
        ("-n 16 --ntasks-per-node=8", "asks for 2 nodes"),
        ("--gpu-count=2", "'--gpu-count=2' is no option of sbatch that Hostler knows"),
        ("--ma=1", "'--ma=1' is no option"),
        ("-Z", "'-Z' is no option"),
        ("--time=24:00:00 hours", "'hours' is no option"),
        ("--time", "--time has no value"),
        ("--time=1h", "--time: '1h' is not a time"),
        ("--mem=1.5G", "--mem: '1.5G' is not a size"),
        ("--mem=1P", "--mem: '1P' is not a size: write it like 16G or 4000M, with K, M, G or T"),
        ("--array=0-999999", "has more than 10,000 tasks"),
        ("--array=0-999999999", "has more than 10,000 tasks"),
        ("--array=5-1", "the range 5-1 is empty"),
        ("--array=1-4:0", "the range 1-4:0 is empty"),
        ("--array=a", "is not an array"),
        ("--array=1-4%0", "is not a whole number from 1"),
        ("--gres=gpu:a100:4,gpu:v100:2", "must be of one model"),
        ("--gpus=100000", "asks for 100,000 GPUs; at most 1,024 are allowed"),
        ("--gres=gpu:a100:99999", "asks for 99,999 GPUs; at most 1,024 are allowed"),
        ("--gpus=99999999999", "is not a number of GPUs"),
        ("--gpus=many*", "is not a number of GPUs"),
        ("-c 0", "--cpus-per-task: '0' is not a whole number from 1"),
        ("--job-name='a", "has a quote that does not end"),
        ("--dependency=singleton", "only afterok:RUN and afterany:RUN are supported"),
        ("--wrap=true", "--wrap is not supported"),
        ("--hold", "--hold is not supported"),
        ("-b now+1hour", "--begin is not supported"),
        ("--image=lab/pytorch:24.08", "--image is not supported"),
        ("--module=gpu", "--module is not supported"),
        ("--container-workdir=/w", "--container-image is not supported"),
        ("--gres=shard:4", "shard is a part of a GPU"),
        ("--gres=gpu:1g.10gb:1", "is a part of a GPU (MIG)"),
        ("--gpus=a100_3g.20gb", "is a part of a GPU (MIG)"),
        ("-t 9999-00:00:00", "is longer than ten years"),
        ("--mem=99999999999T", "is more than a host can have"),
        ("--mem-per-cpu=1000000T -c 4000", "bytes of memory; at most"),
        ("-n 4000 -c 40", "asks for 160,000 CPUs; at most 4,096 are allowed"),
        ("--gpus=1025", "asks for 1,025 GPUs; at most 1,024 are allowed"),
        (f"--comment={'x' * 70_000}", "the line is longer than 64 KiB"),
    ],
)
def test_a_wrong_line_is_one_clear_error(line: str, told: str) -> None:
    with pytest.raises(InputError, match=r"^line 2: ") as raised:
        job(line)
    assert told in raised.value.message
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("-p { partition }", "Replace '{ partition }' by its value"),
        ("--ntasks={{tasks}}", "Replace '{{tasks}}' by its value"),
        ("<OPTIONS> --nodes=1", "Replace '<OPTIONS>' by its value"),
        ("-c $CPUS", "sbatch sets no variables in #SBATCH lines"),
    ],
)
def test_what_a_template_leaves_open_is_named(line: str, remedy: str) -> None:
    with pytest.raises(InputError) as raised:
        job(line)
    assert remedy in (raised.value.remedy or "")


def test_what_is_hard_to_miss_has_a_line_of_its_own() -> None:
    notes = job("-C fat", "-p gpu --exclusive").notes
    begin = [note.split()[0] for note in notes]
    assert begin == ["not", "--exclusive", "--constraint=fat"]


@pytest.mark.parametrize(
    ("name", "head", "is_one"),
    [
        ("a.sbatch", b"", True),
        ("a.SLURM", b"#!/bin/sh\n", True),
        ("a.sh", b"#!/bin/sh\n#SBATCH -c 2\n", True),
        ("a", b"#!/usr/bin/env python\n\n#SBATCH\t-c 2\n", True),
        ("a.sh", b"#!/bin/sh\necho '#SBATCH -c 2'\n", False),
        ("a.sh", b"#SBATCH -c 2\n", False),
        ("a.py", b'#!/usr/bin/env python3\nHEAD = """\n#SBATCH -c 2\n"""\n', False),
        ("a.sh", b"#!/bin/sh\nsbatch <<END\n#!/bin/sh\n#SBATCH -c 2\nEND\n", False),
        ("pipeline.toml", b"name = 'a'\n", False),
    ],
)
def test_batch_scripts_are_recognised(name: str, head: bytes, *, is_one: bool) -> None:
    assert is_batch_script(name, head) is is_one


@examples(100)
@given(st.integers(0, 300), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.data())
def test_each_form_of_a_time_is_read_as_it_was_written(
    days: int, hours: int, minutes: int, seconds: int, data: st.DataObject
) -> None:
    full, wanted = data.draw(
        st.sampled_from(
            [
                (f"{minutes}", minutes * 60),
                (f"{minutes}:{seconds:02d}", minutes * 60 + seconds),
                (f"{hours}:{minutes:02d}:{seconds:02d}", hours * 3600 + minutes * 60 + seconds),
                (f"{days}-{hours}", days * 86400 + hours * 3600),
                (f"{days}-{hours}:{minutes}", days * 86400 + hours * 3600 + minutes * 60),
                (
                    f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}",
                    days * 86400 + hours * 3600 + minutes * 60 + seconds,
                ),
            ]
        )
    )
    assert read_time(full) == (wanted or None)


@examples(100)
@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 60), st.integers(1, 9)),
        min_size=1,
        max_size=6,
    ),
    st.none() | st.integers(1, 50),
)
def test_an_array_is_read_as_it_was_written(
    parts: list[tuple[int, int, int]], at_once: int | None
) -> None:
    written = [
        str(first) if not more else f"{first}-{first + more}" + (f":{step}" if step > 1 else "")
        for first, more, step in parts
    ]
    wanted = {
        number for first, more, step in parts for number in range(first, first + more + 1, step)
    }
    found = read_array(",".join(written) + (f"%{at_once}" if at_once else ""))
    assert found.ids == tuple(sorted(wanted))
    assert found.at_once == at_once
    assert read_array(",".join(map(str, found.ids))).ids == found.ids


@examples(100)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        options_of(f"#!/bin/sh\n#SBATCH {text}\n")
        read_job(f"#!/bin/sh\n#SBATCH {text}\n")


def test_the_page_for_slurm_users_names_what_is_read_and_refused() -> None:
    page = (Path(__file__).parents[3] / "docs/slurm.md").read_text(encoding="utf-8")
    named = {word.split("=")[0] for word in re.findall(r"--([a-z-]+)", page)}
    implied = {"no-requeue", "nodes", "nodefile"}
    rare = {"tres-per-task", "ntasks-per-tres", "external", "help", "resources"}
    rare |= {name for name in REFUSED if name.startswith("container-")}
    assert READ | REFUSED.keys() - rare <= named | implied
    assert not READ & UNUSED
    assert FLAGS | set(SHORT.values()) <= KNOWN
