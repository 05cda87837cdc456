"""A shim in trouble: no agent left to answer to, no space to write down what happened."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import journal, restarts, strays
from tests.support.programs.agents import Agent, eventually

pytestmark = pytest.mark.programs

SHIM = """
import json, os, sys
from hostler_agent import shim
shim._WRITE_AGAIN = 0.05
reply = int(sys.argv[2])
print(shim.Shim(sys.argv[1], sys.argv[1]).run(shim.Spec(**json.loads(sys.argv[3])), reply))
"""


def start(
    base: Path, argv: list[str], reply: int, *, before: str = "", **more: Any
) -> subprocess.Popen[str]:
    folder = base / "job"
    (folder / "work").mkdir(parents=True, exist_ok=True)
    spec: dict[str, Any] = {
        "attempt_id": "a", "folder": str(folder), "boot_id": "b", "argv": argv, "id": 1,
        "env": {"PATH": os.environ["PATH"]}, "cwd": str(folder / "work"), "log_cap": 10**6, **more,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", before + SHIM, str(base), str(reply), json.dumps(spec)],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=(reply,),
    )


def test_a_job_whose_agent_went_away_at_its_start_is_watched_to_its_end(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = ["sh", "-c", "sleep 0.2; echo said; exit 7"]
    with start(tmp_path, command, theirs) as shim:
        os.close(theirs)
        assert shim.communicate(timeout=60)[0] == "True\n"
    job = journal.load(str(tmp_path / "job"))
    assert job is None  # nobody wrote "created": only what the shim itself wrote is there
    events = {e["event"]: e for e in journal.read(str(tmp_path / "job"))}
    assert events["ended"]["exit_code"] == 7


def test_a_start_that_cannot_be_written_down_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "job" / "journal").mkdir(parents=True)
    ours, theirs = os.pipe()
    mark = str(tmp_path)  # in the command lines of all that it starts
    command = ["sh", "-c", "sh -c 'sleep 600' \"$0\" & sleep 600", mark]
    with start(tmp_path, command, theirs) as shim:
        os.close(theirs)
        with os.fdopen(ours) as answers:
            answer = json.loads(answers.readline())
        assert "its start cannot be recorded" in answer["error"]
        assert shim.communicate(timeout=60)[0] == "True\n"
    assert [line for line in _command_lines() if mark in line] == []


def test_an_end_waits_for_space_to_be_written_down(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    where, kept = tmp_path / "job" / "journal", tmp_path / "kept"
    command = ["sh", "-c", "while ! test -e ../../go; do sleep 0.02; done; exit 3"]
    with start(tmp_path, command, theirs) as shim:
        os.close(theirs)
        with os.fdopen(ours) as answers:
            assert "error" not in json.loads(answers.readline())
        where.rename(kept)
        where.mkdir()
        (tmp_path / "go").touch()
        assert eventually(lambda: not _children(shim.pid))
        assert shim.poll() is None
        where.rmdir()
        shutil.move(kept, where)
        assert shim.communicate(timeout=60)[0] == "True\n"
    events = {e["event"]: e for e in journal.read(str(tmp_path / "job"))}
    assert events["ended"]["exit_code"] == 3


BOTH = "echo out; echo err >&2; sh -c 'echo late >&2'"


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ({"output": "o", "errors": "e"}, {"o": "out\n", "e": "err\nlate\n"}),
        ({"output": "o"}, {"o": "out\nerr\nlate\n"}),
        ({"errors": "e"}, {"e": "err\nlate\n"}),
        ({"output": "o", "errors": "../e"}, {"o": "out\nerr\nlate\n"}),
    ],
)
def test_errors_go_to_a_file_of_their_own_where_one_is_asked_for_and_to_the_log(
    tmp_path: Path, asked: dict[str, str], files: dict[str, str]
) -> None:
    ours, theirs = os.pipe()
    with start(tmp_path, ["sh", "-c", BOTH], theirs, **asked) as shim:
        os.close(theirs)
        os.close(ours)
        assert shim.communicate(timeout=60)[0] == "True\n"
    work = tmp_path / "job/work"
    assert {path.name: path.read_text() for path in work.iterdir()} == files
    said = (tmp_path / "job/log.0").read_text().splitlines()
    assert sorted(line for line in said if "hostler:" not in line) == ["err", "late", "out"]


def test_a_flood_of_errors_keeps_nothing_of_the_output_back(tmp_path: Path) -> None:
    flood = "yes bad | head -c 3000000 >&2; head -c 2000000 /dev/zero; echo end"
    ours, theirs = os.pipe()
    more: dict[str, Any] = {"output": "o", "errors": "e", "log_cap": 10**8}
    with start(tmp_path, ["sh", "-c", flood], theirs, **more) as shim:
        os.close(theirs)
        os.close(ours)
        assert shim.communicate(timeout=60)[0] == "True\n"
    work = tmp_path / "job/work"
    assert (work / "e").stat().st_size == 3_000_000
    assert (work / "o").read_bytes()[2_000_000:] == b"end\n"
    logged = sum(path.stat().st_size for path in (tmp_path / "job").glob("log.*"))
    assert logged == 5_000_004


def test_a_clock_that_is_set_back_changes_no_duration(tmp_path: Path) -> None:
    """It jumps by a day at each look at it."""
    late = "import itertools, time; days = itertools.count()\n" + (
        "real = time.time\ntime.time = lambda: real() - 86400 * next(days)\n"
    )
    ours, theirs = os.pipe()
    with start(tmp_path, ["sleep", "0.3"], theirs, before=late) as shim:
        os.close(theirs)
        os.close(ours)
        assert shim.communicate(timeout=60)[0] == "True\n"
    events: Any = {e["event"]: e for e in journal.read(str(tmp_path / "job"))}
    # Its start is noted a moment after it.
    assert 0.2 <= events["ended"]["at"] - events["started"]["at"] < 20


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace"))
    return found


STRAY = "trap ': > told; while ! test -e go; do sleep 0.02; done; : > saved; exit' TERM; "
LEAVES = f"""sh -c "{STRAY} : > up; while :; do sleep 0.02; done" &
while ! test -e up; do sleep 0.01; done"""


def left_behind(base: Path, **spec: Any) -> tuple[subprocess.Popen[str], Path]:
    """A shim whose job leaves a process behind, which touches `told` when it is to end."""
    ours, theirs = os.pipe()
    shim = start(base, ["sh", "-c", LEAVES], theirs, **spec)
    os.close(theirs)
    os.close(ours)
    return shim, base / "job" / "work"


def test_what_a_job_leaves_behind_has_the_grace_of_its_stage(agent: Agent) -> None:
    create = {"daemon_id": "d1", "grace": 600}
    agent.ask("job.start", attempt_id="a", argv=["sh", "-c", LEAVES], env={}, create=create)
    work = agent.place.base / "jobs" / "a" / "work"
    eventually((work / "told").exists)
    with pytest.raises(AssertionError):  # it was killed while it saved its work
        eventually(lambda: not agent.ask("job.inspect", attempt_id="a")["workload"]["running"], 4.0)
    (work / "go").touch()
    assert agent.ended("a")["exit_code"] == 0
    assert (work / "saved").exists()


def test_the_grace_of_a_stop_is_no_longer_than_the_stops(tmp_path: Path) -> None:
    shim, work = left_behind(tmp_path, grace=600.0)
    with shim:
        eventually((work / "told").exists)
        (tmp_path / "job" / "stopping").write_text("up\n")
        assert shim.communicate(timeout=60)[0] == "True\n"
    assert not (work / "saved").exists()


def test_without_a_grace_it_is_short(tmp_path: Path) -> None:
    """On a busy machine it may be killed before it can note that it was told."""
    shim, work = left_behind(tmp_path)
    with shim:
        assert shim.communicate(timeout=60)[0] == "True\n"
    assert not (work / "saved").exists()


SAVES = """trap ': > hit; exit 1' TERM
for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done
: > saved"""
"""It takes longer than a shim needs to look at a job several times."""
KEEPS = """trap 'echo told >> told; sh ../save; exit' TERM; : > up; while :; do sleep 0.02; done"""


def test_what_a_job_starts_after_it_was_told_to_end_is_left_to_end(tmp_path: Path) -> None:
    """Its parent waits for it, or has gone before it: that changes nothing."""
    for name, waits in (("waited", "sh ../../save;"), ("alone", "sh ../../save &")):
        base = tmp_path / name
        ours, theirs = os.pipe()
        base.mkdir()
        (base / "save").write_text(SAVES)
        kept = f"trap '{waits} exit' TERM; : > up; while :; do sleep 0.02; done"
        command = f'sh -c "{kept}" & while ! test -e up; do sleep 0.01; done'
        with start(base, ["sh", "-c", command], theirs, grace=600.0) as shim:
            os.close(theirs)
            os.close(ours)
            assert shim.communicate(timeout=60)[0] == "True\n"
        work = base / "job" / "work"
        assert [p.name for p in work.iterdir() if p.name != "up"] == ["saved"], name


def test_who_was_told_by_the_stop_is_not_told_again(agent: Agent) -> None:
    """A wrapper ends at once; what it runs saves its work, and at a second TERM once more."""
    create = {"daemon_id": "d1", "grace": 600}
    script = f'sh -c "{KEEPS}"; true'
    agent.ask("job.start", attempt_id="a", argv=["sh", "-c", script], env={}, create=create)
    folder = agent.place.base / "jobs" / "a"
    (folder / "save").write_text(SAVES)
    eventually((folder / "work" / "up").exists)
    assert agent.ask("job.stop", attempt_id="a", grace=600)["running"] is False
    assert (folder / "work" / "told").read_text() == "told\n"
    assert (folder / "work" / "saved").exists()
    assert not (folder / "work" / "hit").exists()


def test_who_hides_from_the_stop_is_told_when_the_first_process_ends(tmp_path: Path) -> None:
    """A session and an environment of its own: the stop cannot know it for the job's."""
    ours, theirs = os.pipe()
    hidden = (
        "setsid env -i sh -c \"trap ': > told; exit' TERM; : > up; while :; do sleep 0.02; done\""
    )
    command = f"{hidden} & while ! test -e end; do sleep 0.01; done"
    with start(tmp_path, ["sh", "-c", command], theirs, grace=600.0) as shim:
        os.close(theirs)
        os.close(ours)
        work = tmp_path / "job" / "work"
        eventually((work / "up").exists)
        tick = strays.now() + 2  # what started in the tick of the stop counts as started after it
        eventually(lambda: strays.now() > tick)
        (tmp_path / "job" / "stopping").touch()
        (work / "end").touch()
        assert shim.communicate(timeout=60)[0] == "True\n"
    assert (work / "told").exists()


