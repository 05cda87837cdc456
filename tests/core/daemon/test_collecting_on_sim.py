"""What happens to the files of a stage that has ended, and to its GPUs meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, AgentGone, EngineError, HostError, StateError
from hostler.daemon import collecting, copied_files
from hostler.daemon.finish import Finisher
from hostler.daemon.host_monitor import HostMonitor
from hostler.daemon.unanswered import MOST_UNANSWERED
from hostler.model.config import Config
from hostler.model.files import Artifact
from hostler.model.pipelines import Cause, OnLost
from hostler.model.records import Remainder
from hostler.model.runs import Attempt, Outcome, Phase, Source
from hostler.ports import Left
from hostler.runtimes import collect
from hostler.sim.link import SimLink
from hostler.sim.runtime import SimRuntime
from hostler.store.database import Store
from hostler.store.saved import read_listing
from tests.core.daemon.test_config_keys_on_sim import daemon as config_text
from tests.core.daemon.test_kill_points_on_sim import stop_at
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

TRAIN = sim("seconds=0.05 write=model.pt:5000 write=runs/a.txt:10 write=runs/b.txt:20")
BOTH = pytest.mark.parametrize("runtime", ["docker", "process"])


def limited(**limits: Any) -> Callable[[Config], Config]:
    """The config with other limits."""
    return lambda config: replace(config, limits=replace(config.limits, **limits))


def held_back(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> asyncio.Event:
    """A step that waits for the event given back."""
    real, go_on = getattr(owner, name), asyncio.Event()

    async def step(*args: Any, **more: Any) -> Any:
        await go_on.wait()
        return await real(*args, **more)

    monkeypatch.setattr(owner, name, step)
    return go_on


async def saved(daemon: SimDaemon, run_id: str) -> dict[str, Artifact]:
    found = await daemon.daemon.context.store.artifacts(run_id)
    return {artifact.name: artifact for artifact in found}


async def staying(daemon: SimDaemon, run_id: str) -> list[Remainder]:
    return await daemon.daemon.context.store.remainders(run_id)


def names(daemon: SimDaemon, artifact: Artifact) -> list[str]:
    """The files that an artifact lists."""
    assert artifact.index is not None
    listing = read_listing(daemon.daemon.context.content, artifact.index)
    return [file.path for file in listing.files]


def boxed(runtime: str, **fields: Any) -> Any:
    image = "i" if runtime == "docker" else None
    return stage("train", runtime=runtime, image=image, **{"env": TRAIN, **fields})


def is_collecting(attempt: Attempt) -> bool:
    return attempt.phase is Phase.COLLECTING


@BOTH
async def test_a_card_goes_to_the_next_stage_while_outputs_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    go_on = held_back(monkeypatch, collecting, "collect_output")
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        after = stage("after", needs=("train",), keep=(), env=sim("seconds=0.05"))
        first = await daemon.submit(boxed(runtime, gpus=1, outputs={"o": "out"}), after)
        attempt = await daemon.attempt(first, is_collecting)
        assert attempt.verdict is Phase.SUCCEEDED
        assert attempt.exit_code == 0
        assert attempt.duration is not None
        assert "gpu_seconds_allocated" in attempt.usage
        second = await daemon.submit(stage("other", gpus=1, keep=(), env=sim("seconds=0.05")))
        assert (await daemon.finished(second)).outcome is Outcome.SUCCEEDED
        assert [a.stage for a in daemon.daemon.context.run_cache.run(first).attempts] == ["train"]
        service = daemon.daemon.service
        lines = {line.name: line for line in (await service.why(first, None)).stages}
        assert lines["train"].status == "collecting"
        assert "its files are being copied from gpu1" in lines["train"].sentence
        assert lines["after"].sentence == "waits for train (collecting)"
        go_on.set()
        run = await daemon.finished(first)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert {a.verdict for a in run.attempts} == {None}
        await daemon.clean()
        assert lab.referee.violations == []


@BOTH
async def test_new_and_changed_files_of_a_command_are_kept(tmp_path: Path, runtime: str) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run = await daemon.finished(await daemon.submit(boxed(runtime)))
        (artifact,) = (await saved(daemon, run.run_id)).values()
        assert (artifact.name, artifact.kind, artifact.partial) == ("files", "files", False)
        assert artifact.files == 3
        assert names(daemon, artifact) == ["model.pt", "runs/a.txt", "runs/b.txt"]
        assert run.attempts[0].outputs == {}
        await daemon.clean()


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"outputs": {"o": "out"}}, []),
        ({"keep": ()}, []),
        ({"keep": ("runs/*",)}, ["runs/a.txt", "runs/b.txt"]),
        ({"keep": ("*.pt",), "outputs": {"o": "out"}}, ["model.pt"]),
    ],
)
async def test_a_stage_says_what_is_kept(
    tmp_path: Path, fields: dict[str, Any], kept: list[str]
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run = await daemon.finished(await daemon.submit(boxed("process", **fields)))
        found = (await saved(daemon, run.run_id)).get("files")
        assert (names(daemon, found) if found is not None else []) == kept
        assert await staying(daemon, run.run_id) == []
        await daemon.clean()


async def test_what_is_over_the_budget_stays_on_its_host(tmp_path: Path) -> None:
    change = limited(kept_files=14_000, keep_jobs=100.0)
    async with SimDaemon(small_lab(1), tmp_path, change=change) as daemon:
        run = await daemon.finished(await daemon.submit(boxed("process")))
        assert run.outcome is Outcome.SUCCEEDED
        (artifact,) = (await saved(daemon, run.run_id)).values()
        assert names(daemon, artifact) == ["runs/a.txt", "runs/b.txt"]
        (left,) = await staying(daemon, run.run_id)
        assert (left.names, left.files, left.size) == (("model.pt",), 1, 5000)
        assert (left.host, left.until - left.since) == ("gpu1", 100.0)
        assert left.path.endswith(f"{run.attempts[0].attempt_id}/work")
        assert "kept_files" in left.why
        assert "attempt.files_stay" in await daemon.kinds(run.run_id)
        work = daemon.lab.hosts["gpu1"].works[run.attempts[0].attempt_id]
        assert work.kept_until == left.until


async def test_cells_share_the_budget_of_their_run(tmp_path: Path) -> None:
    cells = [replace(boxed("process", keep=("*.pt",)), name=f"t.{i}", base="t") for i in range(4)]
    change = limited(kept_files=20_000)
    async with SimDaemon(small_lab(1), tmp_path, change=change) as daemon:
        run = await daemon.finished(await daemon.submit(*cells))
        found = await daemon.daemon.context.store.artifacts(run.run_id)
        assert 5000 < sum(artifact.size for artifact in found) <= 20_000
        assert len(await staying(daemon, run.run_id)) == 4 - len(found)


@BOTH
@pytest.mark.parametrize("ends", ["exit=3", "cancel", "timeout"])
async def test_outputs_of_what_did_not_succeed_are_kept_as_partial(
    tmp_path: Path, ends: str, runtime: str
) -> None:
    seconds = "0.05" if ends == "exit=3" else "30"
    env = sim(
        f"seconds={seconds} write=model.pt:5000 write=log.txt:9 {ends if '=' in ends else ''}"
    )
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        timeout = 0.1 if ends == "timeout" else None
        train = boxed(runtime, env=env, outputs={"m": "model.pt", "gone": "x/"}, timeout=timeout)
        run_id = await daemon.submit(train, stage("after", needs=("train",)))
        if ends == "cancel":
            await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
            await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        (attempt,) = run.attempts
        assert attempt.phase is (Phase.CANCELLED if ends == "cancel" else Phase.FAILED)
        assert attempt.cause is not Cause.OUTPUT
        assert attempt.outputs == {}
        if ends == "exit=3":  # the others had not written anything yet
            found = await saved(daemon, run_id)
            assert [(a.kind, a.partial) for a in found.values()] == [("output", True)]
            (left,) = await staying(daemon, run_id)
            assert left.names == ("log.txt",), "its folder stays for what no output names"
            assert "did not succeed" in left.why


async def test_a_success_without_its_outputs_fails_and_its_other_files_are_safe(
    tmp_path: Path,
) -> None:
    change = limited(output_size=1000)
    outputs = {"large": "model.pt", "small": "runs/", "none": "nothing"}
    env = sim("seconds=0.05 no_output=nothing write=model.pt:3000000 write=runs/a.txt:10")
    async with SimDaemon(small_lab(1), tmp_path, change=change) as daemon:
        run = await daemon.finished(await daemon.submit(boxed("process", env=env, outputs=outputs)))
        (attempt,) = run.attempts
        assert (attempt.phase, attempt.cause) == (Phase.FAILED, Cause.OUTPUT)
        assert attempt.detail.startswith("output large (model.pt): ")
        (small,) = (await saved(daemon, run.run_id)).values()
        assert small.name == "small", "each that is there is taken"
        assert small.partial, "of a stage that did not succeed after all"
        (left,) = await staying(daemon, run.run_id)
        assert left.names == ("model.pt",)


STEPS: dict[str, tuple[Any, str, int]] = {
    "record the verdict": (Store, "change_attempt", 2),
    "outputs": (collecting, "collect_output", 1),
    "changed files": (SimLink, "changed_files", 1),
    "files": (copied_files, "collect_files", 1),
    "artifact": (Store, "add_artifact", 2),
    "what stays": (Store, "add_remainder", 1),
    "keep": (SimRuntime, "keep", 1),
    "path": (Store, "add_remainder", 2),
    "record the end": (Store, "change_attempt", 3),
}


@BOTH
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_while_files_are_copied_loses_nothing_and_copies_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str, runtime: str
) -> None:
    reached = stop_at(monkeypatch, *STEPS[step], when)
    change = limited(kept_files=14_000)
    train = boxed(runtime, outputs={"o": "out"}, keep=("*.pt", "runs/*"))
    async with SimDaemon(small_lab(1), tmp_path, change=change) as daemon:
        run_id = await daemon.submit(train)
        async with asyncio.timeout(30):
            await reached.wait()
        await daemon.kill()
        monkeypatch.undo()
        await daemon.begin()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert set(run.attempts[0].outputs) == {"o"}
        found = await saved(daemon, run_id)
        assert set(found) == {"o", "files"}
        assert names(daemon, found["files"]) == ["runs/a.txt", "runs/b.txt"]
        (left,) = await staying(daemon, run_id)
        assert left.names == ("model.pt",)
        work = daemon.lab.hosts["gpu1"].works[run.attempts[0].attempt_id]
        assert work.kept_until == left.until
        kinds = await daemon.kinds(run_id)
        assert kinds.count("attempt.succeeded") == 1
        assert "attempt.files_not_saved" not in kinds


async def test_collecting_waits_for_a_silent_host_and_a_cancel_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = held_back(monkeypatch, collecting, "collect_output")
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(boxed("process", outputs={"o": "out"}))
        await daemon.attempt(run_id, is_collecting)
        faults_on(lab, "gpu1").cut()
        go_on.set()
        await daemon.cancel(run_id)
        service = daemon.daemon.service

        async def sentence() -> str:
            return str((await service.why(run_id, None)).stages[0].sentence)

        async with asyncio.timeout(30):
            while "cannot be seen" not in await sentence():
                await asyncio.sleep(0.01)
        faults_on(lab, "gpu1").heal()
        run = await daemon.finished(run_id)
        assert set(run.attempts[0].outputs) == {"o"}
        assert run.outcome is Outcome.SUCCEEDED, "all of it had succeeded when it was cancelled"


async def test_a_workload_that_vanishes_while_it_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_back(monkeypatch, copied_files, "collect_files")
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(boxed("process", env=TRAIN))
        attempt = await daemon.attempt(run_id, is_collecting)
        await daemon.kill()
        monkeypatch.undo()
        del lab.hosts["gpu1"].works[attempt.attempt_id]
        await daemon.begin()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, "undeclared files change no verdict"
        assert "attempt.files_not_saved" in await daemon.kinds(run_id)


async def test_trouble_with_kept_files_changes_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: Any, **_more: Any) -> Any:
        raise AgentError("gpu1", "the disk there hangs")

    monkeypatch.setattr(copied_files, "collect_files", broken)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run = await daemon.finished(await daemon.submit(boxed("process")))
        assert run.outcome is Outcome.SUCCEEDED
        (left,) = await staying(daemon, run.run_id)
        assert (left.files, left.size) == (3, 5030)
        assert "the disk there hangs" in left.why
        monkeypatch.setattr(SimLink, "changed_files", broken)
        run = await daemon.finished(await daemon.submit(boxed("process")))
        assert run.outcome is Outcome.SUCCEEDED
        (left,) = await staying(daemon, run.run_id)
        assert (left.files, left.names) == (3, ()), "what cannot be listed stays as it is"


@BOTH
@pytest.mark.parametrize(
    "error", [AgentError("gpu1", "kept: No space left on device"), EngineError("gpu1", "cut")]
)
async def test_what_cannot_be_marked_as_kept_is_not_removed_and_marked_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, error: HostError
) -> None:
    """The disk of a host is full when a stage has filled it, and its Docker may restart."""
    asked, enough = [0], asyncio.Event()

    async def fails(*_args: Any, **_more: Any) -> Any:
        asked[0] += 1
        if asked[0] > 3:
            enough.set()
        raise error

    change = limited(kept_files=14_000)
    async with SimDaemon(small_lab(1), tmp_path, change=change) as daemon:
        with monkeypatch.context() as patched:
            patched.setattr(SimRuntime, "keep", fails)
            run = await daemon.finished(await daemon.submit(boxed(runtime)))
            assert run.outcome is Outcome.SUCCEEDED
            async with asyncio.timeout(30):
                await enough.wait()
        work = daemon.lab.hosts["gpu1"].works[run.attempts[0].attempt_id]
        async with asyncio.timeout(30):
            while not (await staying(daemon, run.run_id))[0].path:
                await asyncio.sleep(0.01)
        (left,) = await staying(daemon, run.run_id)
        assert (left.names, left.until) == (("model.pt",), work.kept_until)
        said = [e.message for e in await daemon.daemon.context.store.events(0, run.run_id)]
        assert any("could not record that they are kept" in each for each in said)


@pytest.mark.parametrize("times", [3, 1000])
@pytest.mark.parametrize(
    "error", [EngineError("gpu1", "cut", status=503), AgentGone("gpu1", "ended by SIGKILL")]
)
async def test_a_docker_or_agent_that_ends_meanwhile_fails_no_stage_and_a_broken_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, error: HostError
) -> None:
    real, asked = collect.collect_output, [0]

    async def cut(*args: Any, **more: Any) -> Any:
        asked[0] += 1
        if asked[0] <= times:
            raise error
        return await real(*args, **more)

    monkeypatch.setattr(collecting, "collect_output", cut)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(boxed("docker", outputs={"o": "out"}))
        run = await daemon.finished(run_id, 20)
        assert run.outcome is (Outcome.SUCCEEDED if times == 3 else Outcome.FAILED), told(run)
        assert bool(await staying(daemon, run_id)) is (times > 3)


@pytest.mark.parametrize("asked_for", [(copied_files, "collect_files"), (SimLink, "changed_files")])
@pytest.mark.parametrize(
    "error", [EngineError("gpu1", "cut", status=503), AgentGone("gpu1", "ended by SIGKILL")]
)
async def test_a_docker_or_agent_that_ends_meanwhile_leaves_no_files_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: tuple[Any, str], error: HostError
) -> None:
    """Undeclared files, too, are copied after it; they stay only where each try fails."""
    real, times = getattr(*asked_for), [0, 3]

    async def cut(*args: Any, **more: Any) -> Any:
        times[0] += 1
        if times[0] <= times[1]:
            raise error
        return await real(*args, **more)

    monkeypatch.setattr(*asked_for, cut)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run = await daemon.finished(await daemon.submit(boxed("docker")), 20)
        assert (run.outcome, await staying(daemon, run.run_id)) == (Outcome.SUCCEEDED, [])
        assert "attempt.files_not_saved" not in await daemon.kinds(run.run_id)
        times[:] = [0, 1000]
        run = await daemon.finished(await daemon.submit(boxed("docker")), 20)
        assert run.outcome is Outcome.SUCCEEDED
        assert times[0] == MOST_UNANSWERED
        assert len(await staying(daemon, run.run_id)) == 1


async def test_outputs_that_do_not_fit_wait_and_why_and_alerts_tell_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked, enough = collect.collect_output, [0], asyncio.Event()

    async def full(*_args: Any, **_more: Any) -> Any:
        asked[0] += 1
        if asked[0] > 3:
            enough.set()
        raise StateError(f"the disk of the state folder has {1000 - asked[0]} KiB left")

    monkeypatch.setattr(collecting, "collect_output", full)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(boxed("process", outputs={"o": "out"}))
        async with asyncio.timeout(30):
            await enough.wait()
        service = daemon.daemon.service
        (line,) = (await service.why(run_id, None)).stages
        assert "copying is blocked: the disk of the state folder has 99" in line.sentence
        events = await daemon.daemon.context.store.events(0)
        assert [e.kind for e in events].count("state.failed") == 1, "however often it is tried"
        monkeypatch.setattr(collecting, "collect_output", real)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)


async def test_with_code_here_files_are_only_named(tmp_path: Path) -> None:
    async with config_text('[shared]\npaths = ["/nfs"]\n', tmp_path, small_lab(1)) as daemon:
        here = boxed("process", code="here")
        run_id = await daemon.submit(here, source=Source(path="/nfs/code"))
        await daemon.finished(run_id)
        (artifact,) = (await saved(daemon, run_id)).values()
        assert (artifact.kind, artifact.digest, artifact.size) == ("here", artifact.index, 5030)
        assert names(daemon, artifact) == ["model.pt", "runs/a.txt", "runs/b.txt"]
        assert await staying(daemon, run_id) == []
        await daemon.clean()


@pytest.mark.parametrize(("changed", "files"), [(0, 0), (None, 1)])
async def test_a_folder_that_was_told_to_be_unchanged_is_not_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: int | None, files: int
) -> None:
    monkeypatch.setattr(HostMonitor, "left", lambda _self, _ref: Left(b"", False, changed))
    async with config_text('[shared]\npaths = ["/nfs"]\n', tmp_path, small_lab(1)) as daemon:
        here = boxed("process", code="here")
        run_id = await daemon.submit(here, source=Source(path="/nfs/code"))
        await daemon.finished(run_id)
        assert len(await saved(daemon, run_id)) == files
        await daemon.clean()


async def test_the_files_of_a_lost_stage_are_taken_when_its_host_is_heard_again(
    tmp_path: Path,
) -> None:
    lab = small_lab(2, gpus=0)
    async with SimDaemon(lab, tmp_path) as daemon:
        env = sim("seconds=600 write=model.pt:5000 write=log.txt:9")
        train = boxed(
            "process", env=env, outputs={"m": "model.pt"}, on_lost=OnLost.RESTART, lost_after=0.1,
        )  # fmt: skip
        run_id = await daemon.submit(train)
        first = await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.wait_silent(first.host)
        await daemon.finished(run_id)
        work = lab.host(first.host).works[first.attempt_id]
        work.behaviour = replace(work.behaviour, seconds=0.0)  # it ended well meanwhile
        faults_on(lab, first.host).heal()

        async def taken() -> bool:
            found = await daemon.daemon.context.store.artifacts(run_id)
            return any(a.attempt_id == first.attempt_id and a.partial for a in found)

        async with asyncio.timeout(30):
            while not await taken():
                await asyncio.sleep(0.01)


@BOTH
async def test_files_that_were_given_up_while_they_were_copied_are_taken_when_the_host_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    go_on = held_back(monkeypatch, copied_files, "collect_files")
    lab = small_lab(1, gpus=0)
    async with SimDaemon(lab, tmp_path) as daemon:
        train = boxed(runtime, on_lost=OnLost.RESTART, lost_after=0.1)
        run_id = await daemon.submit(train)
        await daemon.attempt(run_id, is_collecting)
        await daemon.wait_silent("gpu1")
        go_on.set()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, "undeclared files change no verdict"
        assert "attempt.files_not_saved" in await daemon.kinds(run_id)
        assert await saved(daemon, run_id) == {}
        faults_on(lab, "gpu1").heal()
        await daemon.clean()
        (artifact,) = (await saved(daemon, run_id)).values()
        assert names(daemon, artifact) == ["model.pt", "runs/a.txt", "runs/b.txt"]


async def test_no_host_adds_files_to_what_another_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()
    real = Finisher.salvage

    async def salvage(self: Finisher, host: str, *args: Any) -> bool:
        try:
            return await real(self, host, *args)
        finally:
            asked.set()

    lab = small_lab(2, gpus=0)
    async with SimDaemon(lab, tmp_path) as daemon:
        quiet = boxed("process", env=sim("seconds=0.05"))
        run = await daemon.finished(await daemon.submit(quiet))
        await daemon.clean()
        monkeypatch.setattr(Finisher, "salvage", salvage)
        other = next(host for name, host in lab.hosts.items() if name != run.attempts[0].host)
        donor = await daemon.submit(boxed("process", env=sim("seconds=600")))
        made = await daemon.attempt(donor, lambda a: a.phase is Phase.RUNNING)
        work = lab.hosts[made.host].works[made.attempt_id]
        forged = replace(work, attempt_id=run.attempts[0].attempt_id, files={"forged.pt": b"1"})
        forged.ref, forged.ended_at, forged.exit_code = forged.attempt_id, other.clock.now(), 0
        other.works[forged.attempt_id] = forged
        async with asyncio.timeout(30):
            await asked.wait()
        assert await saved(daemon, run.run_id) == {}
        assert await staying(daemon, run.run_id) == []
        del other.works[forged.attempt_id]
        await daemon.cancel(donor)
        await daemon.finished(donor)


async def test_nothing_to_copy_is_over_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[Phase] = []
    real = Store.change_attempt

    async def update(self: Store, *args: Any, **changes: Any) -> Any:
        phases.append(changes["phase"])
        return await real(self, *args, **changes)

    monkeypatch.setattr(Store, "change_attempt", update)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        await daemon.finished(await daemon.submit(boxed("process", keep=())))
    assert phases == [Phase.RUNNING, Phase.SUCCEEDED]
