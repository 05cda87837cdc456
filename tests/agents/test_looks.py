"""What the agent shows of a host, by the real library against a fake NVML."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hostler.model import host_reports
from hostler.model.codec import from_json
from hostler.model.hosts import GpuProcess, HostFacts, Look
from hostler_agent import wire
from tests.support.programs.agents import (
    PYTHONS,
    Agent,
    Place,
    Talk,
    eventually,
    find_python,
    pushed,
    serving,
    soonest,
)
from tests.support.programs.fake_nvml import FakeNvml, build

pytestmark = pytest.mark.programs


@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_the_bundle_runs_under_old_and_new_pythons(
    version: str, short_folder: Path, gpus: FakeNvml
) -> None:
    if not PYTHONS[version]:
        pytest.skip(f"Python {version} is not installed here")
    place = Place(short_folder, PYTHONS[version], fresh=True)
    place.variables.update(gpus.env(build()))
    with serving(place) as first:
        assert first.uploaded
        facts = _facts(first)
        assert facts.python is not None
        assert facts.python.startswith(version)
        assert facts.user == "tester"
        seen = eventually(lambda: from_json(Look, first.look()).gpus)
        assert seen[0].name == "NVIDIA A100-SXM4-80GB"
        first.job("a-1", ["sh", "-c", "exit 3"])
        assert first.ended("a-1")["exit_code"] == 3
    with serving(place) as second:
        assert not second.uploaded
        compiled = list(place.base.glob("agent/*/hostler_agent/__pycache__/*.pyc"))
        assert len(compiled) > 10
        assert second.ask("ping") == {}
    # NVML has two seconds until an agent greets, which may be too few on a busy machine.
    facts = facts if facts.driver else eventually(lambda: _facts_with_driver(place), 60)
    assert (facts.driver, facts.cuda) == ("550.54.15", "12.4")


def _facts(agent: Agent) -> HostFacts:
    return host_reports.greeting(agent.first["hello"], "hello").facts


def _facts_with_driver(place: Place) -> HostFacts | None:
    with serving(place) as agent:
        facts = _facts(agent)
    return facts if facts.driver else None


def test_an_old_python_is_named(short_folder: Path) -> None:
    old = find_python("3.6")
    if not old:
        pytest.skip("no Python older than 3.8 is installed here")
    talk = Talk(Place(short_folder, old).popen())
    assert talk.line() == {"agent": "old", "version": "3.6.15"}
    assert talk.close() == 0


def test_once_prints_hello_and_one_look(place: Place) -> None:
    talk = Talk(place.popen())
    talk.bootstrap()
    talk.send({"mode": "once"})
    hello, answer = talk.line(), talk.line()
    look = host_reports.LookDecoder().apply(answer["ok"], 5.0)
    assert look.boot_id == hello["hello"]["boot_id"]
    assert len(look.gpus) == 2
    assert look.asked_at == 5.0
    assert talk.close() == 0


def test_values_are_those_of_the_card(agent: Agent, gpus: FakeNvml) -> None:
    gpus.set(
        1, used=1500, reserved=700, utilization=87, temperature=66, power=300.25, clock_sm=1410,
        processes=[f"{os.getpid()}:1024", "1:20:graphics"],
    )  # fmt: skip
    look = from_json(Look, agent.look())
    idle, busy = look.gpus
    assert (idle.memory_used, idle.utilization, idle.processes) == (0, 0.0, ())
    assert busy.memory_used == 1500 * 1024**2  # without what the driver reserves
    assert busy.memory_total == 81920 * 1024**2
    assert (busy.utilization, busy.temperature, busy.clock_sm) == (87.0, 66.0, 1410.0)
    assert busy.power == pytest.approx(300.25, abs=0.06)
    assert busy.mig is False
    mine = busy.processes[0]
    assert mine.pid == os.getpid()
    assert mine.kind == "compute"
    assert mine.memory == 1024**3
    assert mine.user == "root" or os.getuid() != 0
    own = Path(f"/proc/{os.getpid()}/cmdline").read_bytes().split(b"\0")[0].decode()
    assert (mine.command or "").startswith(own)
    assert mine.started_at is not None
    assert mine.exists


def test_slow_fields(place: Place, gpus: FakeNvml) -> None:
    gpus.set(
        0, ecc=3, mig=1, throttle=0x45, energy=12.5, power_limit=350, processes=["1:5:graphics"]
    )
    with serving(place) as agent:
        gpu = from_json(Look, agent.look()).gpus[0]
    assert gpu.ecc_errors == 3
    assert gpu.mig is True
    assert gpu.throttle == ("power cap", "thermal")
    assert gpu.energy == 12.5
    assert gpu.power_limit == 350.0
    assert [p.kind for p in gpu.processes] == ["graphics"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"compute_mode": 2}, "compute mode Prohibited: nvidia-smi -c 0"),
        ({"compute_mode": 3}, None),  # one program at a time: a stage has its GPU to itself
        ({"ecc": 1}, "needs a reset: 1 uncorrectable memory error"),
        ({"ecc": 3}, "needs a reset: 3 uncorrectable memory errors"),
        ({"ecc": 3, "unsupported": ("ecc",)}, None),
        ({"remap": 1}, "needs a reset: a memory row is to be remapped"),
        ({"remap": 2}, "a memory row could not be remapped"),
        ({"compute_mode": 2, "unsupported": ("compute_mode", "remapped_rows")}, None),
    ],
)
def test_what_keeps_programs_from_a_gpu(
    place: Place, gpus: FakeNvml, said: dict[str, Any], problem: str | None
) -> None:
    gpus.set(0, **said)
    with serving(place) as agent:
        first, second = from_json(Look, agent.look()).gpus
    assert first.problem == problem
    assert second.problem is None


def test_what_a_card_does_not_support_is_unknown(place: Place, gpus: FakeNvml) -> None:
    everything = (
        "memory", "reserved", "utilization", "temperature", "power", "power_limit", "clocks",
        "ecc", "mig", "energy", "throttle", "processes", "events", "compute_mode",
        "remapped_rows",
    )  # fmt: skip
    gpus.set(0, unsupported=everything)
    gpus.set(1, unsupported=("reserved",), used=10, reserved=600)
    with serving(place) as agent:
        first, second = from_json(Look, agent.look()).gpus
    assert first.uuid == gpus.gpus[0].uuid
    assert first.problem is None
    assert {
        first.memory_used, first.memory_total, first.utilization, first.temperature, first.power,
        first.power_limit, first.clock_sm, first.ecc_errors, first.mig, first.energy,
    } == {None}  # fmt: skip
    assert second.memory_used == 610 * 1024**2  # an old driver does not tell them apart


def test_old_drivers_lack_functions(place: Place, gpus: FakeNvml) -> None:
    gpus.machine["missing"] = (
        "nvmlDeviceGetMemoryInfo_v2,nvmlDeviceGetCurrentClocksEventReasons,nvmlDeviceGetMigMode"
    )
    gpus.set(0, used=100, reserved=0)
    with serving(place) as agent:
        gpu = from_json(Look, agent.look()).gpus[0]
    assert gpu.memory_used == 100 * 1024**2
    assert gpu.mig is None


def test_a_lost_gpu_is_named_and_the_others_go_on(agent: Agent, gpus: FakeNvml) -> None:
    gpus.set(0, error="lost")
    gpus.set(1, utilization=50)
    lost, other = from_json(Look, agent.look()).gpus
    assert lost.problem == "lost"
    assert lost.memory_used is None
    assert (other.problem, other.utilization) == (None, 50.0)
    gpus.set(0, error=None)
    back = from_json(Look, agent.look()).gpus[0]
    assert (back.problem, back.memory_used) == (None, 0)


def test_a_gpu_lost_before_the_agent_came(place: Place, gpus: FakeNvml) -> None:
    gpus.set(0, error="lost")
    with serving(place) as agent:
        lost, other = from_json(Look, agent.look()).gpus
    assert lost.problem == "lost"
    assert lost.uuid == "lost-0"
    assert other.problem is None


def test_a_gpu_that_hangs_delays_nobody_for_long(agent: Agent, gpus: FakeNvml) -> None:
    agent.look()
    gpus.set(0, hang=60, utilization=11)
    gpus.set(1, utilization=99)
    began = time.monotonic()
    hung, other = from_json(Look, agent.look()).gpus
    assert time.monotonic() - began < 30  # not the minute that it hangs
    assert hung.problem is not None
    assert hung.problem.startswith("does not answer")
    assert hung.utilization is None  # never an old value as a fresh one
    assert other.utilization == 99.0
    gpus.set(1, utilization=98)
    assert soonest(agent.look) < 0.5  # it is left to itself
    again = from_json(Look, agent.look()).gpus
    assert again[1].utilization == 98.0
    gpus.set(0, hang=0)
    eventually(lambda: from_json(Look, agent.look()).gpus[0].utilization == 11.0)


def test_a_gpu_that_hung_before_the_agent_came_does_not_hide_the_others(
    place: Place, gpus: FakeNvml
) -> None:
    gpus.set(0, hang=600)
    gpus.set(1, utilization=77)
    with serving(place) as agent:
        eventually(lambda: len(agent.look()["gpus"]) == 2, seconds=20)
        assert from_json(Look, agent.look()).gpus[0].problem == "does not answer"
        eventually(lambda: from_json(Look, agent.look()).gpus[1].utilization == 77.0)
        assert from_json(Look, agent.look()).gpus[1].problem is None
        gpus.set(0, hang=0)
        eventually(lambda: from_json(Look, agent.look()).gpus[0].problem is None, seconds=30)


def test_all_gpus_hang_together(agent: Agent, gpus: FakeNvml) -> None:
    agent.look()
    gpus.gpus[0].hang = gpus.gpus[1].hang = 60.0
    gpus.write()
    look = from_json(Look, agent.look())
    assert [(gpu.problem or "")[:15] for gpu in look.gpus] == ["does not answer"] * 2
    assert agent.ask("ping") == {}
    gpus.gpus[0].hang = gpus.gpus[1].hang = 0.0
    gpus.write()
    eventually(lambda: [gpu["problem"] for gpu in agent.look()["gpus"]] == [None, None])


@pytest.mark.parametrize(
    ("code", "words"), [(9, "not loaded"), (18, "differ in version"), (999, "NVML cannot be used")]
)
def test_why_no_gpus_are_known(code: int, words: str, place: Place, gpus: FakeNvml) -> None:
    gpus.machine["init_error"] = code
    gpus.write()
    with serving(place) as agent:
        look = from_json(Look, agent.look())
    assert look.gpus == ()
    assert words in (look.gpu_problem or "")


def test_a_library_that_hangs_holds_nobody_up(place: Place, gpus: FakeNvml) -> None:
    gpus.machine["init_hang"] = 60
    gpus.write()
    with serving(place) as agent:
        look = from_json(Look, agent.look())
        assert look.gpus == ()
        assert "NVML does not answer" in (look.gpu_problem or "")
        assert soonest(agent.look) < 0.5
        gpus.machine.clear()
        gpus.write()
        eventually(lambda: len(agent.look()["gpus"]) == 2)
        assert from_json(Look, agent.look()).gpu_problem is None


@pytest.mark.slow
def test_an_agent_that_hears_nothing_ends(agent: Agent) -> None:
    assert agent.process.wait(wire.SILENCE + 10) == 0


def test_a_machine_without_nvidia_simply_has_no_gpus(short_folder: Path) -> None:
    if os.path.exists("/dev/nvidia0"):
        pytest.skip("this machine has NVIDIA hardware")
    with serving(Place(short_folder)) as agent:
        look = from_json(Look, agent.look())
    assert look.gpus == ()
    assert look.gpu_problem is None


def test_steady_looks_send_only_values(agent: Agent) -> None:
    agent.ask("look")
    agent.ask("look")
    assert set(agent.ask("look")) <= {"g", "clock", "machine"}


def test_a_dead_pid_that_holds_memory(agent: Agent, gpus: FakeNvml) -> None:
    def seen() -> tuple[GpuProcess, ...]:
        return from_json(Look, agent.look()).gpus[0].processes

    child = subprocess.Popen(["sleep", "60"])
    try:
        gpus.set(0, processes=[f"{child.pid}:900"], used=900)
        (alive,) = eventually(seen)
        assert (alive.exists, alive.command) == (True, "sleep 60")
    finally:
        child.kill()
        child.wait()
    (dead,) = eventually(lambda: [one for one in seen() if not one.exists])
    assert dead.memory == 900 * 1024**2


def test_faults_are_told_at_once(agent: Agent, gpus: FakeNvml) -> None:
    serial = 0

    def told() -> bool:
        # Faults from before the agent listens are not told; when it does is not known here.
        nonlocal serial
        serial += 1
        gpus.set(1, xids=[f"{serial}:79"])
        agent.look()
        return bool(agent.pushes)

    eventually(told)
    kind, fault = pushed(agent.push())
    assert kind == "xid"
    assert fault["gpu"] == gpus.gpus[1].uuid
    assert fault["xid"] == 79
    assert "fallen off the bus" in fault["message"]


def test_a_lost_gpu_does_not_silence_the_faults_of_the_others(agent: Agent, gpus: FakeNvml) -> None:
    serial = 0

    def tells(index: int) -> bool:
        nonlocal serial
        serial += 1
        gpus.set(index, xids=[f"{serial}:31"])
        agent.look()
        return any(
            pushed(push)[1]["gpu"] == gpus.gpus[index].uuid
            for push in iter(lambda: agent.push() if agent.pushes else None, None)
        )

    eventually(lambda: tells(0))
    gpus.set(0, error=15)
    eventually(lambda: tells(1))
    gpus.set(0, error=None)
    eventually(lambda: tells(0), 20)


def test_without_events_looks_still_show_what_is_lost(place: Place, gpus: FakeNvml) -> None:
    gpus.machine["missing"] = "nvmlEventSetCreate"
    gpus.write()
    with serving(place) as agent:
        agent.look()
        gpus.set(1, error=15)
        found = eventually(lambda: from_json(Look, agent.look()).gpus[1].problem)
        assert found == "lost"


def test_a_newer_agent_of_the_daemon_ends_the_older(place: Place) -> None:
    with serving(place, "one") as old, serving(place, "two") as other, serving(place, "one") as new:
        assert new.ask("ping") == {}
        assert old.process.wait(60) != 0
        assert other.ask("ping") == {}


def test_the_agent_ends_at_eof_and_leaves_no_socket(place: Place) -> None:
    with serving(place) as agent:
        assert list(place.base.glob("notify/*.sock"))
        assert agent.close() == 0
    assert not list(place.base.glob("notify/*.sock"))


def test_an_unknown_request_is_answered(agent: Agent) -> None:
    number = agent.post("dance")
    with pytest.raises(Exception, match="does not know 'dance'"):
        agent.answer(number)


_HURT = """
import threading, time
from hostler_agent.agent import Agent
agent = Agent.__new__(Agent)
agent._socket, agent._waiting = object(), [1]
def hurt(): raise KeyError("memory_used")
agent._answer_looks = hurt
threading.Thread(target=agent._wake, daemon=True).start()
time.sleep(60)
"""


def test_a_bug_in_a_look_ends_the_agent_rather_than_a_thread_of_it() -> None:
    ended = subprocess.run([sys.executable, "-c", _HURT], capture_output=True, timeout=30)
    assert ended.returncode == 1
    assert b"KeyError: 'memory_used'" in ended.stderr
