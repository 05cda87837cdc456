"""The second file of a job's log: its name, and where it is not written."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler_agent.joblog import Writer
from hostler_agent.jobnumbers import job_number
from hostler_agent.logcopy import LogCopy, copy_of, named
from tests.support.worlds.hypothesis_profiles import examples

ENV = {"HOSTLER_RUN": "rxbvmwd", "HOSTLER_CELL": "run.3", "SLURM_JOB_NAME": "my/train"}
TASK = ENV | {"SLURM_ARRAY_TASK_ID": "3"}


def cksum(text: str) -> str:
    return subprocess.run("cksum", input=text, capture_output=True, text=True).stdout.split()[0]


@pytest.mark.programs
def test_numbers_are_those_of_cksum() -> None:
    for text in ("", "rxbvmwd", "rxbvmwd/run.3", "x" * 300, "é"):
        assert str(job_number(text)) == cksum(text)


@pytest.mark.programs
def test_a_name_has_what_sbatch_puts_there() -> None:
    run, task = cksum("rxbvmwd"), cksum("rxbvmwd/run.3")
    assert named("logs/%x_%j.out", ENV) == f"logs/my_train_{run}.out"
    assert named("%A_%a.%j", TASK) == f"{run}_3.{task}"
    assert named("%4a-%t-%%", TASK) == "0003-0-%"
    assert named("%N", ENV) == os.uname().nodename.split(".")[0]
    assert named("%q", ENV) == "%q"


@pytest.mark.parametrize("pattern", ["", "/x", "../x", "a//b", "a/../b", "./a", "a/", "%x/.."])
def test_a_name_stays_below_the_folder(pattern: str) -> None:
    with pytest.raises(OSError, match="no path below the folder"):
        named(pattern, ENV)


@examples(100)
@given(st.text(max_size=30), st.text(max_size=10))
def test_no_name_leads_out(pattern: str, name: str) -> None:
    try:
        path = named(pattern, {**ENV, "SLURM_JOB_NAME": name})
    except OSError:
        return
    assert not path.startswith("/")
    assert ".." not in path.split("/")


def test_it_goes_on_where_it_was_and_ends_at_its_limit(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs/a/x.out"
    for text in (b"one\n", b"two\n"):
        copy = LogCopy(str(tmp_path), "logs/a/x.out", 6)
        copy.write(text)
        copy.close()
    assert file.read_bytes() == b"one\ntwo\n"
    assert file.stat().st_mode & 0o777 == 0o600
    copy = LogCopy(str(tmp_path), "y.out", 6)
    for _ in range(3):
        copy.write(b"abcd")
    assert (tmp_path / "y.out").read_bytes().startswith(b"abcdab\nhostler: the file ends here")
    assert (tmp_path / "y.out").read_bytes().count(b"hostler") == 2


def test_what_others_have_put_there_is_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("theirs")
    work = tmp_path / "work"
    work.mkdir()
    (work / "logs").symlink_to(outside)
    (work / "link").symlink_to(outside / "file")
    os.link(outside / "file", work / "hard")
    os.mkfifo(work / "pipe")
    (work / "folder").mkdir()
    for name in ("logs/x", "link", "hard", "pipe", "folder"):
        with pytest.raises(OSError, match=r"link|plain file|device|directory"):
            LogCopy(str(work), name, 100)
    assert (outside / "file").read_text() == "theirs"
    assert os.listdir(outside) == ["file"]


@pytest.mark.parametrize("name", ["%" + "9" * 5000 + "j", "x" * 9000, "a\0b", "\udcff\ud800"])
def test_no_name_keeps_a_job_from_its_start(tmp_path: Path, name: str) -> None:
    log = Writer(str(tmp_path), 10**6)
    with contextlib.ExitStack() as opened:
        opened.callback(log.close)
        copy = copy_of(name, str(tmp_path), ENV, 100, log, opened)
        assert copy is not None or b"is not also written" in (tmp_path / "log.0").read_bytes()
