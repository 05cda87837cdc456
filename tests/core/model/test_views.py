"""What crosses the socket: every view is written and read, and has what it is made of."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

import pytest

from hostler.model import views
from hostler.model.codec import from_answer, to_json, view_of
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, Phase
from hostler.model.views.kept import GcView, SweptHost, UnsweptHost
from hostler.model.views.runs import AttemptView, NewRun, RunDetail, RunView, StageView

MODULES = [
    importlib.import_module(f"{views.__name__}.{found.name}")
    for found in pkgutil.iter_modules(views.__path__)
]
VIEWS = [
    made
    for module in MODULES
    for made in vars(module).values()
    if dataclasses.is_dataclass(made) and made.__module__ == module.__name__
]


def names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_an_answer_of_an_older_daemon_is_read(view: type) -> None:
    """It has what names the object, and nothing else."""
    required = {
        field.name
        for field in dataclasses.fields(view)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    words = {"id": 1, "index": 1, "freed": 1, "where": "saved"}
    read: object = from_answer(view, {name: words.get(name, "x") for name in required})
    assert from_answer(view, to_json(read)) == read


def test_an_answer_of_a_newer_daemon_is_read() -> None:
    told = {"run_id": "r", "color": 1, "stages": [{"name": "a", "status": "pondering", "x": {}}]}
    read = from_answer(RunView, told)
    assert read.stages[0].status == "pondering"


def test_a_view_is_made_of_a_model_value_and_others() -> None:
    attempt = Attempt("r-a-1", "r", "a", 1, Phase.RUNNING, "h", ("GPU-1",), 5.0, "process")
    view = view_of(AttemptView, attempt, detail="other")
    assert (view.phase, view.gpus, view.detail) == ("running", ("GPU-1",), "other")
    run = RunView(run_id="r", stages=(StageView(name="a", attempt=view),))
    made = view_of(NewRun, view_of(RunDetail, run), no_host="none")
    assert (made.stages, made.no_host) == (run.stages, "none")


def test_what_a_model_value_computes_is_in_its_view_too() -> None:
    cell = Stage(name="train.0", base="train", kind="task", command=("x",), cell={"seed": 1})
    view = view_of(StageView, cell, gpus=0)
    assert (view.label, view.base) == (cell.label, "train")
    assert view.label


def test_numbers_of_an_answer_are_written_as_they_were_read() -> None:
    told = to_json(RunView(run_id="r", stages=(StageView(name="a"),)))
    told |= {"submitted_at": 50, "finished_at": 1.5}
    again = to_json(from_answer(RunView, told))
    assert repr(again) == repr(told)


def test_a_host_was_swept_or_was_not() -> None:
    told = {"hosts": {"a": {"freed": 1, "checkpoints": 2, "images": 3}, "b": {"error": "away"}}}
    read = from_answer(GcView, told)
    assert read.hosts == {
        "a": SweptHost(freed=1, checkpoints=2, images=3),
        "b": UnsweptHost(error="away"),
    }
    assert to_json(read.hosts) == told["hosts"]
