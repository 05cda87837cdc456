"""Process jobs by the real agent: started, watched over all kinds of ends, stopped, found again."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hostler.model.codec import from_json
from hostler.model.hosts import Look, Workload
from hostler_agent import journal
from hostler_agent.folders import Refusal
from hostler_agent.jobstop import Stopper
from hostler_agent.journal import Job, Started
from hostler_agent.processes import Proc
from tests.support.programs.agents import Agent, AgentSaysNo, Place, eventually, pushed, serving
from tests.support.programs.fake_nvml import FakeNvml


def _pid_in(path: Path) -> int:
    return int(eventually(lambda: path.exists() and path.read_text().strip()))


def _gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def _work(agent: Agent, attempt: str) -> Path:
    return agent.place.base / "jobs" / attempt / "work"


def test_a_job_runs_and_its_exit_is_pushed(agent: Agent) -> None:
    workload = from_json(Workload, agent.job("r-s-1", ["sh", "-c", "echo hi; exit 7"]))
    assert workload.runtime == "process"
    assert workload.attempt_id == workload.ref == "r-s-1"
    push = agent.push()
    kind, value = pushed(push)
    ended = from_json(Workload, value)
    assert kind == "exit"
    log = base64.b64encode(b"hi\n").decode()
    assert push["left"].pop("changed") in (0, None)  # a busy machine does not look to the end
    assert push["left"] == {"log": log, "metrics": False}
    assert (ended.attempt_id, ended.running, ended.exit_code) == ("r-s-1", False, 7)
    assert ended.signal is None
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.finished_at >= ended.started_at
    listed = agent.look()["workloads"]
    assert [w["exit_code"] for w in listed] == [7]


def test_a_running_job_tells_its_start_by_the_clock_since_boot(agent: Agent) -> None:
    """Which nobody sets, and which a look tells too."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    agent.job("r-s-1", ["sleep", "60"])
    look = from_json(Look, agent.look())
    (job,) = look.workloads
    assert job.started_up is not None
    assert look.up is not None
    assert before - 0.1 <= job.started_up <= look.up
    assert look.wall == pytest.approx(time.time(), abs=60)
    agent.ask("job.signal", attempt_id="r-s-1", signal=9)
    assert agent.push()["exit"]["running"] is False


def test_a_start_makes_the_job_too(agent: Agent) -> None:
    created = {"daemon_id": "d1", "run_id": "r", "checkpoint": "ckpt", "checkpoint_key": "k"}
    started: dict[str, Any] = {"attempt_id": "a", "create": created, "env": {}}
    script = 'echo 1 > "$HOSTLER_CHECKPOINT/step"; echo {} > "$HOSTLER_METRICS"; seq 5000'
    for _ in range(2):
        assert agent.ask("job.start", argv=["sh", "-c", script], **started)["ref"] == "a"
    assert agent.ended("a")["exit_code"] == 0
    assert (_work(agent, "a") / "ckpt" / "step").read_text() == "1\n"
    assert agent.push()["left"] is None
    with pytest.raises(AgentSaysNo, match="another daemon"):
        agent.ask("job.start", argv=["true"], **{**started, "create": {"daemon_id": "d2"}})


def test_signals_are_told(agent: Agent) -> None:
    agent.job("a", ["sh", "-c", "kill -SEGV $$"])
    ended = from_json(Workload, agent.ended("a"))
    assert (ended.signal, ended.exit_code) == (signal.SIGSEGV, 128 + signal.SIGSEGV)
    assert not ended.oom_killed


def test_starting_twice_starts_once(agent: Agent) -> None:
    script = "echo x >> count; sleep 60"
    first = agent.job("a", ["sh", "-c", script])
    again = agent.job("a", ["sh", "-c", script])
    assert again["started_at"] == first["started_at"]
    count = _work(agent, "a") / "count"
    eventually(lambda: count.exists() and count.read_text())
    assert agent.ask("job.stop", attempt_id="a", grace=5)["running"] is False
    once_more = agent.job("a", ["sh", "-c", script])
    assert once_more["running"] is False
    assert count.read_text() == "x\n"


def test_the_environment(agent: Agent, gpus: FakeNvml) -> None:
    wanted = [gpus.gpus[1].uuid, gpus.gpus[0].uuid]
    agent.job("a", ["sh", "-c", "env > env.txt"], gpus=wanted, env={"MINE": "1", "HOME": "/else"})
    agent.ended("a")
    lines = (_work(agent, "a") / "env.txt").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines)
    assert env["CUDA_VISIBLE_DEVICES"] == "1,0"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert env["HOSTLER_GPUS"] == ",".join(wanted)
    assert env["HOSTLER_ATTEMPT"] == "a"
    assert env["HOSTLER_METRICS"].startswith(str(_work(agent, "a")))
    assert env["HOSTLER_WORK"] == str(_work(agent, "a"))
    assert (env["MINE"], env["HOME"]) == ("1", "/else")
    assert "HOSTLER_FAKE_NVML" not in env
    assert "LD_LIBRARY_PATH" not in env


