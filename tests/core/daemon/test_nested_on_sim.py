"""Runs that a stage submits, by a whole daemon: what a host may reach in the name of a stage."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.json_types import JsonTable
from hostler.base.secret import Secret
from hostler.daemon.submit import Submission
from hostler.decide import nested as limits
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, Phase, Run
from hostler_agent.jobnumbers import job_number
from tests.support.daemons.simdaemon import ANA, FAST, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)
QUICK = replace(FAST, nested_every=0.02)
SCRIPT = "#!/bin/sh\n#SBATCH --time=10\necho hello\n"


class Asking:
    """A host on which a stage runs, which sends requests in its name."""

    def __init__(self, daemon: SimDaemon, attempt: Attempt) -> None:
        self.daemon, self.attempt = daemon, attempt
        self.host = daemon.lab.host(attempt.host)
        self._count = 0

    def send(
        self, *words: str, text: str = "", of: str | None = None, request: str = ""
    ) -> tuple[str, str]:
        self._count += 1
        name = of or self.attempt.attempt_id, request or f"q{self._count}"
        data = b"\0".join([str(len(words)).encode(), *map(str.encode, words), text.encode()])
        self.host.requests.append(
            {"attempt_id": name[0], "id": name[1], "data": base64.b64encode(data).decode()}
        )
        return name

    async def __call__(self, *words: str, text: str = "", request: str = "") -> tuple[int, str]:
        name = self.send(*words, text=text, request=request)
        return await self.answer(name)

    async def answer(self, name: tuple[str, str]) -> tuple[int, str]:
        await self.daemon.until(lambda: name in self.host.answers, "no answer")
        return self.host.answers.pop(name)

    async def sbatch(self, *options: str, text: str = SCRIPT, **more: str) -> tuple[int, str]:
        words = ("sbatch", ".", str(len(options) + 1), "a.sh", "--parsable", *options)
        return await self(*words, text=text, **more)

    async def submitted(self, *options: str, text: str = SCRIPT) -> Run:
        """The run that it makes."""
        code, said = await self.sbatch(*options, text=text)
        assert code == 0, said
        return await self.of_number(int(said))

    async def of_number(self, number: int) -> Run:
        runs = self.daemon.daemon.context.run_cache.runs()
        (run,) = [run for run in runs if job_number(run.run_id) == number]
        return run


async def begin(daemon: SimDaemon, **fields: Any) -> Asking:
    """A stage that may submit others, at work."""
    values = {"env": sim("seconds=600"), "nested": True, "runtime": "process", **fields}
    run_id = await daemon.submit(stage("drive", **values))
    return Asking(daemon, await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING))


async def test_what_a_stage_submits_is_its_owners_and_has_its_code(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon, grace=7.0)
        parent = await daemon.run(asking.attempt.run_id)
        run = await asking.submitted("-J", "My Job", "--gres=gpu:1", "-o", "logs/%j.out", "-e", "e")
        assert (run.owner, run.uid, run.parent) == (parent.owner, parent.uid, parent.run_id)
        assert (run.pipeline, run.title, run.source) == ("my-job", "My Job", parent.source)
        (made,) = run.stages
        assert (made.resources.gpus, made.timeout, made.grace) == (1, 600.0, 7.0)
        assert (made.nested, made.slurm_commands) == (True, True)
        assert (made.slurm_output, made.slurm_error) == ("logs/%j.out", "e")
        assert "echo hello" in made.command[4]
        (entry,) = await daemon.daemon.context.store.audit()
        assert (entry.call, entry.user, entry.arguments["of"]) == ("nested", "ana", parent.run_id)
        (other,) = (await asking.submitted("-o", "/etc/%j.out")).stages
        assert other.slurm_output is None
        event = (await daemon.daemon.context.store.events(0, run.run_id))[0]
        assert event.message.endswith(f"submitted by run {parent.run_id}")


async def test_no_more_hosts_mounts_images_or_secrets(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(3), tmp_path, timings=QUICK) as daemon:
        asking = await begin(
            daemon, hosts=("gpu2",), runtime="docker", image="a/b:1", env=sim("seconds=600")
        )
        text = "#!/bin/sh\n#SBATCH -w gpu1 --export=ALL,HTTP=1\n#SBATCH --uid=0 -p other\n"
        run = await asking.submitted(text=text)
        (made,) = run.stages
        assert made.resources.hosts == ("gpu2",)
        assert (made.image, made.runtime, made.code) == ("a/b:1", "docker", "snapshot")
        assert (made.mounts, made.mount_targets, made.named_secrets) == ((), {}, ())
        assert made.env["HTTP"] == "1"
        code, said = await asking.sbatch("--container-image=x")
        assert (code, said.splitlines()[0]) == (1, "--container-image is not supported")
        below = await begin_nested(daemon, asking, run)
        (again,) = (await below.submitted()).stages
        assert again.resources.hosts == ("gpu2",)


async def test_the_name_of_a_job_becomes_a_plain_title(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon)
        run = await asking.submitted("-J", "a\x1b]0;b\x07\n")
        assert run.title.isprintable()


async def begin_nested(daemon: SimDaemon, above: Asking, run: Run) -> Asking:
    attempt = await daemon.attempt(run.run_id, lambda a: a.phase is Phase.RUNNING)
    return Asking(daemon, attempt)


def test_every_field_of_a_stage_is_the_parents_but_those_that_say_what_runs() -> None:
    """A field that is added to Stage later is inherited: this test then asks whether it may be."""
    changed = {
        "name", "base", "kind", "command", "shell", "plain_shell", "slurm_commands", "cell", "env",
        "slurm_output", "slurm_error",
        "workdir", "program", "needs", "needs_ended", "after", "when", "conditions", "resources",
        "timeout", "warn", "on_timeout", "retries", "inputs", "spread", "outputs", "checkpoint",
        "max_parallel", "fail_fast",
    }  # fmt: skip
    parent = stage(
        "p", image="x", runtime="docker", mounts=("data",), secrets=("KEY",), nested=True
    )
    asked = stage("a", image="other", runtime="process", mounts=("all",), secrets=("B",))
    asked = replace(asked, mount_targets={"/x": "y"}, secret_files=("C",), code="none", venv="r")
    (made,) = limits.nested_stages(parent, [asked], {"gpu1"}, None)
    for name in Stage.__slots__:
        if name not in changed:
            assert getattr(made, name) == getattr(parent, name), name


async def test_a_request_of_another_attempt_is_not_heard(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2, gpus=1), tmp_path, timings=QUICK) as daemon:
        one = await begin(daemon, gpus=1)
        other = await begin(daemon, gpus=1)
        assert one.host is not other.host
        words = ("sbatch", ".", "0", "a.sh")
        one.send(*words, text=SCRIPT, of=other.attempt.attempt_id)
        one.send(*words, text=SCRIPT, of="r1-none-1")
        assert (await other("squeue", "-h"))[0] == 0
        for _ in range(3):
            await daemon.next_plan()
        assert len(daemon.daemon.context.run_cache.runs()) == 2
        assert one.host.answers == {}


async def test_a_stage_that_was_not_allowed_to_is_not_asked(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon, nested=False)
        asking.send("sbatch", ".", "0", "a.sh", text=SCRIPT)
        service = daemon.daemon.service
        with pytest.raises(Exception, match="may not submit others"):
            await service.nested.do(asking.attempt.attempt_id, "q1", b"2\0scancel\x007\0")
        for _ in range(3):
            await daemon.next_plan()
        assert asking.host.answers == {}


async def test_a_killed_daemon_submits_once_and_answers_the_same(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon)
        words = ("sbatch", ".", "1", "a.sh", "--parsable")
        data = b"\0".join([b"5", *map(str.encode, words), SCRIPT.encode()])
        do = daemon.daemon.service.nested.do
        said = await do(asking.attempt.attempt_id, "q1", data)
        await daemon.kill()  # before it could answer
        await daemon.begin()
        name = asking.send(*words, text=SCRIPT, request="q1")
        assert await asking.answer(name) == (0, said)
        assert len(daemon.daemon.context.run_cache.runs()) == 2
        # The same request with other words is none: a host that repeats itself gains nothing.
        code, told = await asking.sbatch(text="#!/bin/sh\nother\n", request="q1")
        assert code == 1
        assert "this key was used for another submission" in told


async def test_a_host_that_comes_back_gets_its_answer_once(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon)
        faults = faults_on(daemon.lab, asking.attempt.host)
        faults.lose_reply("nested.answer")  # done there, and the daemon does not know
        code, said = await asking.sbatch(request="q1")
        faults.cut()
        monitor = daemon.daemon.context.monitors[asking.attempt.host]
        await daemon.until(lambda: not monitor.is_connected, "it is heard")
        faults.heal()
        assert await asking.sbatch(request="q1") == (code, said)
        assert len(daemon.daemon.context.run_cache.runs()) == 2


async def test_a_tree_has_a_hundred_runs_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_RUNS", 3)
    monkeypatch.setattr(limits, "MOST_STAGES", 12)
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon)
        run = await asking.submitted()
        code, said = await asking.sbatch("--array=1-11")
        assert (code, said.splitlines()[1]) == (1, "Use smaller arrays")
        below = await begin_nested(daemon, asking, run)
        await below.submitted("--array=1-3%1")
        await asking.submitted()
        for one in (asking, below):
            code, said = await one.sbatch()
            assert code == 1
            assert "has submitted 3 runs, which is the maximum" in said


async def test_a_script_may_go_on_after_its_own_job(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        env = sim("seconds=600")
        made = stage("drive.0", base="drive", cell={"task": 3}, nested=True, env=env)
        run_id = await daemon.submit(made)
        running = await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        asking = Asking(daemon, running)
        for name in (run_id, f"{run_id}/0"):
            run = await asking.submitted("-d", f"afterany:{job_number(name)}")
            (made,) = run.stages
            assert [(after.run_id, after.only_end) for after in made.after] == [(run_id, True)]
        assert (await asking("scancel", str(job_number(f"{run_id}/0"))))[0] == 1
        number = job_number(run_id)
        run = await asking.submitted("-d", f"afterok:{number},afterany:{number}")
        assert [after.only_end for after in run.stages[0].after] == [False]


async def test_it_sees_and_cancels_its_own_tree_alone(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon)
        foreign = await begin(daemon)
        first = await asking.submitted("-J", "first")
        second = await asking.submitted("-d", f"afterok:{job_number(first.run_id)}", "-J", "second")
        number = {run.run_id: job_number(run.run_id) for run in (first, second)}
        code, said = await asking("squeue", "-h", "-o", "%A %j %t")
        assert code == 0
        lines = sorted(said.splitlines(), key=lambda line: line.split()[1])
        assert lines[0].startswith(f"{number[first.run_id]} first ")
        assert lines[2] == f"{number[second.run_id]} second PD"
        assert len(lines) == 3
        # Nothing of others, which the daemon's own reasons name.
        code, said = await asking("squeue", "-h", "-t", "PD", "-o", "%R %r")
        assert (code, said) == (0, "(Dependency) Dependency\n")
        hidden = job_number(foreign.attempt.run_id)
        for words in (("scancel", str(hidden)), ("squeue", "-j", str(hidden))):
            code, told = await asking(*words)
            assert code == 1
            assert f"there is no job {hidden} among those of this run" in told
        code, told = await asking.sbatch("-d", f"afterany:{hidden}")
        assert (code, f"no job {hidden}" in told) == (1, True)
        # A run below sees neither its parent nor its siblings.
        below = await begin_nested(daemon, asking, first)
        code, said = await below("squeue", "-h", "-o", "%j")
        assert (code, said.split()) == (0, ["first"])
        above = job_number(asking.attempt.run_id)
        assert (await below("scancel", str(above)))[0] == 1
        assert (await asking("scancel", "--name", "second")) == (0, "")
        assert (await daemon.finished(second.run_id)).outcome == "cancelled"
        entry = (await daemon.daemon.context.store.audit())[0]
        wanted = {"run": second.run_id, "of": asking.attempt.run_id}
        assert (entry.call, entry.arguments) == ("cancel", wanted)
        assert (await daemon.run(foreign.attempt.run_id)).cancelled_by is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ls",), "'ls' is not a command"),
        (("sbatch",), "cannot be read"),
        (("sbatch", ".", "9", "a.sh"), "cannot be read"),
        (("sbatch", ".", "0", "a.sh"), "the first line of a batch script"),
        (("sbatch", "../..", "0", "a.sh"), "the first line of a batch script"),
        (("scancel",), "name the jobs to cancel"),
        (("scancel", "7_1"), "is not a job number"),
        (("scancel", "--signal=KILL", "7"), "--signal=KILL' is not supported"),
        (("squeue", "-o", "%Z"), "'%Z' is not supported"),
        (("squeue", "-j", "all"), "is not a job number"),
        (("squeue", "--json"), "--json' is not supported"),
    ],
)
async def test_what_cannot_be_done_is_answered(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon)
        code, said = await asking(*words)
        assert code == 1
        assert told in said
        code, said = await asking("sbatch", "../..", "0", "a.sh", text=SCRIPT)
        assert (code, "is not inside the working folder" in said) == (1, True)
        wrong = "#!/bin/sh\n#SBATCH --export=1X=2\necho\n"
        code, said = await asking("sbatch", ".", "0", "a.sh", text=wrong)
        assert (code, "line 2: --export: '1X' is not a variable name" in said) == (1, True), said


async def test_a_run_that_is_being_cancelled_submits_nothing(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon)
        await asking.submitted()
        await daemon.daemon.context.store.request_cancel(asking.attempt.run_id, "ana")
        daemon.daemon.context.run_cache.change(asking.attempt.run_id, cancelled_by="ana")
        do = daemon.daemon.service.nested.do
        with pytest.raises(Exception, match=r"being stopped|has ended"):
            await do(asking.attempt.attempt_id, "q9", b"1\0squeue\0")


async def test_the_value_of_a_secret_is_not_submitted(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        command: JsonTable = {
            "command": ["true"], "name": "drive", "secrets": ["KEY"], "nested": True,
            "env": {**sim("seconds=600")},
        }  # fmt: skip
        submission = Submission(command=command, secrets={"KEY": Secret("s3cr3t-value")})
        run = await daemon.daemon.service.submit(submission, ANA)
        attempt = await daemon.attempt(run.run_id, lambda a: a.phase is Phase.RUNNING)
        asking = Asking(daemon, attempt)
        code, said = await asking.sbatch(text=SCRIPT + "export KEY=s3cr3t-value\n")
        assert (code, "contains the value of a secret" in said) == (1, True)
        code, said = await asking.sbatch("--export=ALL,A=s3cr3t-value")
        assert (code, "contains the value of a secret" in said) == (1, True)
        # Without it, the new run gets the same secret.
        below = await begin_nested(daemon, asking, await asking.submitted())
        known = daemon.daemon.context.secrets.masked_values(below.attempt.run_id)
        assert known == ("s3cr3t-value",)
