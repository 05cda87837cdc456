"""`hostler get` and `hostler ls` as people call them, with a real daemon's store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.cli.commands import get
from hostler.cli.commands.get import ProgressLine, progress_text
from hostler.model.runs import Outcome
from tests.support.daemons.commandline import CommandLine, Tty
from tests.support.daemons.scripted_daemon import ScriptedDaemon
from tests.support.daemons.served import Served, served
from tests.support.values import stored
from tests.support.values.kept import ended_run, keep, put
from tests.support.values.run_objects import run as run_object
from tests.support.values.run_objects import stage as stage_object

MODEL = os.urandom(300_000)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with served(tmp_path / "s") as running:
        monkeypatch.setenv("HOSTLER_SOCKET", str(running.socket_path))
        outputs = stored.stage(outputs={"model": "out/model.pt"})
        ended_run(running, stored.run(stages=(outputs, stored.stage("eval"))))
        keep(running, tmp_path, {"model.pt": MODEL}, name="model")
        keep(running, tmp_path, {"log.csv": b"1,2\n", "runs/a.txt": b"aa"},
             links={"last": "log.csv"})  # fmt: skip
        keep(running, tmp_path, {"report.html": b"<p>"}, stage="eval")
        yield running


def test_everything_comes_into_folders_of_its_stages(
    lab: Served, hostler: CommandLine, here: Path
) -> None:
    ran = hostler("get", "raaaaaa")
    assert ran.code == 0, ran
    rows = sorted(line.split("\t") for line in ran.out.splitlines())
    assert rows == [
        ["eval/report.html", "3 B", "fetched"],
        ["train/last", "0 B", "link"],
        ["train/log.csv", "4 B", "fetched"],
        ["train/out/model.pt", "293 KiB", "fetched"],
        ["train/runs/a.txt", "2 B", "fetched"],
    ]
    assert "fetched 5 files (293 KiB)" in ran.err
    assert (here / "train/out/model.pt").read_bytes() == MODEL
    assert (here / "train/last").read_bytes() == b"1,2\n"
    again = hostler("get", "raaaaaa")
    assert again.code == 0
    assert "fetched 0 files (0 B); 5 there already" in again.err


def test_one_stage_comes_into_the_folder_itself(
    lab: Served, hostler: CommandLine, here: Path
) -> None:
    ran = hostler("get", "raaaaaa/train", "-o", "results", "*.csv", "model")
    assert ran.code == 0, ran
    assert (here / "results/out/model.pt").read_bytes() == MODEL
    assert (here / "results/log.csv").read_bytes() == b"1,2\n"
    assert sorted(os.listdir(here / "results")) == ["log.csv", "out"]
    assert hostler("get", "raaaaaa", "report.html", "--quiet").err == ""
    assert (here / "report.html").exists()


def test_json_tells_what_became_of_each_file(lab: Served, hostler: CommandLine, here: Path) -> None:
    told = hostler("get", "last", "log.csv", "--json").json
    assert told["schema"] == "hostler.get/1"
    assert told["run_id"] == "raaaaaa"
    (one,) = told["files"]
    assert (one["stage"], one["to"], one["size"], one["state"]) == (
        "train",
        "log.csv",
        4,
        "fetched",
    )


def test_files_are_listed_and_nothing_is_written(
    lab: Served, hostler: CommandLine, here: Path
) -> None:
    ran = hostler("get", "raaaaaa", "--list")
    assert ["train", "out/model.pt", "293 KiB", "model", "saved"] in [
        line.split("\t") for line in ran.out.splitlines()
    ]
    assert ["train", "last -> log.csv", "-", "-", "saved"] in [
        line.split("\t") for line in ran.out.splitlines()
    ]
    assert len(hostler("get", "raaaaaa", "--list", "*.csv").out.splitlines()) == 1
    assert len(hostler("get", "raaaaaa", "--list", "--json").json["files"]) == 5
    assert "FILE" in hostler("get", "raaaaaa", "--list", tty=True).out
    assert os.listdir(here) == []


def test_a_file_goes_to_stdout_byte_by_byte(lab: Served, hostler: CommandLine, here: Path) -> None:
    words = [sys.executable, "-m", "hostler", "get", "raaaaaa/train", "model", "-o", "-"]
    done = subprocess.run(words, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, MODEL), done.stderr
    several = hostler("get", "raaaaaa", "-o", "-")
    assert several.code == 2
    assert "writes one file, and these are 4" in several.err
    assert os.listdir(here) == []


def test_the_command_that_is_told_can_be_copied_whatever_a_file_is_called(
    lab: Served, hostler: CommandLine, here: Path
) -> None:
    keep(lab, here.parent, {"$(id) a": b"", "b": b""}, stage="eval", name="more")
    told = hostler("get", "raaaaaa/eval", "$*", "report.html", "-o", "-")
    assert "Name one: hostler get raaaaaa/eval 'more/$(id) a' -o -" in told.err


def test_on_a_terminal_a_file_cannot_steer_it(
    lab: Served, hostler: CommandLine, here: Path, tmp_path: Path
) -> None:
    ended_run(lab, stored.run("rbbbbbb"))
    keep(lab, tmp_path, {"evil.txt": b"\x1b]0;owned\x07\x1b[2Jhi\n"}, run_id="rbbbbbb")
    ran = hostler("get", "rbbbbbb", "evil.txt", "-o", "-", tty=True)
    assert ran.code == 0
    assert "hi" in ran.out
    assert "\x1b]" not in ran.out
    assert "\x1b[2J" not in ran.out


def test_a_name_that_does_not_exist_tells_those_that_do(
    lab: Served, hostler: CommandLine, here: Path
) -> None:
    ran = hostler("get", "raaaaaa/train", "modle.pt")
    assert ran.code == 2
    assert "no file or output 'modle.pt'" in ran.err
    assert "It has: last, log.csv, out/ (1 file), runs/ (1 file)" in ran.err
    assert hostler("get", "raaaaaa/nope").code == 2
    assert hostler("get", "rzzzz").code == 2
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    ("target", "said"),
    [("/dev/null", "is not a folder"), ("/proc/self/nope", ""), ("log.csv", "is not a folder"),
     ("/dev/tty", "is not a folder")],
)  # fmt: skip
def test_a_target_that_takes_no_files_is_told(
    lab: Served, hostler: CommandLine, here: Path, target: str, said: str
) -> None:
    (here / "log.csv").write_text("mine")
    ran = hostler("get", "raaaaaa", "report.html", "-o", target)
    assert ran.code in (1, 2)
    assert said in ran.err
    assert "bug" not in ran.err
    assert os.listdir(here) == ["log.csv"]


def test_what_differs_is_replaced_only_where_that_is_asked_for(
    lab: Served, hostler: CommandLine, here: Path
) -> None:
    (here / "log.csv").write_text("mine")
    ran = hostler("get", "raaaaaa", "log.csv", "report.html")
    ran = hostler("get", "raaaaaa/train", "log.csv", "runs")
    assert ran.code == 2
    assert "nothing was fetched: different files exist there" in ran.err
    assert "log.csv: a file with other content" in ran.err
    assert not (here / "runs").exists()
    assert hostler("get", "raaaaaa/train", "log.csv", "--force").code == 0
    assert (here / "log.csv").read_bytes() == b"1,2\n"


def test_a_link_in_the_target_is_not_written_through(
    lab: Served, hostler: CommandLine, here: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (here / "runs").symlink_to(tmp_path / "elsewhere")
    ran = hostler("get", "raaaaaa/train", "--force")
    assert ran.code == 2
    assert "runs is a link; files cannot be written there" in ran.err
    assert os.listdir(tmp_path / "elsewhere") == []
    assert os.listdir(here) == ["runs"]


def test_names_that_a_daemon_makes_up_lead_nowhere(
    daemon: ScriptedDaemon, hostler: CommandLine, here: Path
) -> None:
    daemon.on("GET", "/v1/runs/r7", run_object(stage_object("train", "succeeded"), run_id="r7"))
    evil = {
        "stage": "train", "attempt_id": "r7-train-1", "attempt": 1, "where": "saved",
        "artifact": "files", "kind": "files", "partial": False, "path": "../../.bashrc", "size": 1,
        "sha256": "0" * 64, "link": None,
    }  # fmt: skip
    daemon.on("GET", "/v1/runs/r7/files", {"files": [evil], "truncated": False, "next": None})
    ran = hostler("get", "r7")
    assert ran.code == 2
    assert "leads out of the target folder" in ran.err
    assert os.listdir(here) == []


def test_a_run_without_files_says_what_can_be_done(
    daemon: ScriptedDaemon, hostler: CommandLine, here: Path
) -> None:
    daemon.on("GET", "/v1/runs/r7", run_object(stage_object("train", "running"), run_id="r7"))
    daemon.on("GET", "/v1/runs/r7/files", {"files": [], "truncated": False, "next": None})
    ran = hostler("get", "r7")
    assert ran.code == 2
    assert "run r7 has saved no files yet" in ran.err
    assert "`hostler get r7/train` fetches its files" in ran.err
    assert "hostler why r7/train" in hostler("get", "r7/train").err
    daemon.on("GET", "/v1/runs/r7", run_object(stage_object("train", "starting"), run_id="r7"))
    for name in ("r7", "r7/train"):
        said = f"{name} has no files yet. See how far it is: hostler why {name}, or wait for"
        assert said in hostler("get", name).err


def test_ls_shows_a_folder(lab: Served, hostler: CommandLine, here: Path) -> None:
    ran = hostler("ls", "raaaaaa/train")
    assert [line.split("\t")[:2] for line in ran.out.splitlines()] == [
        ["last@", "-"], ["log.csv", "4 B"], ["out/", "293 KiB"], ["runs/", "2 B"],
    ]  # fmt: skip
    assert hostler("ls", "raaaaaa/train", "runs").out.startswith("a.txt\t2 B")
    assert hostler("ls", "raaaaaa/train", "--json").json["schema"] == "hostler.ls/1"
    assert "has 2 stages" in hostler("ls", "raaaaaa").err
    assert (
        "no folder nope. It has: last, log.csv, out/" in hostler("ls", "raaaaaa/train", "nope").err
    )


def test_progress_is_one_line_that_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get, "_EVERY_S", 0.0)
    stream = Tty()
    line = ProgressLine(stream)
    line("a\x1b[2J", 50, 100)
    assert " 50 % of 100 B" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()
    line.clear()
    assert stream.getvalue().endswith("\r\x1b[K")
    assert progress_text("m", 0, 0, 0.0) == "100 % of 0 B: m"
    silent = ProgressLine(None)
    silent("m", 1, 2)
    silent.clear()
    assert sys.stdout is not None


def test_cells_of_a_matrix_come_into_folders_of_their_names(
    lab: Served, hostler: CommandLine, here: Path, tmp_path: Path
) -> None:
    cells = tuple(stored.stage(f"fit.{n}", base="fit") for n in range(2))
    ended_run(lab, stored.run("rcccccc", stages=cells))
    for n in range(2):
        keep(lab, tmp_path, {"best.pt": b"%d" % n}, run_id="rcccccc", stage=f"fit.{n}")
    assert hostler("get", "rcccccc/fit").code == 0
    assert (here / "fit.0/best.pt").read_bytes() == b"0"
    assert (here / "fit.1/best.pt").read_bytes() == b"1"
    assert hostler("get", "rcccccc/fit.1", "best.pt", "-o", "one").code == 0
    assert os.listdir(here / "one") == ["best.pt"]
    assert "cells" in hostler("ls", "rcccccc/fit").err


def test_files_of_an_earlier_attempt_are_told_and_fetched_by_its_number(
    lab: Served, hostler: CommandLine, here: Path, tmp_path: Path
) -> None:
    """The newest may have got less far than one that lost its host."""
    ended_run(lab, stored.run("rbbbbbb"), attempts=2)
    keep(lab, tmp_path, {"log.csv": b"1,2\n"}, run_id="rbbbbbb", number=1, partial=True)
    keep(lab, tmp_path, {"log.csv": b"3"}, run_id="rbbbbbb", number=2)
    ran = hostler("get", "rbbbbbb/train", "log.csv")
    assert ran.code == 0, ran
    assert (here / "log.csv").read_bytes() == b"3"
    assert "hostler get rbbbbbb/train --attempt 1" in ran.err
    ran = hostler("get", "rbbbbbb/train", "log.csv", "--attempt", "1", "-o", "first")
    assert ran.code == 0, ran
    assert (here / "first/log.csv").read_bytes() == b"1,2\n"
    assert "--attempt" not in ran.err
    ran = hostler("get", "rbbbbbb/train", "--attempt", "7")
    assert ran.code == 2
    assert "attempt 7 has no files" in ran.err
    assert "1, 2" in ran.err


def test_a_retry_still_has_what_it_kept_of_a_run_that_was_removed(
    lab: Served, hostler: CommandLine, here: Path, tmp_path: Path
) -> None:
    ended_run(lab, stored.run("rbbbbbb"))
    keep(lab, tmp_path, {"model.pt": b"model"}, run_id="rbbbbbb")
    store = lab.service.context.store
    done = put(lab, store.get_run("rbbbbbb")).attempts[0]
    put(lab, store.create_run(stored.run("rcccccc", kept={"train": done}), "", []))
    put(lab, store.end_run("rcccccc", Outcome.SUCCEEDED, 300.0))
    assert hostler("rm", "-y", "rbbbbbb").code == 0
    ran = hostler("get", "rcccccc")
    assert ran.code == 0, ran
    assert (here / "model.pt").read_bytes() == b"model"
    assert hostler("get", "rcccccc", "model.pt", "--force").code == 0
