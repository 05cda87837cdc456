"""The daemon's loop from submission to outcome, on a simulated lab that behaves."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.json_types import Json
from hostler.daemon.host_copies import HostCopies
from hostler.daemon.submit import Submission
from hostler.model.config import Config
from hostler.model.jobs import Claim, Claimed
from hostler.model.pipelines import Cause, Retries, StageKind
from hostler.model.plans import Policy
from hostler.model.runs import Attempt, Outcome, Phase
from hostler.sim import Pace, agent
from hostler.sim.claims import claim_gpus
from hostler.sim.host import SimHost
from hostler.sim.parts import SimWork
from tests.support.daemons.simdaemon import ANA, SimDaemon, sim, told
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage


@pytest.mark.parametrize("runtime", ["docker", "process"])
async def test_three_stages_run_to_their_end_and_carry_what_they_make(
    tmp_path: Path, runtime: str
) -> None:
    kind: dict[str, Any] = {
        "runtime": runtime,
        "image": "python:3.12" if runtime == "docker" else None,
    }
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("prepare", outputs={"data": "out"}, env=sim("seconds=0.02"), **kind),
            stage(
                "train",
                gpus=1,
                needs=("prepare",),
                inputs={"data": ("prepare.data",)},
                outputs={"model": "model.pt"},
                env=sim("seconds=0.05 lines=5 metric.accuracy=0.93"),
                **kind,
            ),
            stage(
                "check",
                needs=("train",),
                kind=StageKind.GATE,
                conditions=("accuracy >= 0.9",),
                inputs={"model": ("train.model",)},
                outputs={"report": "report"},
                env=sim("seconds=0.02 metric.accuracy=0.91"),
                **kind,
            ),
        )
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        by_stage = {a.stage: a for a in run.attempts}
        assert len(run.attempts) == 3
        assert by_stage["train"].metrics == {"accuracy": 0.93}
        assert by_stage["train"].exit_code == 0
        assert (by_stage["train"].image_digest is not None) == (runtime == "docker")
        report = daemon.daemon.context.content.path(by_stage["check"].outputs["report"])
        with tarfile.open(report) as archive:
            found = archive.extractfile("result.txt")
            assert found is not None
            text = io.TextIOWrapper(found).read()
        # `report` names the model it was given, and whoever made that.
        assert text == (
            f"made by {run_id}-check-1\nfrom inputs/model/model.pt: made by {run_id}-train-1\n"
        )
        log = daemon.daemon.context.store.logs.tail(run_id, f"{run_id}-train-1", 100)
        steps = [line.split("  ")[0] for line in log.decode().splitlines()]
        assert steps == [f"{run_id}-train-1: step {n}/5" for n in range(1, 6)]
        await daemon.clean()
        assert daemon.lab.referee.violations == []
        kinds = await daemon.kinds(run_id)
        assert kinds[:3] == ["run.submitted", "attempt.placed", "attempt.started"]
        assert kinds[-1] == "run.succeeded"


async def test_what_needs_only_the_end_of_a_stage_starts_after_its_failure(tmp_path: Path) -> None:
    text = """
    name = "report"
    defaults = { code = "none" }
    stages.eval = { command = "x", env = { SIM = "seconds=0.3 exit=3" } }
    stages.deploy = { command = "x", needs = ["eval"] }
    stages.tell = { command = "x", needs = ["eval?", "deploy?"], env = { SIM = "seconds=0.02" } }
    """
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        service = daemon.daemon.service
        run_id = (await service.submit(Submission(pipeline=text), ANA)).run_id
        await daemon.attempt(run_id, lambda a: a.stage == "eval")
        waits = await service.why(run_id, "tell")
        assert waits.stages[0].reason is not None
        assert "waits for the end of eval (" in waits.stages[0].reason.sentence
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.FAILED
        assert [(a.stage, a.phase) for a in run.attempts] == [
            ("eval", Phase.FAILED),
            ("tell", Phase.SUCCEEDED),
        ]
        shown = {stage.name: stage for stage in (await service.describe(run_id)).stages}
        assert shown["tell"].needs_ended == ("eval", "deploy")
        assert shown["deploy"].note == "needs eval, which failed"


async def test_a_gpu_model_that_nobody_has_is_told_with_those_that_there_are(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        service = daemon.daemon.service
        await daemon.finished(await daemon.submit(stage("look", env=sim("seconds=0.01"))))
        asked = Submission(command={"command": ["x"], "gpus": 1, "gpu_model": ["A10"]})
        run = await service.submit(asked, ANA)
        new = await service.describe_new(run)
        for said in (new, await service.preview(asked, ANA), await service.why(run.run_id, None)):
            assert said.gpu_models is not None
            assert said.gpu_models.startswith("no GPU here is called 'A10'; here are ")
        assert new.no_host is not None


async def test_a_command_that_chooses_gpus_itself_is_told(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        service = daemon.daemon.service
        command: list[Json] = ["env", "CUDA_VISIBLE_DEVICES=0", "python3", "x.py"]
        process, container = (
            Submission(command={"command": command, **more})
            for more in ({"runtime": "process"}, {"image": "x"})
        )
        new = await service.describe_new(await service.submit(process, ANA))
        for said in (new, await service.preview(process, ANA)):
            assert said.own_gpus is not None
            assert said.own_gpus.startswith("CUDA_VISIBLE_DEVICES=0 in stage ")
        assert (await service.preview(container, ANA)).own_gpus is None


async def test_of_alternatives_the_one_that_is_free_is_given(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1, gpus=2), tmp_path) as daemon:
        asked = Submission(
            command={
                "command": ["x"],
                "gpu_model": ["L4:8", "A100:2"],
                "env": {**sim("seconds=0.02")},
            }
        )
        run = await daemon.daemon.service.submit(asked, ANA)
        done = await daemon.finished(run.run_id)
        assert done.outcome is Outcome.SUCCEEDED
        assert len(done.attempts[0].gpus) == 2
        await daemon.clean()
        assert daemon.lab.referee.violations == []


async def test_a_gate_that_fails_ends_the_run_and_names_the_number(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage(
                "check",
                kind=StageKind.GATE,
                conditions=("accuracy >= 0.9",),
                env=sim("seconds=0.01 metric.accuracy=0.5"),
            ),
            stage("deploy", needs=("check",)),
        )
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.FAILED
        assert [a.stage for a in run.attempts] == ["check"]
        assert run.attempts[0].cause is Cause.GATE
        assert "accuracy" in run.attempts[0].detail


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        ("seconds=0.01 exit=3", Cause.USER_ERROR),
        ("seconds=0.01 oom=1", Cause.OOM_HOST),
        ("seconds=0.01 gpu_oom=1", Cause.OOM_GPU),
        ("seconds=0.01 no_output=out", Cause.OUTPUT),
        ("start_error='exec format error'", Cause.START_FAILED),
        ("minutes=3", Cause.START_FAILED),
    ],
)
async def test_each_way_to_fail_has_its_cause(tmp_path: Path, behaviour: str, cause: Cause) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, outputs={"o": "out"}, env=sim(behaviour))
        )
        run = await daemon.finished(run_id)
        assert [(a.phase, a.cause) for a in run.attempts] == [(Phase.FAILED, cause)]
        await daemon.clean()


async def test_the_intent_is_durable_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def known(attempt_id: str) -> bool:
        with contextlib.closing(sqlite3.connect(tmp_path / "hostler.db")) as db:
            rows = db.execute("SELECT 1 FROM attempts WHERE attempt_id = ?", (attempt_id,))
            return rows.fetchone() is not None

    create = SimHost.create

    def watched_claim(host: SimHost, wanted: Claim) -> Claimed:
        asked.append(("claim", known(str(wanted.attempt_id))))
        return claim_gpus(host, wanted)

    def watched_create(self: SimHost, wanted: Any) -> SimWork:
        asked.append(("create", known(wanted["attempt_id"])))
        return create(self, wanted)

    monkeypatch.setattr(agent, "claim_gpus", watched_claim)
    monkeypatch.setattr(SimHost, "create", watched_create)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=2, env=sim("seconds=0.02")))
        await daemon.finished(run_id)
    assert asked == [("claim", True), ("create", True)]


async def test_nothing_runs_before_its_copy_is_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    note, create, start = HostCopies.note, SimHost.create, SimHost.start

    async def slow_note(self: HostCopies, attempt: Attempt) -> None:
        if attempt.phase is Phase.STARTING:
            await daemon.until(lambda: "create" in done, "the create waits for the copy")
            await note(self, attempt)
            done.append("note")

    def watched_create(self: SimHost, wanted: Any) -> SimWork:
        done.append("create")
        return create(self, wanted)

    def watched_start(self: SimHost, attempt_id: str, env: Mapping[str, str]) -> SimWork:
        done.append("start")
        return start(self, attempt_id, env)

    monkeypatch.setattr(HostCopies, "note", slow_note)
    monkeypatch.setattr(SimHost, "create", watched_create)
    monkeypatch.setattr(SimHost, "start", watched_start)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, env=sim("seconds=0.02"), runtime="docker", image="busybox")
        )
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED
    # The first contact with a host notes what is open there as well: only the order counts.
    assert list(dict.fromkeys(done)) == ["create", "note", "start"]


async def test_retries_wait_and_are_counted(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage(
                "train",
                gpus=1,
                retries=Retries(max=2, backoff=0.06),
                env=sim("seconds=0.01 exit=1"),
            )
        )
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.FAILED
        assert [a.number for a in run.attempts] == [1, 2, 3]
        for before, after, pause in zip(run.attempts, run.attempts[1:], (0.06, 0.12), strict=False):
            assert before.finished_at is not None
            assert after.placed_at - before.finished_at >= pause


async def test_stages_shorter_than_a_look_follow_each_other_without_a_refused_claim(
    tmp_path: Path,
) -> None:
    def seldom(config: Config) -> Config:
        daemon = replace(config.daemon, look_interval=20.0)
        return replace(config, daemon=daemon, policy=Policy(fresh_for=60.0))

    lab = small_lab(1, gpus=1, pace=Pace(0.01, 0.0, 0.0, 0.0, 0.0, notice=1.0))
    async with SimDaemon(lab, tmp_path, change=seldom) as daemon:
        runs = [
            await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.005"))) for _ in range(5)
        ]
        for run_id in runs:
            run = await daemon.finished(run_id)
            assert run.outcome is Outcome.SUCCEEDED, told(run)
            assert len(run.attempts) == 1, told(run)


async def test_what_ended_without_an_attempt_says_why(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", env=sim("seconds=0.02")),
            stage("ask", needs=("train",), when="train.loss < 1"),
            stage("after", needs=("ask",)),
            stage("no", needs=("train",), when="1 > 2"),
        )
        run = await daemon.finished(run_id)
        service = daemon.daemon.service
        notes = {s.name: str(s.note) for s in service.view(run).stages}
        assert "train.loss" in notes["ask"] or '"loss"' in notes["ask"]
        assert "cannot be evaluated" in notes["ask"]
        assert notes["after"] == "needs ask, which failed"
        assert "1 > 2" in notes["no"]
        lines = {s.name: s.sentence for s in (await service.why(run_id, None)).stages}
        assert {name: lines[name] for name in ("ask", "after", "no")} == {
            name: notes[name] for name in ("ask", "after", "no")
        }
