"""Stages in several parts, and what refers to them."""

from __future__ import annotations

import pytest

from hostler.decide.lifecycle import unfolded
from hostler.spec.pipeline import read_pipeline
from tests.support.values.planning import stage
from tests.support.values.toykinds import toy_kinds


@pytest.fixture(autouse=True)
def _kinds() -> object:
    with toy_kinds():
        yield


def test_a_task_is_one_stage() -> None:
    stages = (stage("a"), stage("b", needs=("a",)))
    assert unfolded(stages) == stages
    assert all(new is old for new, old in zip(unfolded(stages), stages, strict=True))


def test_whoever_needs_a_stage_needs_all_of_its_parts() -> None:
    stages = unfolded(
        [
            stage("serve", kind="forever", env={"REPLICAS": "2"}),
            stage("other"),
            stage("load", needs=("serve", "other")),
        ]
    )
    assert [s.name for s in stages] == ["serve.0", "serve.1", "other", "load"]
    assert {s.base for s in stages[:2]} == {"serve"}
    assert stages[-1].needs == ("serve.0", "serve.1", "other")


def test_an_input_from_several_parts_has_a_folder_for_each() -> None:
    stages = unfolded(
        [
            stage("serve", kind="forever", env={"REPLICAS": "2"}, outputs={"log": "log"}),
            stage("one", outputs={"log": "log"}),
            stage(
                "read",
                needs=("serve", "one"),
                inputs={"many": ("serve.log",), "single": ("one.log",)},
            ),
        ]
    )
    assert stages[-1].inputs == {"many": ("serve.0.log", "serve.1.log"), "single": ("one.log",)}
    assert stages[-1].spread == {"many"}


def test_the_cells_of_a_matrix_unfold_each_for_itself() -> None:
    cells = [
        stage(f"serve.{i}", base="serve", kind="forever", cell={"size": i}, env={"REPLICAS": "2"})
        for i in range(2)
    ]
    found = unfolded(cells)
    assert [s.name for s in found] == ["serve.0.0", "serve.0.1", "serve.1.0", "serve.1.1"]
    assert [s.cell for s in found] == [{"size": 0}, {"size": 0}, {"size": 1}, {"size": 1}]


def test_the_reader_of_pipeline_files_unfolds() -> None:
    pipeline = read_pipeline(
        """
        name = "p"
        [stages.serve]
        kind = "forever"
        command = "serve"
        env = { REPLICAS = "2" }
        [stages.load]
        command = "load"
        needs = "serve"
        """,
        file="pipeline.toml",
    )
    assert [s.name for s in pipeline.stages] == ["serve.0", "serve.1", "load"]
    assert pipeline.stages[-1].needs == ("serve.0", "serve.1")