def test_what_is_no_journal_is_not_waited_for(tmp_path: Path) -> None:
    """A job can put a FIFO there, and the agent's loop reads journals."""
    os.mkfifo(tmp_path / journal.NAME)
    tried = "import sys; from hostler_agent import journal as j; print(j.load(sys.argv[1]))"
    said = subprocess.run(
        [sys.executable, "-c", tried, str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert said.stdout == "None\n", said.stderr
    with pytest.raises(OSError, match="such"):
        journal.append(str(tmp_path), {"event": "created"})


def test_a_job_that_is_to_go_on_is_started_again_until_it_ends_well(tmp_path: Path) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    command = "echo try; echo >> ../n; test $(wc -l < ../n) = 3 || kill -9 $$"
    before = "from hostler_agent import restarts; restarts.FIRST_PAUSE = 0.01\n"
    with start(tmp_path, ["sh", "-c", command], null, before=before, again=True) as shim:
        assert shim.communicate(timeout=60)[0] == "True\n"
    os.close(null)
    events = journal.read(str(tmp_path / "job"))
    assert [event["event"] for event in events] == ["started"] * 3 + ["ended"]
    assert events[-1]["exit_code"] == 0
    assert (tmp_path / "job" / "log.0").read_text().count("try") == 3


def test_a_job_that_waits_to_be_started_again_can_be_stopped(tmp_path: Path) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    before = "from hostler_agent import restarts; restarts.FIRST_PAUSE = 600.0\n"
    with start(tmp_path, ["sh", "-c", "exit 3"], null, before=before, again=True) as shim:
        folder = tmp_path / "job"
        assert eventually(lambda: any(e["event"] == "started" for e in journal.read(str(folder))))
        (folder / "stopping").touch()
        assert shim.communicate(timeout=60)[0] == "True\n"
    os.close(null)
    events = journal.read(str(folder))
    assert [event["event"] for event in events] == ["started", "ended"]
    assert events[-1]["exit_code"] == 3


def test_the_pauses_between_tries_grow_and_are_short_again_after_a_good_one(tmp_path: Path) -> None:
    made = restarts.Restarts(str(tmp_path), "stopping")
    pauses = [made.next_pause(1.0) for _ in range(10)]
    assert pauses[:3] == [0.25, 0.5, 1.0]
    assert pauses[-1] == restarts.LONGEST_PAUSE
    assert made.next_pause(restarts.SETTLED) == restarts.FIRST_PAUSE
    assert made.next_pause(1.0) == 2 * restarts.FIRST_PAUSE
