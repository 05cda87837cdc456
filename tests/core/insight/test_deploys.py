"""What a deploy would change, in words."""

from __future__ import annotations

from dataclasses import replace

from hostler.insight.deploys import Version, changes, needs_no_build, told
from hostler.model.pipelines import Resources
from hostler.model.runs import Source
from tests.support.values.stored import stage

SERVE = stage("serve", env={"A": "1", "B": "2"}, resources=Resources(gpus=1), image="python:3")
LIVE = Version((SERVE,), Source(digest="a" * 64, git_commit="c" * 40), {"lr": 0.1})


def lines(new: Version) -> list[str]:
    return told(changes(LIVE, new))


def test_nothing_changes() -> None:
    assert changes(LIVE, LIVE) == []
    assert lines(LIVE) == ["nothing changes: the new release is the same as the live one"]


def test_code_that_was_not_sent_yet_is_not_said_to_be_gone() -> None:
    said = "code: the current files of this folder; the live release has " + "c" * 12
    assert lines(replace(LIVE, source=Source())) == [said]


def test_each_key_that_differs_is_named() -> None:
    new = replace(
        SERVE, env={"A": "5", "C": "x"}, resources=Resources(gpus=2), command=("serve", "--fast")
    )
    assert lines(replace(LIVE, stages=(new,), params={"lr": 0.2})) == [
        "params.lr: 0.1 -> 0.2",
        "serve.command: true -> serve --fast",
        "serve.env.A: 1 -> 5",
        "serve.env.B: no longer 2",
        "serve.resources.gpus: 1 -> 2",
        "serve.env.C: x (new)",
    ]


def test_code_is_named_by_its_commit_or_content() -> None:
    other = replace(LIVE, source=Source(digest="b" * 64, git_commit="d" * 40))
    assert lines(other) == [f"code: {'c' * 12} -> {'d' * 12}"]
    dirty = replace(LIVE, source=replace(LIVE.source, git_dirty=True, digest="b" * 64))
    assert lines(dirty) == [f"code: {'c' * 12} -> {'c' * 12} with uncommitted changes {'b' * 12}"]


def test_a_configuration_alone_builds_nothing() -> None:
    env = replace(LIVE, stages=(replace(SERVE, env={"A": "2"}),))
    assert needs_no_build(changes(LIVE, env))
    image = replace(LIVE, stages=(replace(SERVE, image="python:4"),))
    assert not needs_no_build(changes(LIVE, image))
    assert not needs_no_build(changes(LIVE, replace(LIVE, source=Source(digest="b" * 64))))
    # A variable that is called like a key is a variable.
    named = replace(LIVE, stages=(replace(SERVE, env={**SERVE.env, "image": "x"}),))
    assert needs_no_build(changes(LIVE, named))


def test_replicas_are_compared_as_one_stage() -> None:
    parts = tuple(replace(SERVE, name=f"serve.{n}") for n in range(3))
    assert changes(LIVE, replace(LIVE, stages=parts)) == []


def test_stages_come_and_go() -> None:
    more = replace(LIVE, stages=(SERVE, stage("check")))
    assert lines(more) == ["check: a stage of kind task (new)"]
    assert told(changes(more, LIVE)) == ["check: no longer a stage of kind task"]


def test_what_looks_like_a_secret_is_not_shown() -> None:
    new = replace(SERVE, env={**SERVE.env, "API_TOKEN": "hunter2hunter2"})
    (line,) = lines(replace(LIVE, stages=(new,)))
    assert line == "serve.env.API_TOKEN: (not shown) (new)"


def test_text_from_files_cannot_write_to_the_terminal() -> None:
    new = replace(SERVE, env={**SERVE.env, "A": "\x1b[2J" + "x" * 500})
    (line,) = lines(replace(LIVE, stages=(new,)))
    assert "\x1b" not in line
    assert len(line) < 100
