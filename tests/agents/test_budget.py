"""A look is always answered, however long other users make what it lists."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import budget, leases, looks, processes, wire
from hostler_agent.agent import Agent as Loop
from hostler_agent.budget import Budget, within
from hostler_agent.folders import Refusal
from hostler_agent.leases import Leases
from hostler_agent.look_sections import GpuProcess, GpuValues
from hostler_agent.nvml import Device, Reading
from hostler_agent.processes import Processes
from tests.support.machines.users import CAROL, MALLORY, NEEDS_ROOT
from tests.support.programs.agents import Place, serving
from tests.support.programs.fake_nvml import uuid_of
from tests.support.values.claiming import GPU, OTHER, Scene, a_lease

LONG = "\N{GRINNING FACE}" * 255


def put(folder: Path, gpu: str, uid: int, **more: Any) -> None:
    """A lease of that user."""
    lease = a_lease(gpu=gpu, lease_id=f"{gpu}.{uid}.{'0' * 12}", **more)
    path = folder / f"{gpu}.{uid}.json"
    path.write_text(json.dumps(lease, ensure_ascii=False))
    if os.getuid() == 0:
        os.chown(path, uid, uid)


def opened(place: Place) -> Path:
    """The lease folder of a host."""
    with Leases(str(place.leases)).locked():
        return place.leases


def test_leases_of_gpus_that_do_not_exist_take_no_host_away(place: Place) -> None:
    folder, uid = opened(place), os.getuid() + 1
    for number in range(900):
        put(folder, f"GPU-{number:036d}", uid, owner=LONG, boot_id=LONG, workload=LONG)
    put(folder, "GPU-mine", os.getuid(), owner="ana")
    with serving(place) as agent:
        look = agent.look()
    assert [lease["gpu"] for lease in look["leases"]] == ["GPU-mine"]
    assert look["left_out"] is None


@NEEDS_ROOT
def test_leases_of_thousands_of_uids_are_cut_and_told(place: Place) -> None:
    folder, gpu = opened(place), uuid_of(0)
    for uid in range(60_000, 62_100):
        put(folder, gpu, uid, owner=LONG)
    put(folder, "GPU-zzz", os.getuid(), owner="ana")
    with serving(place) as agent:
        look = agent.look()
        assert len(look["leases"]) <= budget.LEASES.items
        assert len(json.dumps(look["leases"])) < 2 * budget.LEASES.size
        assert look["leases"][-1]["gpu"] == "GPU-zzz", "one's own is the last to be left out"
        assert f"of {2101} leases are not shown" in look["left_out"]
        for path in folder.glob(f"{gpu}.*"):
            path.unlink()
        assert agent.look()["left_out"] is None


@NEEDS_ROOT
def test_a_lease_that_names_this_daemon_is_not_its_own(place: Place) -> None:
    put(opened(place), uuid_of(0), MALLORY, daemon_id="d1", owner="bob")
    with serving(place, "d1") as agent:
        (lease,) = agent.look()["leases"]
    assert (lease["uid"], lease["user"]) == (MALLORY, f"uid {MALLORY}")
    assert lease["daemon_id"] == f"uid{MALLORY}"


def test_more_files_than_can_be_read_are_a_problem_not_silence(
    folder: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder.locked():
        folder.write(a_lease())
    for number in range(1, 6):
        (Path(folder.folder) / f"GPU-{number}.{os.getuid()}.json").touch()
    live = scene.live(())
    for name, value in (("MOST_FILES", 5), ("MOST_NAMES", 6)):
        monkeypatch.setattr(leases, "MOST_FILES", 100)
        monkeypatch.setattr(leases, name, value)
        with pytest.raises(Refusal, match=f"holds more than {value} ") as crowded:
            folder.list(live, (GPU,))
        assert crowded.value.kind == "Unreachable", "who claims waits"


@NEEDS_ROOT
def test_files_named_after_others_shut_nobody_out(
    folder: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody makes as many names as they like: a lease belongs to whom it is named after."""
    monkeypatch.setattr(leases, "MOST_FILES", 5)
    with folder.locked():
        folder.write(a_lease())
    put(Path(folder.folder), GPU, CAROL)
    for uid in range(60_000, 60_050):
        put(Path(folder.folder), OTHER, uid)
        path = Path(folder.folder) / f"{GPU}.{uid}.json"
        path.touch()
        os.chown(path, MALLORY, MALLORY)
    assert [f.uid for f in folder.list(scene.live(()), (GPU,))] == [0, CAROL]


