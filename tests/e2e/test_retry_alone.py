"""A run tried again with other code or parameters, with the real command line and a real daemon."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hostler.base.paths import SOCKET_NAME
from hostler.client import Client
from tests.support.machines.desk import Desk, Said

PIPELINE = """
name = "exam"
[params]
lr = 0.1
words = "a b"
[stages.train]
command = ["sh", "train.sh", "{params.lr}"]
outputs = { model = "model.txt" }
[stages.evaluate]
command = "sh evaluate.sh {params.words}"
inputs = { model = "train.model" }
outputs = { score = "score.txt" }
[stages.report]
command = "cat inputs/score/score.txt"
inputs = { score = "evaluate.score" }
"""


def write(desk: Desk, evaluate: str, pipeline: str = PIPELINE) -> None:
    (desk.work / "train.sh").write_text(
        'echo "lr $1 of $HOSTLER_RUN" > model.txt; echo \'{"loss": 0.5}\' > "$HOSTLER_METRICS"\n'
    )
    (desk.work / "evaluate.sh").write_text(evaluate)
    (desk.work / "pipeline.toml").write_text(pipeline)


GOOD = "cat inputs/model/model.txt > score.txt; echo good >> score.txt\n"


def first_run(desk: Desk, evaluate: str = "exit 3\n") -> str:
    write(desk, evaluate)
    run_id = desk.ok("run", "-d", "-q").out.strip()
    desk.ended(run_id)
    return run_id


def retried(desk: Desk, *words: str) -> tuple[dict[str, Any], Said]:
    said = desk.ok("retry", *words)
    return desk.ended(said.out.strip()), said


def runs(desk: Desk) -> list[str]:
    """The ids of all runs, those of other tests among them."""
    return desk.ok("runs", "-q").out.split()


def kept(run: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in run["stages"] if stage["kept"]]


@pytest.fixture
def work(shared_alone: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With a repository of its own, so that code has a commit; the daemon is that of all."""
    desk = shared_alone.at_work(tmp_path_factory.mktemp("here") / "work")
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=desk.work, check=True, env=desk.env)
    return desk


def good(desk: Desk) -> Path:
    """Once this file is there, what failed succeeds; it is no part of the code."""
    return desk.work.parent / "good"


def test_a_wrong_line_in_evaluate_costs_no_training(work: Desk) -> None:
    old = first_run(work)
    write(work, GOOD)
    before = runs(work)
    planned = work.ok("retry", old, "--new-code", "--plan").out.splitlines()
    assert planned == [
        f"train\tkept from {old}\tit succeeded",
        "evaluate\truns again\tit failed",
        "report\truns again\tit was skipped",
    ]
    assert runs(work) == before  # the plan made nothing
    run, said = retried(work, old, "--new-code")
    assert said.err.splitlines()[:2] == [
        "kept: train",
        "runs again: evaluate (it failed); report (it was skipped)",
    ]
    assert run["outcome"] == "succeeded", work.ok("why", run["run_id"]).out
    assert kept(run) == ["train"]
    assert work.output(run["run_id"], "report") == f"lr 0.1 of {old}\ngood\n"


def test_both_codes_are_told(work: Desk) -> None:
    old = first_run(work)
    write(work, GOOD)
    run, _ = retried(work, old, "--new-code", "-p", "words=x y")
    new = run["run_id"]
    before = work.show(old)["source"]
    assert run["source"]["digest"] != before["digest"]
    assert run["origins"][old]["source"]["digest"] == before["digest"]
    assert run["origins"][old]["params"]["words"] == "a b"
    assert run["params"]["words"] == "x y"
    source = work.ok("show", new, "--diff", "--json").json
    assert source["origins"][old]["stages"] == ["train"]
    assert "exit 3" in source["origins"][old]["source"]["git_diff"]
    assert "exit 3" not in source["git_diff"]
    said = f"submitted as a retry of {old} with new code, words=x y"
    assert said in work.ok("events", "--run", new).out
    rows = Client(work.state / SOCKET_NAME).metrics(new, "train")
    assert [(row.name, row.value) for row in rows] == [("loss", 0.5)]
    compared = work.ok("compare", old, new).out
    assert "words\ta b\tx y" in compared
    # The first run goes; what this one was made of stays known.
    work.ok("rm", "-y", old)
    assert work.show(new)["origins"][old]["source"]["digest"] == before["digest"]
    again, _ = retried(work, new, "--from", "evaluate", "-q")
    assert kept(again) == ["train"]
    assert list(again["origins"]) == [old]


