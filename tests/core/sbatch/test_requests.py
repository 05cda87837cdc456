"""Requests of stages: read strictly, and quickly whatever a host sends."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import HostlerError, InputError
from hostler.sbatch.queue import QueuedTask, queue_text
from hostler.sbatch.requests import (
    LARGEST,
    Asked,
    QueueQuery,
    read_request,
    read_sbatch,
    read_scancel,
    read_squeue,
)
from tests.support.worlds.hypothesis_profiles import examples

TEXT = "#!/bin/bash -e\n#SBATCH --time=10 --mem=4G\necho\n"


def request(*words: str, text: str = "") -> bytes:
    return b"\0".join([str(len(words)).encode(), *map(str.encode, words), text.encode()])


def test_words_and_text_are_told_apart() -> None:
    asked = read_request(request("sbatch", ".", "0", "a b.sh", "", text=TEXT))
    assert asked == Asked(("sbatch", ".", "0", "a b.sh", ""), TEXT)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"1", b"1\0", b"1\0squeue", b"2\0squeue\0", b"0\0", b"x\0squeue\0", b"-1\0squeue\0",
        b"1\0squeue\0\0", b"1\0sq\xff\0", "١\0squeue\0".encode(), b"2000\0" + b"a\0" * 2000,
        b"1\0" + b"x" * LARGEST,
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_request(data)


@examples(100)
@given(st.binary(max_size=200))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        asked = read_request(b"3\0sbatch\0.\x000\0" + data)
        read_sbatch(asked)
    except HostlerError:
        pass


def test_options_of_the_command_win_over_the_header() -> None:
    words = ("sbatch", "sub", "4", "/x/next.sh", "a", "-t", "20", "--parsable", "-dafterok:7:8")
    found = read_sbatch(Asked(words, TEXT))
    assert (found.name, found.args, found.folder) == ("next.sh", ("a",), "sub")
    assert (found.job.time, found.job.memory) == (1200.0, 4 * 1024**3)
    assert found.interpreter == ("/bin/bash", "-e")
    assert found.is_parsable
    assert found.after == ((7, False), (8, False))
    moved = read_sbatch(Asked(("sbatch", "sub", "2", "a", "-D", "../other"), TEXT))
    assert moved.folder == "other"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-d", "afterok:rxvbmwd"), "is not a job number"),
        (("-d", "singleton"), "only afterok:RUN and afterany:RUN"),
        (("--export=ALL,HF_TOKEN",), "--export='HF_TOKEN' names no value"),
        (("--frob",), "is no option of sbatch"),
        (("--time",), "--time has no value"),
        (("-N", "2"), "--nodes asks for 2 nodes"),
        (("-D", "/x/%j"), "names with % are not supported"),
        (("--container", "x"), "--container is not supported"),
    ],
)
def test_options_that_cannot_be_done_are_named(options: tuple[str, ...], told: str) -> None:
    words = ("sbatch", ".", str(len(options)), "a.sh", *options)
    with pytest.raises(InputError) as raised:
        read_sbatch(Asked(words, TEXT))
    assert told in raised.value.message
    assert not raised.value.message.startswith("line")


@pytest.mark.parametrize("char", ["{", "<", '"a', "\\", "$", "1,", "#SBATCH -H\n"])
def test_a_hostile_header_takes_no_time(char: str) -> None:
    for before in ("#!/bin/sh\n#SBATCH --time=", "#!/bin/sh\n#SBATCH "):
        began = time.thread_time()
        with pytest.raises(InputError):
            read_sbatch(Asked(("sbatch", ".", "0", "a.sh"), before + char * (60_000 // len(char))))
        assert time.thread_time() - began < 5  # and without the limit half a minute


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", QueueQuery()),
        ("-h -j 7,8 --me", QueueQuery(jobs=(7, 8), has_header=False)),
        ("-hj7 -u ana", QueueQuery(jobs=(7,), has_header=False)),
        ("--name=a,b -t pd,R", QueueQuery(names=("a", "b"), states=("PD", "R"))),
        ("-o %i", QueueQuery(layout="%i")),
    ],
)  # fmt: skip
def test_squeue_is_read(words: str, wanted: QueueQuery) -> None:
    assert read_squeue(words.split()) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("7 8,9", QueueQuery(jobs=(7, 8, 9))),
        ("-n a 7", QueueQuery(jobs=(7,), names=("a",))),
        ("--name=a,b", QueueQuery(names=("a", "b"))),
        ("-Q 7", QueueQuery(jobs=(7,))),
    ],
)
def test_scancel_is_read(words: str, wanted: QueueQuery) -> None:
    assert read_scancel(words.split()) == wanted


@pytest.mark.parametrize("words", ["", "-u ana", "-s USR1 7", "7_1", "--me", "-n", "-t PD 7"])
def test_a_scancel_that_is_not_sure_cancels_nothing(words: str) -> None:
    with pytest.raises(InputError):
        read_scancel(words.split())


def test_lines_are_as_those_of_slurm() -> None:
    tasks = [
        QueuedTask(number=7, name="train", user="ana", status="running", seconds=3661, host="gpu1"),
        QueuedTask(number=12345, task="3", name="long-name", user="ana", status="waiting",
                   reason="Resources"),
    ]  # fmt: skip
    text = queue_text(QueueQuery(), tasks)
    assert text.splitlines() == [
        "             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)",
        "                 7   hostler    train      ana  R    1:01:01      1 gpu1",
        "           12345_3   hostler long-nam      ana PD       0:00      1 (Resources)",
    ]
    said = queue_text(QueueQuery(layout="%A|%T|%5j|", has_header=False, states=("PENDING",)), tasks)
    assert said == "12345|PENDING|long-|\n"
    assert queue_text(QueueQuery(names=("Long Name",), has_header=False), tasks).count("\n") == 1
    assert queue_text(QueueQuery(jobs=(7,), layout="%i", has_header=False), tasks) == "7\n"
    with pytest.raises(InputError, match="'%Z' is not supported"):
        queue_text(QueueQuery(layout="%Z"), tasks)


def test_a_wide_layout_makes_no_large_answer() -> None:
    tasks = [QueuedTask(number=7, name="a", user="ana", status="waiting")] * 1000
    with pytest.raises(InputError, match="at most 400 are allowed"):
        queue_text(QueueQuery(layout="%.999i" * 1000), tasks)
    assert len(queue_text(QueueQuery(layout="%.999i" * 60), tasks)) < 400_000


def test_a_query_that_names_much_takes_no_longer_for_many_tasks() -> None:
    tasks = [QueuedTask(number=7, name="a", user="ana", status="waiting")] * 10_000
    began = time.process_time()
    many = tuple(map(str, range(8000)))
    assert queue_text(QueueQuery(names=many, has_header=False), tasks) == ""
    assert queue_text(QueueQuery(jobs=(6,) * 8000, has_header=False), tasks) == ""
    assert queue_text(QueueQuery(states=many, has_header=False), tasks) == ""
    assert time.process_time() - began < 5.0
    for read, words in ((read_squeue, ["-" + "h" * 90_000]), (read_scancel, ["7," * 20_000 + "7"])):
        with pytest.raises(InputError, match="longer than 16 KiB"):
            read(words)
