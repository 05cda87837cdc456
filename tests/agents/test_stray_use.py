"""Processes of a job on GPUs that it was not given, by the real library against a fake NVML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import stray_use
from hostler_agent.look_sections import GpuProcess, GpuValues, StrayUse, Workload
from hostler_agent.nvml import Device, Reading
from hostler_agent.processes import Proc, Processes, Users
from hostler_agent.stray_use import StrayUses
from tests.support.programs.agents import Agent, eventually
from tests.support.programs.fake_nvml import FakeNvml

JOB: Workload = {
    "attempt_id": "r-s-1", "daemon_id": "d", "runtime": "process", "ref": "r-s-1",
    "running": True, "gpus": ["GPU-1"],
}  # fmt: skip


def device(uuid: str, load: dict[int, int] | None = None) -> Device:
    made = Device(0, None, uuid, None)
    made.last = Reading(GpuValues(), (), None, True, load)
    return made


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    """Shim 50 with a process 100 below it, and process 200 elsewhere."""
    for pid, parent in ((50, 1), (100, 50), (200, 1)):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (x) S {parent} " + "0 " * 17 + "77 0\n")
        (folder / "environ").write_text("CUDA_VISIBLE_DEVICES=0\0HOSTLER_ATTEMPT=r-s-1\0")
    made = Processes(Proc(str(tmp_path)), Users("/dev/null"))
    made.set_jobs({50: "r-s-1"})
    return made


def test_only_what_the_job_was_not_given_is_marked_and_watched(processes: Processes) -> None:
    own, other = device("GPU-1"), device("GPU-0", {100: 7})
    below = GpuProcess(100, "compute", 1, attempt_id="r-s-1")
    outside = GpuProcess(200, "compute", 1, attempt_id="r-s-1")
    section = {"GPU-1": [below], "GPU-0": [below, outside]}
    marked = StrayUses(processes).marked(section, [own, other], [JOB])
    assert marked["GPU-1"] == [below]
    assert [one.stray for one in marked["GPU-0"]] == [
        StrayUse(True, 7, "0"),
        StrayUse(False, 0, "0"),
    ]
    assert (own.is_watched, other.is_watched) == (False, True)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "graphics"}, {"container_id": "c" * 64}, {"exists": False}, {"attempt_id": None},
        {"attempt_id": "another"},
    ],
)  # fmt: skip
def test_other_processes_are_left_as_they_are(processes: Processes, change: dict[str, Any]) -> None:
    one = GpuProcess(100, "compute", 1, attempt_id="r-s-1")._replace(**change)
    section = {"GPU-0": [one]}
    assert StrayUses(processes).marked(section, [device("GPU-0")], [JOB]) is section


@pytest.mark.programs
def test_an_agent_tells_of_a_job_on_a_gpu_that_it_was_not_given(
    agent: Agent, gpus: FakeNvml
) -> None:
    given, mark = gpus.gpus[1].uuid, str(gpus.path)
    agent.job(
        "a", ["env", "CUDA_VISIBLE_DEVICES=0", "sleep", "60"], gpus=[given], env={"MARK": mark}
    )
    pid = eventually(lambda: _sleeping(mark))
    gpus.set(0, processes=[f"{pid}:500:load=40", f"{os.getpid()}:100"])
    gpus.set(1, processes=[f"{pid}:500:load=40"])
    told = eventually(lambda: _stray(agent, load=40))
    assert told == {"in_tree": True, "load": 40, "visible": "0"}
    gpus.set(0, processes=[f"{pid}:500"])
    assert eventually(lambda: _stray(agent, load=0))
    gpus.set(0, unsupported=("load",))
    assert eventually(lambda: _stray(agent, load=None))


def _stray(agent: Agent, load: int | None) -> dict[str, Any] | None:
    processes = {gpu["index"]: gpu["processes"] for gpu in agent.look()["gpus"]}
    assert all(one.get("stray") is None for one in processes[1])
    found = [one["stray"] for one in processes[0] if one.get("stray") is not None]
    return found[0] if found and found[0]["load"] == load else None


def _sleeping(mark: str) -> int | None:
    proc = Proc()
    for pid in proc.pids():
        if proc.command(pid) == "sleep 60" and proc.environ(pid, "MARK") == mark:
            return pid
    return None


def test_a_process_without_a_gpu_open_may_be_another_of_its_number(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked() -> StrayUse | None:
        one = GpuProcess(100, "compute", 1, attempt_id="r-s-1")
        found = StrayUses(processes).marked({"GPU-0": [one]}, [device("GPU-0")], [JOB])
        return found["GPU-0"][0].stray

    control, files = tmp_path / "nvidiactl", tmp_path / "100" / "fd"
    control.touch()
    files.mkdir()
    (files / "0").symlink_to("/dev/null")
    assert marked() == StrayUse(True, None, "0")
    monkeypatch.setattr(stray_use, "_CONTROL", str(control))
    assert marked() == StrayUse(False, None, "0")
    (files / "1").symlink_to("/dev/nvidia0")
    assert marked() == StrayUse(True, None, "0")


def test_of_very_many_those_that_compute_most_are_marked(processes: Processes) -> None:
    many = [GpuProcess(pid, "compute", 1, attempt_id="r-s-1") for pid in range(1000, 2000)]
    busy = GpuProcess(100, "compute", 1, attempt_id="r-s-1")
    found = StrayUses(processes).marked(
        {"GPU-0": [*many, busy]}, [device("GPU-0", {100: 9})], [JOB]
    )
    marked = [one for one in found["GPU-0"] if one.stray is not None]
    assert len(marked) == 32
    assert marked[-1].pid == 100
    assert len(found["GPU-0"]) == 1001