def test_another_parameter_runs_what_uses_it_and_what_needs_that(work: Desk) -> None:
    old = first_run(work, GOOD)
    refused = work.hostler("retry", old)
    assert refused.code == 2
    assert f"every stage of {old} succeeded: nothing to retry" in refused.err
    run, said = retried(work, old, "-p", "words=x")
    assert kept(run) == ["train"]
    assert "runs again: evaluate (its command changed); report (it needs evaluate)" in said.err
    assert "words = x (was a b)" in said.err
    run, _ = retried(work, old, "-p", "lr=0.2")
    assert kept(run) == []
    text = work.output(run["run_id"], "report")
    assert text == f"lr 0.2 of {run['run_id']}\ngood\n"
    # What a retry was given stays given, where the next one says nothing of it.
    run, _ = retried(work, run["run_id"], "-p", "words=y")
    assert run["params"] == {"lr": 0.2, "words": "y"}
    assert kept(run) == ["train"]


def test_from_runs_a_stage_again_with_new_code(work: Desk) -> None:
    old = first_run(work, GOOD)
    write(work, "cat inputs/model/model.txt > score.txt; echo better >> score.txt\n")
    run, _ = retried(work, old, "--new-code", "--from", "evaluate")
    assert kept(run) == ["train"]
    text = work.output(run["run_id"], "report")
    assert text == f"lr 0.1 of {old}\nbetter\n"
    said = work.hostler("retry", old, "--from", "evalute")
    assert said.code != 0
    assert "no stage 'evalute'" in said.err
    assert "Its stages: train, evaluate, report" in said.err


def test_the_pipeline_file_is_read_again(work: Desk) -> None:
    old = first_run(work)
    added = PIPELINE.replace('words = "a b"', 'words = "c"') + (
        '[stages.last]\ncommand = "echo last"\nneeds = ["report"]\n'
    )
    write(work, GOOD, added)
    run, said = retried(work, old, "--new-code")
    assert run["outcome"] == "succeeded"
    assert kept(run) == ["train"]
    assert "last (it is new)" in said.err
    assert run["params"]["words"] == "c"  # the default of the file, which nobody had set
    write(work, GOOD, added.replace('"exam"', '"other"'))
    said = work.hostler("retry", old, "--new-code")
    assert (said.code, "is of pipeline 'other'" in said.err) == (2, True)
    (work.work / "pipeline.toml").write_text("nonsense")
    assert work.hostler("retry", old, "--new-code").code == 2
    (work.work / "pipeline.toml").unlink()
    run, said = retried(work, old, "--new-code")
    assert "has no pipeline.toml any more: the stages keep their definitions" in said.err
    assert [stage["name"] for stage in run["stages"]] == ["train", "evaluate", "report"]


def test_what_cannot_be_is_refused_before_anything_is_made(work: Desk) -> None:
    old = first_run(work)
    command = work.ok("run", "-d", "-q", "--", "false").out.strip()
    work.ended(command)
    before = runs(work)
    for words, told in (
        (["-p", "lrr=1"], "there is no parameter 'lrr' (did you mean 'lr'?)"),
        (["-p", "lr=fast"], "should be a number"),
        (["-p", "nonsense"], "NAME=VALUE"),
    ):
        said = work.hostler("retry", old, *words)
        assert (said.code != 0, told in said.err) == (True, True), said
        assert "Traceback" not in said.err
    said = work.hostler("retry", command, "-p", "lr=1")
    assert f"run {command} is one command: it has no parameters" in said.err
    assert runs(work) == before
    moved = Path(f"{work.work}-moved")
    work.work.rename(moved)
    said = work.hostler("retry", old, "--new-code", cwd=moved)
    moved.rename(work.work)
    assert (said.code, "which is not on this machine" in said.err) == (2, True)


def test_code_that_is_gone_is_told_before_anything_is_made(work: Desk) -> None:
    old = first_run(work, "exit 4\n")  # code that no other test has
    before = runs(work)
    digest = work.show(old)["source"]["digest"]
    [blob] = [path for path in work.state.rglob("*") if path.name.endswith(digest[2:])]
    blob.unlink()
    for words in (["retry", old], ["retry", old, "-p", "words=x"], ["rerun", old, "--same-code"]):
        said = work.hostler(*words)
        assert (said.code, f"the code of run {old} is no longer kept" in said.err) == (2, True), (
            said
        )
    assert runs(work) == before
    write(work, GOOD)
    run, _ = retried(work, old, "--new-code")
    assert (run["outcome"], kept(run)) == ("succeeded", ["train"])


def test_a_command_is_tried_again_with_new_code(work: Desk) -> None:
    (work.work / "try.sh").write_text("exit 3\n")
    words = ["run", "-d", "-q", "--code", "snapshot", "--", "sh", "try.sh"]
    old = work.ok(*words).out.strip()
    work.ended(old)
    (work.work / "try.sh").write_text("echo done\n")
    run, _ = retried(work, old, "--new-code")
    assert run["outcome"] == "succeeded"
    assert work.output(run["run_id"], "run") == "done\n"


CHECKPOINTED = """
name = "steps"
[params]
lr = 0.1
[stages.train]
command = 'echo {params.lr} >> ckpt/steps; cat ckpt/steps; test -e GOOD'
shell = true
checkpoint = "ckpt"
"""


