from __future__ import annotations

from dataclasses import replace

from hostler.daemon.overlay import ExitOverlay, has_news
from hostler.model.hosts import Gpu, GpuProcess, Look, Machine, Workload

RUNNING = Workload(attempt_id="r1-a-1", daemon_id="d", runtime="docker", ref="c1", running=True)
EXITED = replace(RUNNING, running=False, exit_code=3)


def look(at: float, *workloads: Workload) -> Look:
    return Look(asked_at=at, boot_id="b", workloads=workloads)


def test_a_pushed_exit_shows_at_once_and_leaves_the_time_of_the_look_alone() -> None:
    overlay = ExitOverlay()
    overlay.add(EXITED, at=11.0)
    shown = overlay.apply(look(10.0, RUNNING))
    assert shown.workloads == (EXITED,)
    assert shown.asked_at == 10.0


def test_a_late_answer_does_not_bring_the_workload_back_to_life() -> None:
    overlay = ExitOverlay()
    overlay.add(EXITED, at=11.0)
    assert overlay.apply(look(10.5, RUNNING)).workloads == (EXITED,)
    assert overlay.apply(look(12.0, RUNNING)).workloads == (EXITED,)


def test_an_exit_that_the_last_look_did_not_list_yet_is_added() -> None:
    overlay = ExitOverlay()
    overlay.add(EXITED, at=11.0)
    assert overlay.apply(look(10.0)).workloads == (EXITED,)


def test_a_removed_workload_is_forgotten_once_a_later_look_lacks_it() -> None:
    overlay = ExitOverlay()
    overlay.add(EXITED, at=11.0)
    assert overlay.apply(look(12.0)).workloads == ()
    assert overlay.apply(look(10.0)).workloads == ()


def test_a_removed_workload_is_not_shown_by_looks_of_before() -> None:
    overlay = ExitOverlay()
    overlay.add(EXITED, at=11.0)
    overlay.remove("c1", at=12.0)
    assert overlay.apply(look(11.5, EXITED)).workloads == ()
    overlay.add(EXITED, at=12.5)
    assert overlay.apply(look(11.9)).workloads == ()
    assert overlay.apply(look(13.0, EXITED)).workloads == (EXITED,)


def test_what_the_host_says_itself_replaces_the_push() -> None:
    overlay = ExitOverlay()
    overlay.add(EXITED, at=11.0)
    told = replace(EXITED, oom_killed=True)
    assert overlay.apply(look(12.0, told)).workloads == (told,)


def test_load_power_and_utilization_are_no_news() -> None:
    gpu = Gpu(uuid="GPU-1", index=0, memory_used=0, utilization=1.0, power=50.0)
    before = Look(asked_at=1.0, boot_id="b", gpus=(gpu,), machine=Machine(load1=0.1))
    after = replace(
        before,
        asked_at=2.0,
        gpus=(replace(gpu, utilization=90.0, power=300.0),),
        machine=Machine(load1=9.0),
    )
    assert not has_news(before, after)


def test_a_process_a_problem_or_used_memory_is_news() -> None:
    gpu = Gpu(uuid="GPU-1", index=0, memory_used=0)
    before = Look(asked_at=1.0, boot_id="b", gpus=(gpu,))
    process = GpuProcess(pid=1, kind="compute")
    for changed in (
        replace(gpu, processes=(process,)),
        replace(gpu, problem="lost"),
        replace(gpu, memory_used=8 * 1024**3),
    ):
        assert has_news(before, replace(before, gpus=(changed,)))
    assert has_news(before, replace(before, boot_id="c"))
    assert has_news(before, replace(before, docker_problem="gone"))