def test_without_gpus_none_is_seen(agent: Agent) -> None:
    agent.job("a", ["sh", "-c", 'test "${CUDA_VISIBLE_DEVICES-unset}" = ""'])
    assert agent.ended("a")["exit_code"] == 0


def test_a_gpu_that_is_gone_is_not_started_on(agent: Agent) -> None:
    with pytest.raises(AgentSaysNo, match="no longer on this machine"):
        agent.job("a", ["true"], gpus=["GPU-gone"])


def test_environments_count_only_where_the_host_sees_them(agent: Agent, tmp_path: Path) -> None:
    conda = tmp_path / "envs/x"
    (conda / "bin").mkdir(parents=True)
    given = {
        "PATH": f"{conda}/bin:/elsewhere/bin",
        "CONDA_PREFIX": str(conda),
        "CONDA_DEFAULT_ENV": "x",
        "VIRTUAL_ENV": "/elsewhere",
    }
    agent.job("a", ["sh", "-c", "env > seen"], env=given)
    agent.ended("a")
    seen = dict(
        line.split("=", 1) for line in (_work(agent, "a") / "seen").read_text().splitlines()
    )
    assert seen["PATH"].split(":")[0] == f"{conda}/bin"
    assert "/elsewhere/bin" not in seen["PATH"]
    assert len(seen["PATH"].split(":")) > 1, "the login's own folders come last"
    assert (seen["CONDA_PREFIX"], seen["CONDA_DEFAULT_ENV"]) == (str(conda), "x")
    assert "VIRTUAL_ENV" not in seen


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["no-such-program-at-all"], "no such program on PATH"),
        (["/etc/passwd"], "Permission denied"),
        (["./missing.sh"], "No such file"),
    ],
)
def test_what_cannot_be_run_is_said(argv: list[str], words: str, agent: Agent) -> None:
    with pytest.raises(AgentSaysNo, match=words) as refused:
        agent.job("a", argv)
    assert refused.value.kind == "EngineError"
    assert agent.ask("job.inspect", attempt_id="a")["workload"]["created_only"] is True


def test_stop_ends_what_ignores_term_and_what_ran_away(agent: Agent) -> None:
    script = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "away = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "open('pids', 'w').write(f'{os.getpid()} {away.pid}')\n"
        "time.sleep(300)\n"
    )
    agent.job("a", [sys.executable, "-c", script])
    pids = _work(agent, "a") / "pids"
    found = eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    assert found
    mine, away = (int(pid) for pid in pids.read_text().split())
    workload = agent.ask("job.stop", attempt_id="a", grace=0.3)
    assert (workload["running"], workload["signal"]) == (False, signal.SIGKILL)
    assert "oom_killed" not in workload
    assert _gone(mine)
    assert _gone(away)
    assert agent.ask("job.stop", attempt_id="a", grace=0.3) == workload


def test_what_keeps_a_job_alive_is_named_where_it_is_not_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopper = Stopper(Proc(), "boot")
    folder = tmp_path / "a"
    folder.mkdir()
    mine = Started(os.getpid(), Proc().start_ticks(os.getpid()))
    job = Job(str(folder), [])
    job.started = mine
    stopper._explain(job)  # what outlived SIGKILL and may be signalled: it is the kernel

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refused)
    with pytest.raises(Refusal, match="another user"):
        stopper._explain(job)
    job.started = mine._replace(ticks=1)
    with pytest.raises(Refusal, match="its end cannot be recorded"):
        stopper._explain(job)


def test_stop_lets_a_job_end_itself(agent: Agent) -> None:
    script = "trap 'echo saved > saved; exit 5' TERM; echo $$ > up; while :; do sleep 0.02; done"
    agent.job("a", ["sh", "-c", script])
    _pid_in(_work(agent, "a") / "up")
    workload = agent.ask("job.stop", attempt_id="a", grace=20)
    assert workload["exit_code"] == 5
    assert (_work(agent, "a") / "saved").exists()