def test_a_checkpoint_is_gone_on_from_unless_the_definition_changed(work: Desk) -> None:
    (work.work / "pipeline.toml").write_text(CHECKPOINTED.replace("GOOD", str(good(work))))
    first = work.ok("run", "-d", "-q").out.strip()
    work.ended(first)

    def steps(*words: str) -> tuple[str, str, str]:
        run, said = retried(work, *words)
        run_id = run["run_id"]
        return run_id, work.output(run_id, "train"), said.err

    second, log, said = steps(first)
    assert (log, "without" in said) == ("0.1\n0.1\n", False)
    third, log, said = steps(second, "-p", "lr=0.2")
    assert (log, "begins without its checkpoint: train" in said) == ("0.2\n", True)
    good(work).touch()
    fourth, log, said = steps(third)
    assert (log, "without" in said) == ("0.2\n0.2\n", False)
    _, log, said = steps(fourth, "--from", "train")
    assert (log, "begins without its checkpoint: train" in said) == ("0.2\n", True)
    # The first one is there as it was.
    assert steps(second)[1] == "0.1\n0.1\n0.1\n"


MATRIX = """
name = "many"
[stages.train]
matrix = { lr = LIST }
command = "mkdir out; echo {matrix.lr} of $HOSTLER_RUN > out/model"
shell = true
outputs = { model = "out" }
[stages.best]
command = "cat inputs/all/*/model; test -e GOOD"
shell = true
inputs = { all = "train.*.model" }
"""


def test_a_new_value_in_the_middle_of_a_matrix_costs_no_other_cell(work: Desk) -> None:
    matrix = MATRIX.replace("GOOD", str(good(work)))
    (work.work / "pipeline.toml").write_text(matrix.replace("LIST", "[1, 3]"))
    old = work.ok("run", "-d", "-q").out.strip()
    work.ended(old)
    good(work).touch()
    (work.work / "pipeline.toml").write_text(matrix.replace("LIST", "[1, 2, 3]"))
    run, said = retried(work, old, "--new-code")
    new = run["run_id"]
    assert run["outcome"] == "succeeded", work.ok("why", new).out
    assert "kept: train.0; train.2\n" in said.err
    text = work.output(new, "best")
    assert text == f"1 of {old}\n2 of {new}\n3 of {old}\n"
    listed = work.ok("get", f"{new}/train.2", "--list").out
    assert "model" in listed


def test_lines_of_a_file_stay_as_they_were_unless_the_code_is_new(work: Desk) -> None:
    (work.work / "args.txt").write_text("a b\n\nc\n")
    (work.work / "pipeline.toml").write_text(
        """name = "lines"
        [params]
        lr = 0.1
        [stages.say]
        command = ["echo", "{matrix.i} {matrix.args} {params.lr}"]
        matrix = { i = { from = 0, to = 0.1, step = 0.1 }, args = { lines = "args.txt" } }
        """
    )
    old = work.ok("run", "-d", "-q").out.strip()
    work.ended(old)
    assert work.output(old, "say.2") == "0.1 a b 0.1\n"
    (work.work / "args.txt").write_text("d\n")
    run, _ = retried(work, old, "-p", "lr=0.2")
    assert [stage["command"][1] for stage in run["stages"]] == [
        f"{i} {args} 0.2" for i in ("0.0", "0.1") for args in ("a b", "c")
    ]
    run, _ = retried(work, old, "--new-code")
    assert [stage["command"][1] for stage in run["stages"]] == ["0.0 d 0.1", "0.1 d 0.1"]
    (work.work / "args.txt").unlink()
    refused = work.hostler("run", "-d")
    assert refused.code == 2
    assert "'args.txt', whose lines a matrix takes, cannot be read" in refused.err


def test_words_for_the_commands_of_a_file_go_through_a_retry(work: Desk) -> None:
    (work.work / "pipeline.toml").write_text(
        """name = "words"
        params = { lr = 0.1 }
        stages.say = { command = ["printf", "<%s>", "{params.lr}", "{args}"] }
        stages.sh = { shell = true, command = "printf '<%s>' {args}" }
        """
    )
    words = ["a b", "$(x)", "'", "*", "", "--lr"]
    old = work.ok("run", "-d", "-q", "pipeline.toml", "--", *words).out.strip()
    told = "".join(f"<{word}>" for word in words)
    params = work.ended(old)["params"]
    assert params["lr"] == 0.1
    assert work.output(old, "say") == f"<0.1>{told}"
    assert work.output(old, "sh") == told
    run, _ = retried(work, old, "-p", "lr=0.2")
    assert run["params"] == {**params, "lr": 0.2}
    assert work.output(run["run_id"], "say") == f"<0.2>{told}"
    refused = work.hostler("run", "-d", "pipeline.toml", "--gpus", "1", "--", "x")
    assert refused.code == 2
    assert "--gpus works only with a command" in refused.err
