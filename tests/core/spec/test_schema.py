"""The JSON Schemas say what the readers say."""

from __future__ import annotations

import contextlib
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import tomli_w

from hostler.base.errors import PipelineError
from hostler.base.keys import keys_of
from hostler.model.config import Config
from hostler.model.pipeline_file import PipelineTable, StageTable
from hostler.spec.pipeline import read_pipeline
from hostler.spec.schema import config_schema, schema
from tests.core.spec.test_pipeline import DIGITS

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def properties(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(made["properties"])
    for table in made["$defs"].values():
        found |= table["properties"]
    return found


def has_help(field: dict[str, Any]) -> bool:
    """A text of its own, or that of the table it refers to."""
    return bool(field.get("description") or field.get("$ref"))


@pytest.mark.parametrize("made", [schema(), config_schema()], ids=["pipeline", "config"])
def test_every_key_has_a_help_text_and_no_null(made: dict[str, Any]) -> None:
    assert {key for key, field in properties(made).items() if not has_help(field)} == set()
    assert "null" not in json.dumps(made)
    assert made["$schema"].startswith("https://json-schema.org/")


def test_it_has_the_keys_of_the_models() -> None:
    made: dict[str, Any] = schema()
    config: dict[str, Any] = config_schema()
    assert set(made["properties"]) == set(keys_of(PipelineTable))
    assert set(made["$defs"]["StageTable"]["properties"]) == set(keys_of(StageTable))
    assert set(config["properties"]) == set(keys_of(Config))


def test_it_takes_what_the_reader_takes() -> None:
    check = jsonschema_rs.validator_for(schema())
    values = tomllib.loads(DIGITS)
    check.validate(values)
    values["stages"]["train"]["retries"] = 2
    values["stages"]["prepare"]["matrix"] = {"file": {"glob": "data/*.csv"}}
    check.validate(values)
    angles = {"from": 0, "to": "{params.most}", "step": 0.5}
    values["stages"]["prepare"]["matrix"] = {"i": angles, "args": {"lines": "args.txt"}}
    check.validate(values)
    config = jsonschema_rs.validator_for(config_schema())
    config.validate(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("key", "value"),
    [("comand", "x"), ("kind", "gang"), ("priority", 1), ("timeout", 5), ("matrix", {"i": 1})],
)
def test_it_refuses_what_the_reader_refuses(key: str, value: object) -> None:
    values = tomllib.loads(DIGITS)
    values["stages"]["train"][key] = value
    assert not jsonschema_rs.validator_for(schema()).is_valid(values)


@pytest.mark.parametrize(
    ("stage", "is_right"),
    [
        ({"command": "x"}, True),
        ({"kind": "task", "command": "x"}, True),
        ({"kind": "task"}, False),
        ({}, False),
        ({"kind": "build"}, True),
        ({"kind": "build", "context": "a", "tag": "b", "resources": {"cpus": 2}}, True),
        ({"kind": "build", "command": "x"}, False),
        ({"kind": "build", "env": {"A": "b"}}, False),
        ({"kind": "build", "resources": {"gpus": 1}}, False),
        ({"command": "x", "context": "a"}, False),
        ({"kind": "gate", "command": "x", "pass": ["a > 1"]}, True),
        ({"kind": "gate", "command": "x"}, False),
        ({"command": "x", "pass": ["a > 1"]}, False),
        ({"kind": "service", "command": "x", "health": "/h", "replicas": 2}, True),
        ({"kind": "service", "command": "x", "health": "/h", "retries": 2}, False),
        ({"command": "x", "replicas": 2}, False),
    ],
)
def test_the_kind_says_which_keys_a_stage_has(stage: dict[str, object], is_right: bool) -> None:
    """And the reader says the same."""
    check = jsonschema_rs.validator_for(schema())
    whole = {"name": "n", "stages": {"s": stage}}
    assert check.is_valid(whole) is is_right
    with contextlib.nullcontext() if is_right else pytest.raises(PipelineError):
        read_pipeline(tomli_w.dumps(whole), file="pipeline.toml")


def test_defaults_are_written_as_people_write_them() -> None:
    pipeline: dict[str, Any] = schema()
    config: dict[str, Any] = config_schema()
    made = pipeline["$defs"]
    assert made["StageTable"]["properties"]["lost_after"]["default"] == "10m"
    assert made["RetriesTable"]["properties"]["backoff"]["default"] == "5s"
    limits = config["$defs"]["LimitsTable"]["properties"]
    assert limits["source_size"]["default"] == "256MiB"
    assert limits["keep_logs"]["default"] == "90d"
