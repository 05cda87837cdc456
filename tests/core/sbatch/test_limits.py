"""`--signal` and `--requeue` of batch scripts: a warning, and a requeue from the checkpoint."""

from __future__ import annotations

from typing import Any

import pytest

from hostler.base.errors import InputError
from hostler.model.pipelines import Stage
from hostler.model.time_limits import OnTimeout, Warn, WarnTo
from hostler.sbatch.job import BatchJob, read_job
from hostler.sbatch.limits import BatchSignal, limit_notes, read_batch_signal
from hostler.sbatch.pipeline import Script, pipeline_of, text_of
from hostler.spec.pipeline import read_pipeline


def job(*lines: str) -> BatchJob:
    return read_job("\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines)]))


def stage(*lines: str, **options: Any) -> Stage:
    made = Script(
        name="a.sbatch", interpreter=("/bin/bash",), path="a.sbatch", submit_dir="/home/ana",
        code="here", env={},
    )  # fmt: skip
    tables = pipeline_of(job(*lines), made, options)
    return read_pipeline(text_of(tables), file="p.toml").stages[0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("USR1@240", BatchSignal("USR1", 240, to_shell=False)),
        ("B:USR1@240", BatchSignal("USR1", 240, to_shell=True)),
        ("SIGUSR2", BatchSignal("USR2", 60, to_shell=False)),
        ("usr1@90", BatchSignal("USR1", 90, to_shell=False)),
        ("R:15@30", BatchSignal("TERM", 30, to_shell=False)),
        ("RB:10@0", BatchSignal("USR1", 1, to_shell=True)),
    ],
)
def test_a_signal_in_every_spelling(text: str, found: BatchSignal) -> None:
    assert read_batch_signal(text) == found


@pytest.mark.parametrize("text", ["", "@60", "USR1@", "USR1@x", "X:USR1@60", "KILL@60", "9", "99"])
def test_what_is_no_signal_names_its_line(text: str) -> None:
    with pytest.raises(InputError, match="line 2: --signal"):
        job(f"--signal={text!r}")


def test_the_batch_shell_gets_it_with_b_and_what_it_started_without() -> None:
    assert stage("-t 10", "--signal=B:USR1@240").warn == Warn("USR1", 240.0, WarnTo.COMMAND)
    assert stage("-t 10", "--signal=USR1@240").warn == Warn("USR1", 240.0, WarnTo.CHILDREN)


@pytest.mark.parametrize(
    ("lines", "options", "note"),
    [
        (["--signal=B:USR1@240"], {}, "--signal=B:USR1@240 is not used: without --time"),
        (["-t 0", "--signal=USR1@240"], {}, "without --time"),
        (["-t 1", "--signal=USR1@60"], {}, "--signal=USR1@60 is not used: the time limit is 1m"),
        (["-t 10", "--signal=USR1@240"], {"timeout": "4m"}, "the time limit is 4m"),
    ],
)
def test_a_signal_that_cannot_be_sent_is_told(
    lines: list[str], options: dict[str, Any], note: str
) -> None:
    assert stage(*lines, **options).warn is None
    (told,) = limit_notes(job(*lines), options)
    assert note in told


def test_options_of_run_come_before_the_header() -> None:
    lines = ["-t 1", "--signal=USR1@60"]
    assert stage(*lines, timeout="1h").warn == Warn("USR1", 60.0, WarnTo.CHILDREN)
    assert list(limit_notes(job(*lines), {"timeout": "1h"})) == []
    assert stage(*lines, warn="USR2@10s").warn == Warn("USR2", 10.0)
    assert list(limit_notes(job(*lines), {"warn": "USR2@10s"})) == []


def test_a_requeue_at_the_limit_needs_the_folder_of_the_checkpoint() -> None:
    lines = ["-t 10", "--requeue", "--signal=USR1@240"]
    without = stage(*lines)
    assert without.on_timeout is OnTimeout.FAIL
    (told,) = limit_notes(job(*lines), {})
    assert "hostler run --checkpoint DIR" in told
    given = stage(*lines, checkpoint="ckpt")
    assert (given.on_timeout, given.checkpoint) == (OnTimeout.REQUEUE, "ckpt")
    assert list(limit_notes(job(*lines), {"checkpoint": "ckpt"})) == []
    assert stage(*lines, checkpoint="c", on_timeout="fail").on_timeout is OnTimeout.FAIL
    assert stage("--requeue", checkpoint="c").on_timeout is OnTimeout.FAIL
    assert stage("-t 10", checkpoint="c").on_timeout is OnTimeout.FAIL
