"""`hostler keep`, and what `rm` and `gc` tell of files that stay or that nobody has fetched."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hostler.base.dates import clock_text
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import Answer, ScriptedDaemon
from tests.support.values.run_objects import artifact, kept, remainder, run

AT = 1_796_000_000.0


@pytest.fixture(autouse=True)
def _runs(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs/r7", run(outcome="succeeded"))


def test_keeping_says_what_is_kept(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    answer = kept(
        artifact(), artifact(name="files", kind="files"), artifact(name="old", present=False),
        artifact(name="files", kind="here"),
        remainder(), by="ana",
    )  # fmt: skip
    daemon.on("POST", "/v1/runs/r7/keep", answer)
    ran = hostler("keep", "r7")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "r7: kept by ana: logs and source, 2 outputs or kept files (2 GiB), model.pt and 2 more "
        "files (3 GiB) on gpu2, 1 output already removed\n"
    )
    assert daemon.requests("POST", "/v1/runs/r7/keep")[0].json == {"until": None}
    assert hostler("keep", "r7", "--json").json["schema"] == "hostler.kept/1"
    assert hostler("keep", "r7", "-q").out == ""


def test_keeping_up_to_a_date(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("POST", "/v1/runs/r7/keep", kept(by="ana", until=AT))
    ran = hostler("keep", "r7", "--until", "30d")
    assert ran.out == f"r7: kept by ana until {clock_text(AT)}: logs and source\n"
    (asked,) = daemon.requests("POST", "/v1/runs/r7/keep")
    assert asked.json["until"] == pytest.approx(time.time() + 30 * 86400, abs=60)
    hostler("keep", "r7", "--until", "2100-01-02")
    assert daemon.requests("POST", "/v1/runs/r7/keep")[1].json["until"] > 4.1e9


@pytest.mark.parametrize("date", ["tomorrow", "2026-13-01", "2001-01-01", "0s", "", "1e400", "-1d"])
def test_a_date_that_is_none_or_over_is_refused(
    hostler: CommandLine, daemon: ScriptedDaemon, date: str
) -> None:
    ran = hostler("keep", "r7", f"--until={date}")
    assert ran.code == 2
    assert "--until" in ran.err
    assert "Traceback" not in ran.err
    assert daemon.requests("POST", "/v1/runs/r7/keep") == []


def test_keeping_no_longer_says_until_when_files_stay(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    daemon.on("DELETE", "/v1/runs/r7/keep", kept(remainder()))
    ran = hostler("keep", "r7", "--forget")
    assert ran.out == (
        "r7: no longer kept; the usual limits apply\n"
        f"r7: model.pt and 2 more files (3 GiB) on gpu2:/x until {clock_text(AT)}\n"
    )
    assert hostler("keep", "r7", "--forget", "--until", "3d").code == 2


def test_of_several_runs_one_that_is_not_there_changes_nothing(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    missing = {"error": {"kind": "NotFoundError", "message": "no run 'r9'", "remedy": ""}}
    daemon.on("GET", "/v1/runs/r9", Answer(missing, 404))
    assert hostler("keep", "r7", "r9").code != 0
    assert daemon.requests("POST", "/v1/runs/r7/keep") == []


def test_removing_tells_what_nobody_has_fetched(
    hostler: CommandLine, daemon: ScriptedDaemon, terminal: Any
) -> None:
    daemon.on("DELETE", "/v1/runs/r7", {"removed": "r7"})
    answer = kept(
        artifact(), artifact(name="log", fetched_at=AT), artifact(name="gone", present=False),
        artifact(name="files", kind="here"),
        remainder(), remainder(names=[], files=1, fetched_at=AT),
    )  # fmt: skip
    daemon.on("GET", "/v1/runs/r7/kept", answer)
    terminal("n\n")
    ran = hostler("rm", "r7", tty=True)
    assert ran.code == 130
    assert [line.strip() for line in ran.err.splitlines()[1:4]] == [
        "r7: not fetched: train model (1 GiB)",
        "r7: not fetched, and removed from gpu2: model.pt and 2 more files (3 GiB)",
        "r7: fetched, and removed from gpu2: 1 file (3 GiB)",
    ]
    assert "with logs, outputs and files on hosts? [y/N]" in ran.err
    assert daemon.requests("DELETE", "/v1/runs/r7") == []


def test_a_run_that_somebody_keeps_is_not_removed(
    hostler: CommandLine, daemon: ScriptedDaemon, terminal: Any
) -> None:
    daemon.on("GET", "/v1/runs/r7/kept", kept(by="ana"))
    terminal("y\n")
    ran = hostler("rm", "r7", tty=True)
    assert ran.code == 2
    assert ran.err == "hostler: run r7 is kept by ana. Release it first: hostler keep r7 --forget\n"
    assert daemon.requests("DELETE", "/v1/runs/r7") == []


def test_gc_tells_what_nobody_has_fetched_and_what_stays(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    answer = {
        "dry_run": True, "freed": 2**31, "runs": [], "hosts": {}, "logs": {},
        "content": {"blobs": 2, "bytes": 2**31},
        "unfetched": {"artifacts": 1, "bytes": 2**30, "runs": ["r1", "r2"]},
        "kept": {"runs": 1},
        "staying": {
            "attempts": 3, "runs": 2, "bytes": 2**30, "hosts": ["gpu1", "gpu2"], "goes_at": AT,
        },
    }  # fmt: skip
    daemon.on("POST", "/v1/gc", answer)
    assert hostler("gc", "-n").out.splitlines() == [
        "2 packed sources or outputs: 2 GiB",
        "not fetched yet: 1 output (1 GiB) of r1, r2; hostler get RUN, or hostler keep RUN",
        "1 run kept on request: gc does not remove their files",
        f"files of 2 runs (1 GiB) remain on gpu1, gpu2; the first are removed on "
        f"{clock_text(AT)}, "
        "after an alert",
        "2 GiB would be freed here",
    ]


def test_show_says_who_keeps_a_run_and_where_files_of_it_stay(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    staying = [
        {
            "stage": "train",
            "attempt_id": "r7-train-1",
            "host": "gpu2",
            "path": "/x",
            "files": 3,
            "size": 2**30,
            "goes_at": AT,
        }
    ]
    where = "train: 3 files (1 GiB) stay on gpu2:/x"
    single = [{**staying[0], "files": 1}]
    daemon.on("GET", "/v1/runs/r7", run(outcome="succeeded", staying=single, keep=None))
    assert "train: 1 file (1 GiB) stays on gpu2:/x" in hostler("show", "r7", tty=True).out
    daemon.on("GET", "/v1/runs/r7", run(outcome="succeeded", staying=staying, keep=None))
    assert f"{where} until {clock_text(AT)}\n" in hostler("show", "r7", tty=True).out
    keep = {"by": "ana", "at": AT, "until": AT}
    daemon.on("GET", "/v1/runs/r7", run(outcome="succeeded", staying=staying, keep=keep))
    assert f"kept by ana until {clock_text(AT)}\n" in hostler("show", "r7", tty=True).out
    staying[0]["goes_at"] = None
    daemon.on(
        "GET", "/v1/runs/r7",
        run(outcome="succeeded", staying=staying, keep={**keep, "until": None}),
    )  # fmt: skip
    shown = hostler("show", "r7", tty=True).out
    assert "kept by ana\n" in shown
    assert f"{where}\n" in shown
