"""From exit codes and stop reasons to a cause."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from hostler.decide.causes import cause_from_log, conclude, conclude_absent
from hostler.model.pipelines import Cause
from hostler.model.runs import Phase
from tests.support.values import planning as lab


def cause_of(attempt: dict[str, Any] | None = None, **fields: Any) -> tuple[Phase, Cause | None]:
    """Phase and cause of an attempt whose workload ended so; `told` goes to `conclude`."""
    told = fields.pop("told", {})
    tried = lab.attempt(**(attempt or {}))
    workload = lab.workload(tried, running=False, started_at=5.0, **fields)
    phase, cause, detail = conclude(tried, lab.stage(), workload, **told)
    assert (detail == "") == (phase is Phase.SUCCEEDED)
    return phase, cause


@pytest.mark.parametrize(
    ("ended", "phase", "cause"),
    [
        ({"exit_code": 0}, Phase.SUCCEEDED, None),
        ({"exit_code": 1}, Phase.FAILED, Cause.USER_ERROR),
        ({"exit_code": 139, "signal": 11}, Phase.FAILED, Cause.USER_ERROR),
        ({"exit_code": 137, "oom_killed": True}, Phase.FAILED, Cause.OOM_HOST),
        ({"exit_code": 0, "oom_killed": True}, Phase.SUCCEEDED, None),
        ({"exit_code": 127, "error": "exec: no such file"}, Phase.FAILED, Cause.START_FAILED),
        ({"exit_code": 1, "error": "oci", "started_at": None}, Phase.FAILED, Cause.START_FAILED),
        ({"exit_code": None}, Phase.FAILED, Cause.VANISHED),
        ({"exit_code": 255, "told": {"boot_id": "boot-2"}}, Phase.FAILED, Cause.HOST_REBOOTED),
        ({"exit_code": None, "told": {"boot_id": "boot-2"}}, Phase.FAILED, Cause.HOST_REBOOTED),
        ({"exit_code": 0, "told": {"boot_id": "boot-2"}}, Phase.SUCCEEDED, None),
        ({"exit_code": 1, "told": {"boot_id": lab.BOOT}}, Phase.FAILED, Cause.USER_ERROR),
        ({"exit_code": 143, "engine_restarted": True}, Phase.FAILED, Cause.ENGINE_RESTARTED),
        ({"exit_code": None, "engine_restarted": True}, Phase.FAILED, Cause.ENGINE_RESTARTED),
        ({"exit_code": 1, "told": {"gpu_lost": "GPU 0: lost"}}, Phase.FAILED, Cause.GPU_LOST),
        ({"exit_code": 0, "told": {"gpu_lost": "GPU 0: lost"}}, Phase.SUCCEEDED, None),
        ({"exit_code": 1, "gpu_cut_off": True}, Phase.FAILED, Cause.GPU_LOST),
        ({"exit_code": 0, "gpu_cut_off": True}, Phase.SUCCEEDED, None),
        ({"exit_code": 1, "gpu_cut_off": True, "told": {"tail": ["CUDA out of memory. Tried"]}},
         Phase.FAILED, Cause.OOM_GPU),
        ({"exit_code": 125}, Phase.FAILED, Cause.USER_ERROR),
        ({"exit_code": 1, "told": {"tail": ["CUDA out of memory. Tried"]}}, Phase.FAILED,
         Cause.OOM_GPU),
        ({"exit_code": 0, "told": {"tail": ["CUDA out of memory, retrying"]}}, Phase.SUCCEEDED,
         None),
    ],
)  # fmt: skip
def test_what_an_exit_means(ended: dict[str, Any], phase: Phase, cause: Cause | None) -> None:
    if "started_at" in ended:
        tried = lab.attempt()
        workload = lab.workload(tried, running=False, **ended)
        assert conclude(tried, lab.stage(), workload)[:2] == (phase, cause)
        return
    assert cause_of(**ended) == (phase, cause)


@pytest.mark.parametrize("code", [0, 1, 143, None])
@pytest.mark.parametrize(
    ("reason", "phase"),
    [
        (Cause.STOPPED, Phase.CANCELLED),
        (Cause.DEPENDENCY, Phase.CANCELLED),
        (Cause.TIME_LIMIT, Phase.FAILED),
        (Cause.PREEMPTED, Phase.FAILED),
    ],
)
def test_a_stop_explains_the_end_whatever_the_code(
    code: int | None, reason: Cause, phase: Phase
) -> None:
    asked = {"stop_reason": reason, "stop_detail": "by eve"}
    assert cause_of(asked, exit_code=code) == (phase, reason)


def test_a_signal_is_named() -> None:
    tried = lab.attempt()
    workload = lab.workload(tried, running=False, exit_code=139)
    assert "SIGSEGV" in conclude(tried, lab.stage(), workload)[2]


def test_the_last_line_that_tells_something_decides() -> None:
    assert cause_from_log(["GPU is lost", "torch.OutOfMemoryError: CUDA out of memory"]) is (
        Cause.OOM_GPU
    )
    assert cause_from_log(["Traceback", "ValueError"]) is None


def test_a_container_cut_off_from_its_gpu_is_told_where_the_remedy_is() -> None:
    tried = lab.attempt()
    tail = ["epoch 3", "Failed to initialize NVML: Unknown Error"]

    def ending(runtime: str) -> tuple[Cause | None, str]:
        ended = lab.workload(tried, running=False, started_at=5.0, exit_code=1, runtime=runtime)
        return conclude(tried, lab.stage(), ended, tail=tail)[1:]

    cause, detail = ending("docker")
    assert cause is Cause.GPU_LOST
    assert f"see hostler doctor {tried.host}" in detail
    assert ending("process") == (Cause.GPU_LOST, "exit code 1")


def test_a_virtual_environment_that_cannot_be_built_is_no_fault_of_the_command() -> None:
    tried = lab.attempt()
    workload = lab.workload(tried, running=False, started_at=5.0, exit_code=125)
    stage = lab.stage(venv="requirements.txt")
    said = ["Collecting x", "hostler: no virtual environment: pip install failed"]
    assert conclude(tried, stage, workload, tail=said) == (
        Phase.FAILED,
        Cause.START_FAILED,
        "no virtual environment: pip install failed",
    )
    assert "requirements.txt" in conclude(tried, stage, workload)[2]


def test_an_environment_that_is_missing_is_no_fault_of_the_command() -> None:
    tried = lab.attempt()
    workload = lab.workload(tried, running=False, started_at=5.0, exit_code=125)
    said = ["ERROR: x", "hostler: this host has no module cuda/13"]
    for stage in (lab.stage(modules=("cuda/13",)), lab.stage(conda="x")):
        ended = conclude(tried, stage, workload, tail=said)
        assert ended == (Phase.FAILED, Cause.START_FAILED, f"{tried.host} has no module cuda/13")
    assert conclude(tried, lab.stage(conda="x", modules=("a", "b")), workload)[2] == (
        f"conda environment x and modules a, b could not be loaded on {tried.host}"
    )
    assert conclude(tried, lab.stage(), workload, tail=said)[1] is Cause.USER_ERROR


def test_of_a_process_no_memory_limit_is_claimed() -> None:
    """`ram` limits containers; a process may take all memory of its host."""
    tried = lab.attempt()
    workload = lab.workload(tried, running=False, exit_code=137, oom_killed=True)
    asked = lab.stage(ram=2**30)
    said = conclude(tried, replace(asked, image=None, runtime="process"), workload)[2]
    assert "out of memory" in said
    assert "limit" not in said
    said = conclude(tried, replace(asked, image="a:1", runtime="docker"), workload)[2]
    assert "at its memory limit; raise `ram`" in said


NAMED = {1, 2, 3, 4, 6, 7, 8, 9, 11, 13, 14, 15, 24, 25, 31}


def said(ended: dict[str, Any], stage: Any = None, **told: Any) -> str:
    """The sentence about an attempt whose workload ended so."""
    tried = lab.attempt(**told.pop("attempt", {}))
    workload = lab.workload(tried, running=False, **{"started_at": 5.0, **ended})
    return conclude(tried, stage or lab.stage(), workload, **told)[2]


@pytest.mark.parametrize("number", [1, 2, 5, 9, 11, 15, 16, 24, 31])
@pytest.mark.parametrize("by_code", [True, False], ids=["exit code", "signal"])
def test_each_signal_has_its_name(number: int, by_code: bool) -> None:
    ended = {"exit_code": 128 + number} if by_code else {"exit_code": None, "signal": number}
    name = signal.Signals(number).name if number in NAMED else f"signal {number}"
    hint = ", not by Hostler (often by the kernel, to free memory)" if number == 9 else ""
    assert said(ended) == f"killed by {name}{hint}"


def test_the_signals_that_end_programs_are_named() -> None:
    told = {number: said({"exit_code": 128 + number}) for number in range(1, 32)}
    assert {number for number, text in told.items() if "SIG" in text} == NAMED


@pytest.mark.parametrize(
    ("ended", "told", "sentence"),
    [
        ({"exit_code": 3}, {}, "exit code 3"),
        ({"exit_code": 128}, {}, "exit code 128"),
        ({"exit_code": 160}, {}, "exit code 160"),
        ({"exit_code": 0, "signal": 15}, {}, "killed by SIGTERM"),
        ({"exit_code": 255}, {"boot_id": "b"}, "gpu1 rebooted while it ran; exit code 255"),
        ({"exit_code": None}, {"boot_id": "b"}, "gpu1 rebooted while it ran"),
        ({"exit_code": 1}, {"boot_id": "b", "attempt": {"boot_id": None}}, "exit code 1"),
        ({"exit_code": None}, {}, "it ended and its exit code is unknown"),
        ({"exit_code": None, "error": "oops"}, {}, "it ended and its exit code is unknown: oops"),
        ({"exit_code": 1, "error": "oops"}, {}, "exit code 1"),
        ({"exit_code": 125, "error": "oops"}, {}, "oops"),
        ({"exit_code": 126, "error": "oops"}, {}, "oops"),
        ({"exit_code": 127, "error": "oops"}, {}, "oops"),
        ({"exit_code": 124, "error": "oops"}, {}, "exit code 124"),
        ({"exit_code": 1}, {"gpu_lost": "GPU 0: lost"}, "GPU 0: lost; exit code 1"),
        ({"exit_code": 124, "signal": None}, {"stage": lab.stage(venv="r.txt")}, "exit code 124"),
        (
            {"exit_code": 125},
            {"stage": lab.stage(venv="r.txt"), "tail": ["hostler: first", "hostler: last", "x"]},
            "last",
        ),
        (
            {"exit_code": 137, "oom_killed": True},
            {"stage": lab.stage(runtime="docker", image="a:1")},
            "killed by the kernel for its memory; `ram` in resources asks for more",
        ),
    ],
)
def test_what_is_said_of_an_end(ended: dict[str, Any], told: dict[str, Any], sentence: str) -> None:
    values = dict(told)
    assert said(ended, values.pop("stage", None), **values) == sentence


@pytest.mark.parametrize(
    ("attempt", "rebooted", "ending"),
    [
        ({}, True, (Phase.FAILED, Cause.HOST_REBOOTED,
                    "gpu1 rebooted, and its work is gone")),
        ({}, False, (Phase.FAILED, Cause.VANISHED, "it is gone from gpu1, and Hostler did not "
                     "remove it (removed by hand?)")),
        ({"stop_reason": Cause.STOPPED, "stop_detail": "by eve"}, True,
         (Phase.CANCELLED, Cause.STOPPED, "by eve")),
    ],
)  # fmt: skip
def test_what_is_said_of_what_is_gone(attempt: Any, rebooted: bool, ending: Any) -> None:
    assert conclude_absent(lab.attempt(**attempt), rebooted=rebooted) == ending