def test_a_stop_that_is_asked_for_again_sends_no_second_term(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a lost connection: programs that save at the first TERM end at once at a second."""
    script = "trap 'echo term >> said' TERM; echo $$ > up; while :; do sleep 0.02; done"
    agent.job("a", ["sh", "-c", script])
    pid, said = _pid_in(_work(agent, "a") / "up"), _work(agent, "a") / "said"
    job = journal.load(str(agent.place.base / "jobs" / "a"))
    assert job is not None
    first = Stopper(Proc(), Path("/proc/sys/kernel/random/boot_id").read_text().strip())

    def cut(*_: object) -> bool:
        raise EOFError

    monkeypatch.setattr(first, "_wait_gone", cut)
    with pytest.raises(EOFError):
        first.stop(job, 60)
    assert eventually(said.exists)
    began = time.monotonic()
    assert agent.ask("job.stop", attempt_id="a", grace=1)["signal"] == signal.SIGKILL
    assert said.read_text() == "term\n"
    assert _gone(pid)
    assert time.monotonic() - began < 15, "the grace counts from the first"


def test_a_job_of_the_same_name_in_another_folder_is_left_alone(
    agent: Agent, short_folder: Path
) -> None:
    """Two daemons of one login, or the tests of another process on this machine."""
    (short_folder / "other").mkdir()
    with serving(Place(short_folder / "other")) as other:
        other.job("a", ["sh", "-c", "trap 'exit 7' TERM; : > up; while :; do sleep 0.02; done"])
        eventually((other.place.base / "jobs" / "a" / "work" / "up").exists)
        agent.job("a", ["sleep", "600"])
        assert agent.ask("job.stop", attempt_id="a", grace=20)["running"] is False
        assert other.ask("job.inspect", attempt_id="a")["workload"]["running"]
        assert other.ask("job.stop", attempt_id="a", grace=20)["exit_code"] == 7


def test_what_a_job_leaves_behind_is_ended_with_it(agent: Agent) -> None:
    away = "(setsid sh -c 'echo $$ > left; exec env -i sleep 300' &)"
    script = away + "; while [ ! -s left ]; do sleep 0.01; done"
    agent.job("a", ["sh", "-c", script])
    ended = agent.ended("a")
    assert ended["exit_code"] == 0
    assert _gone(_pid_in(_work(agent, "a") / "left"))


def test_signals_reach_the_group(agent: Agent) -> None:
    script = "trap 'exit 9' USR1; echo $$ > up; while :; do sleep 0.02; done"
    agent.job("a", ["sh", "-c", script])
    _pid_in(_work(agent, "a") / "up")
    assert agent.ask("job.signal", attempt_id="a", signal=int(signal.SIGUSR1)) == {}
    assert agent.ended("a")["exit_code"] == 9
    with pytest.raises(AgentSaysNo, match="not a signal"):
        agent.ask("job.signal", attempt_id="a", signal=99)


def test_jobs_outlive_the_agent_and_are_found_again(place: Place) -> None:
    with serving(place) as first:
        first.job(
            "long", ["sh", "-c", "echo $$ > up; while [ ! -e go ]; do sleep 0.02; done; exit 4"]
        )
        first.job("short", ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 3"])
        pid = _pid_in(_work(first, "long") / "up")
        first.process.kill()
    short = place.base / "jobs" / "short"
    (short / "work" / "go").touch()
    eventually(lambda: (found := journal.load(str(short))) and found.ended)
    assert not _gone(pid)
    with serving(place) as second:
        eventually(
            lambda: (
                {
                    w["attempt_id"]: (w["running"], w.get("exit_code"))
                    for w in second.look()["workloads"]
                }
                == {"long": (True, None), "short": (False, 3)}
            )
        )
        (_work(second, "long") / "go").touch()
        told = pushed(second.push())[1]
        assert (told["attempt_id"], told["exit_code"]) == ("long", 4)


def test_a_shim_that_was_killed(place: Place) -> None:
    with serving(place) as agent:
        agent.job("a", ["sh", "-c", "echo $$ > up; trap '' PIPE; while :; do sleep 0.02; done"])
        pid = _pid_in(_work(agent, "a") / "up")
        journal = (place.base / "jobs" / "a" / "journal").read_text()
        started = next(json.loads(n) for n in journal.splitlines() if '"started"' in n)
        os.kill(started["shim"], signal.SIGKILL)
        eventually(lambda: _gone(started["shim"]))
        assert agent.ask("job.inspect", attempt_id="a")["workload"]["running"] is True
        ended = agent.ask("job.stop", attempt_id="a", grace=0.2)
        assert ended["running"] is False
        assert "its exit code is unknown" in ended["error"]
        assert "exit_code" not in ended
        assert _gone(pid)


def test_another_boot_means_gone(place: Place) -> None:
    with serving(place) as agent:
        agent.job("a", ["sleep", "300"])
        journal = place.base / "jobs" / "a" / "journal"
        boot = agent.look()["boot_id"]
        text = journal.read_text()
        journal.write_text(text.replace(boot, "of-before"))
        workload = from_json(Workload, agent.ask("job.inspect", attempt_id="a")["workload"])
        assert (workload.running, workload.exit_code, workload.created_only) == (False, None, False)
        journal.write_text(text)
        agent.ask("job.stop", attempt_id="a", grace=1)


def test_a_reused_pid_is_not_taken_for_the_job(place: Place) -> None:
    with serving(place) as agent:
        agent.job("a", ["true"])
        agent.ended("a")
        journal = place.base / "jobs" / "a" / "journal"
        events = [json.loads(line) for line in journal.read_text().splitlines() if line]
        started = next(e for e in events if e["event"] == "started")
        started["pid"] = started["shim"] = os.getpid()
        lines = [json.dumps(e) for e in (events[0], started)]
        journal.write_text("\n".join(lines) + "\n")
        workload = agent.ask("job.inspect", attempt_id="a")["workload"]
        assert workload["running"] is False
        assert agent.ask("job.stop", attempt_id="a", grace=0)["running"] is False


def test_remove(agent: Agent) -> None:
    agent.job("a", ["sh", "-c", "mkdir -p d/e; chmod 0 d; sleep 300"])
    with pytest.raises(AgentSaysNo, match="still running"):
        agent.ask("job.remove", attempt_id="a")
    agent.ask("job.stop", attempt_id="a", grace=1)
    assert agent.ask("job.remove", attempt_id="a") == {}
    assert agent.ask("job.remove", attempt_id="a") == {}
    assert agent.ask("job.inspect", attempt_id="a")["workload"] is None
    eventually(lambda: agent.look()["workloads"] == [])


@pytest.mark.parametrize("attempt", ["../x", "", ".", "a/b", "-a", "a" * 300, None, 3])
def test_ids_that_are_no_file_names(attempt: Any, agent: Agent) -> None:
    with pytest.raises(AgentSaysNo, match="not an attempt id"):
        agent.ask("job.create", attempt_id=attempt, daemon_id="d1")


def test_checkpoints_survive_attempts(agent: Agent) -> None:
    fields = {"checkpoint": "out/ckpt", "checkpoint_key": "r-s"}
    agent.job("r-s-1", ["sh", "-c", "echo 1 > out/ckpt/state"], **fields)
    assert agent.ended("r-s-1")["exit_code"] == 0
    agent.ask("job.remove", attempt_id="r-s-1")
    agent.job("r-s-2", ["sh", "-c", "grep 1 out/ckpt/state"], **fields)
    assert agent.ended("r-s-2")["exit_code"] == 0
    with pytest.raises(AgentSaysNo, match="leads out"):
        agent.ask("job.create", attempt_id="x", daemon_id="d1", checkpoint="../../ckpt")


def test_another_daemons_job_is_left_alone(agent: Agent) -> None:
    agent.ask("job.create", attempt_id="a", daemon_id="d1")
    with pytest.raises(AgentSaysNo, match="another daemon") as refused:
        agent.ask("job.create", attempt_id="a", daemon_id="d2")
    assert refused.value.kind == "ConflictError"


def test_gpu_processes_of_a_job_are_named(agent: Agent, gpus: FakeNvml) -> None:
    agent.job("a", ["sh", "-c", "sh -c 'echo $$ > pid; sleep 300' & wait"])
    pid = _pid_in(_work(agent, "a") / "pid")
    gpus.set(0, processes=[f"{pid}:10"])
    eventually(
        lambda: agent.look()["gpus"][0]["processes"][0].get("attempt_id") == "a"
    )  # the job is known one scan later at the latest
    agent.ask("job.stop", attempt_id="a", grace=1)


def test_a_burst_of_jobs(agent: Agent) -> None:
    attempts = [f"b-{number}" for number in range(20)]
    for attempt in attempts:
        agent.ask("job.create", attempt_id=attempt, daemon_id="d1", log_cap=1 << 20)
    posted = [
        agent.post("job.start", {"attempt_id": a, "argv": ["sh", "-c", "exit 6"], "env": {}})
        for a in attempts
    ]
    for number in posted:
        agent.answer(number)
    ends: dict[str, int] = {}
    until = time.monotonic() + 60
    while len(ends) < len(attempts) and time.monotonic() < until:
        with contextlib.suppress(AssertionError):
            value = pushed(agent.push(2.0))[1]
            ends[value["attempt_id"]] = value["exit_code"]
        agent.look()
    assert ends == dict.fromkeys(attempts, 6)


def test_a_requirements_file_that_is_not_there_is_named_without_folders(agent: Agent) -> None:
    agent.ask("job.create", attempt_id="v-9", daemon_id="d1")
    with pytest.raises(AgentSaysNo) as refused:
        agent.job("v-9", ["true"], venv="nofile.txt", cwd="sub")
    said = "there is no file sub/nofile.txt in the working folder, which `venv` asks for"
    assert said == str(refused.value)