@NEEDS_ROOT
def test_who_fills_the_folder_is_named(
    folder: Leases, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "MOST_NAMES", 12)
    with folder.locked():
        pass
    for number in range(15):
        path = Path(folder.folder) / f"x{number}"
        path.touch()
        os.chown(path, MALLORY if number % 3 else CAROL, 0)
    with pytest.raises(Refusal, match=f"most of them are uid {MALLORY}'s: .* or root can remove"):
        folder.list(scene.live(()), (GPU,))


def test_owners_in_leases_are_short_and_of_few_letters(folder: Leases, scene: Scene) -> None:
    with folder.locked():
        folder.write(a_lease(owner=LONG, boot_id=LONG[:20], workload=LONG[:20]))
    (found,) = folder.list(scene.live(()))
    assert found.lease["owner"] == "?" * leases.MAX_OWNER
    assert (found.lease["boot_id"], found.lease["workload"]) == (None, None)


def test_only_the_gpus_asked_for_are_read_and_ones_own(folder: Leases, scene: Scene) -> None:
    with folder.locked():
        folder.write(a_lease())
        if os.getuid() == 0:
            put(Path(folder.folder), GPU, 60_001)
            put(Path(folder.folder), OTHER, 60_001)
    me, live = os.getuid(), scene.live(())
    assert [f.uid for f in folder.list(live, ())] == [me]
    others = [60_001] if me == 0 else []
    assert [f.uid for f in folder.list(live, (GPU,))] == [me, *others]


def test_many_processes_on_a_gpu_are_cut_and_told() -> None:
    device = Device(0, None, GPU, "A100")
    many = tuple((os.getpid(), 1 << 20, "compute") for _ in range(budget.PROCESSES.items + 7))
    device.last = Reading(GpuValues(0), many, None, True)
    nothing: Any = None
    shown = looks.Looks("b", nothing, nothing, nothing, nothing, nothing, Processes())
    section = shown._procs_section([device], [])
    assert len(section[GPU]) == budget.PROCESSES.items
    assert shown._cut_processes == "7 processes on GPUs are not shown"
    device.last = Reading(GpuValues(0), many[:1], None, True)
    assert len(shown._procs_section([device], [])[GPU]) == 1
    assert shown._cut_processes is None


def test_long_command_lines_are_the_first_to_go() -> None:
    class Listed(Processes):
        def section(self, listed: object) -> dict[str, list[GpuProcess]]:
            return {GPU: made}

    nothing: Any = None
    shown = looks.Looks("b", nothing, nothing, nothing, nothing, nothing, Listed())
    made = [GpuProcess(n, "compute", None, command=LONG + LONG) for n in range(600)]
    without = {GPU: [{"pid": n, "kind": "compute", "memory": None} for n in range(600)]}
    assert shown._procs_section([], []) == without
    assert shown._cut_commands == "the command lines of processes on GPUs are not shown"
    made = made[:3]
    assert [told["command"] for told in shown._procs_section([], [])[GPU]] == [LONG + LONG] * 3
    assert shown._cut_commands is None


def test_what_is_first_is_the_last_to_be_left_out() -> None:
    items = [{"n": number, "mine": number == 9} for number in range(10)]
    kept, over = within(items, Budget(3, 10_000), lambda item: bool(item["mine"]))
    assert ([item["n"] for item in kept], over) == ([0, 1, 9], 7)
    room = budget.size(items[0]) + budget.size(items[9])
    kept, over = within(items, Budget(100, room), lambda item: bool(item["mine"]))
    assert ([item["n"] for item in kept], over) == ([0, 9], 8)
    assert within(items, Budget(10, 10_000)) == (items, 0)


def test_all_budgets_fit_one_line() -> None:
    limits = (budget.LEASES, budget.PROCESSES, budget.FOREIGN, budget.WORK)
    assert sum(limit.size for limit in limits) < wire.MAX_LINE * 7 // 8
    assert max(limit.items for limit in limits) <= 4096, "the daemon takes no more"


def test_a_look_that_does_not_fit_is_an_error_not_silence() -> None:
    """Whatever else may grow."""
    loop = Loop.__new__(Loop)
    loop._encoder = wire.LookEncoder()
    said = json.loads(loop._answer(7, {"boot": "x" * wire.MAX_LINE}))
    assert said["id"] == 7
    assert "cannot be sent" in said["error"]["message"]
    assert json.loads(loop._answer(8, {"boot": "b"})) == {"id": 8, "ok": {"boot": "b"}}


def test_a_name_service_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(processes.Users, "_ask", lambda self, uid: never.wait(60))
    users = processes.Users(os.devnull)
    began = time.monotonic()
    assert [users.name(uid) for uid in range(200)] == [f"uid {uid}" for uid in range(200)]
    assert time.monotonic() - began < 10, "200 times 0.2 s it is not"
    assert len(users._asked) <= 4
    never.set()
