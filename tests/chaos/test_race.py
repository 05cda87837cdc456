"""The referees of the race: what they see, and that a GPU given twice cannot hide from them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import race
from tests.chaos.checker import exclusive, once
from tests.chaos.history import Final, GrantSeen, History, read
from tests.chaos.race import (
    CONTAINERS,
    PROCESSES,
    Held,
    build_hold,
    held_lines,
    pipeline,
    placements,
    put_files,
    unseen,
)
from tests.lab.lab import Lab

NOTHING = Final(0, {}, (), ())


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("the lab needs gcc")
    return build_hold(tmp_path_factory.mktemp("hold"))


@pytest.fixture
def hold(program: Path, tmp_path: Path) -> Callable[[str, str, int], subprocess.Popen[bytes]]:
    put_files(tmp_path, program, ["GPU-1", "GPU-2"])

    def start(attempt: str, gpus: str, ms: int) -> subprocess.Popen[bytes]:
        env = os.environ | {"HOSTLER_GPUS": gpus, "HOSTLER_ATTEMPT": attempt}
        return subprocess.Popen([tmp_path / "hold", tmp_path, str(ms)], env=env)

    return start


def record(folder: Path, lines: int) -> list[Held]:
    """The record once it has so many lines."""
    deadline = time.monotonic() + 10
    while True:
        held = list(held_lines("gpu1", (folder / "held.jsonl").read_text()))
        if len(held) >= lines:
            return held
        assert time.monotonic() < deadline, held
        time.sleep(0.01)


def test_a_gpu_in_use_is_seen_with_its_holder(
    hold: Callable[[str, str, int], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    first = hold("run-a-1", "GPU-1,GPU-2", 60_000)
    record(tmp_path, 1)
    assert hold("run-b-1", "GPU-2", 0).wait(10) == 9
    assert record(tmp_path, 2)[1].holders == ("run-a-1",)
    first.kill()
    first.wait()
    assert hold("run-c-1", "GPU-2", 0).wait(10) == 0
    held = record(tmp_path, 3)
    assert [one.gpus for one in held] == [("GPU-1", "GPU-2"), ("GPU-2",), ("GPU-2",)]
    (told,) = exclusive(History(grants=placements([], held)))
    assert told == "gpu1: GPU-2 given to run-b-1 while run-a-1 held one"


def test_a_gpu_that_nobody_prepared_is_no_silent_success(
    hold: Callable[[str, str, int], subprocess.Popen[bytes]],
) -> None:
    assert hold("run-a-1", "GPU-9", 0).wait(10) == 99
    assert hold("run-a-1", "", 0).wait(10) == 98


def test_what_both_referees_saw_is_one_placement_with_what_either_found() -> None:
    seen = [
        GrantSeen(1, "gpu1", "c1", "run-a-1", ("GPU-1",)),
        GrantSeen(2, "gpu1", "c2", "run-b-1", ("GPU-1",), ("c1",)),
    ]
    held = [
        Held(1.1, "gpu1", "run-a-1", 7, ("GPU-1",), ("run-p-1",)),
        Held(3.0, "gpu1", "run-p-1", 8, ("GPU-1",), ()),
    ]
    found = placements(seen, held)
    assert [(g.attempt_id, g.holders) for g in found] == [
        ("run-a-1", ("run-p-1",)),
        ("run-b-1", ("c1",)),
        ("run-p-1", ()),
    ]


@pytest.mark.parametrize("container", [True, False], ids=["container", "process"])
def test_an_attempt_that_ran_twice_is_not_hidden(container: bool) -> None:
    twice = [Held(1, "gpu1", "run-a-1", 7, ("GPU-1",), ()),
             Held(2, "gpu1", "run-a-1", 8, ("GPU-1",), ())]  # fmt: skip
    seen = [GrantSeen(0.9, "gpu1", "c1", "run-a-1", ("GPU-1",))] if container else []
    history = History(grants=placements(seen, twice))
    assert [*once(history, NOTHING)] == ["attempt run-a-1 had 2 containers with GPUs"]


def test_a_success_that_no_referee_saw_is_told() -> None:
    held = [Held(1, "gpu1", "run-a-1", 7, ("GPU-1",), ())]
    phases = {"run-a-1": "succeeded", "run-b-1": "succeeded", "run-c-1": "failed"}
    assert unseen(phases, held) == ["run-b-1"]


def test_the_same_seed_makes_the_same_stages() -> None:
    text = pipeline(random.Random(3))
    assert text == pipeline(random.Random(3))
    stages = tomllib.loads(text)["stages"]
    assert len(stages["process"]["matrix"]) == PROCESSES
    assert len(stages["container"]["matrix"]) == CONTAINERS


@pytest.mark.lab
@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_two_peoples_daemons_race_and_both_referees_are_silent(
    chaos_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "PROCESSES", 16)
    monkeypatch.setattr(race, "CONTAINERS", 4)
    file = tmp_path / "race.jsonl"
    assert race.run(chaos_lab, file, 80, 0, 1) == []
    grants = read(file).grants
    containers = {g.attempt_id for g in grants if not g.container.startswith("process ")}
    assert len(grants) >= 80
    assert len(containers) >= 16
    assert containers == {a for a in (g.attempt_id for g in grants) if "-container." in a}
