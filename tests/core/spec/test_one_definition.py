"""What derives from the definition of a key agrees with it: values, schema, options, the API."""

from __future__ import annotations

import subprocess
import sys
import typing
from collections.abc import Iterator

import pytest

from hostler.api.bodies import CommandBody
from hostler.base.keys import Key, keys_of
from hostler.cli.parser import build_parser, load
from hostler.model.config import Config, HostConfig
from hostler.model.pipeline_file import PipelineTable, StageTable, command_keys
from hostler.model.pipelines import Resources, Stage
from hostler.spec.stages import _SAME

THIRD_PARTY = {"pydantic", "fastapi", "asyncssh", "docker", "sqlite_utils", "textual", "tomli_w"}


def keys_in(table: type) -> Iterator[Key]:
    """Those of a table and of all tables in it."""
    for key in keys_of(table).values():
        yield key
        for inner in key.kind.tables:
            yield from keys_in(inner)


ALL = [*keys_in(PipelineTable), *keys_in(Config)]


def test_the_default_of_each_key_can_be_written_and_read() -> None:
    assert len(ALL) > 70
    for key in ALL:
        if key.is_required or key.default in (None, ()) or key.kind.tables:
            continue
        assert key.kind.read(key.kind.write(key.default)) == key.default, key.name


def test_a_stage_has_what_its_table_says_under_the_same_type() -> None:
    stage, table = typing.get_type_hints(Stage), typing.get_type_hints(StageTable)
    assert {"image", "code", "timeout", "retries", "outputs"} <= set(_SAME)
    assert {name: stage[name] for name in _SAME} == {name: table[name] for name in _SAME}


def test_each_key_of_a_command_is_taken_by_the_api_and_each_option_by_the_command_line() -> None:
    assert set(command_keys()) < set(CommandBody.model_fields)
    flags = {
        flag
        for action in build_parser("run", load("run"))._actions
        for flag in action.option_strings
    }
    options = [key.flag.name for key in command_keys().values() if key.flag is not None]
    assert len(options) > 10
    assert set(options) <= flags


def test_no_key_of_resources_hides_one_of_the_stage() -> None:
    assert not keys_of(Resources).keys() & keys_of(StageTable).keys()


def test_the_same_key_is_found_by_its_name_in_the_file() -> None:
    assert keys_of(Resources)["host"].attribute == "hosts"
    assert keys_of(StageTable)["pass"].attribute == "conditions"
    assert "name" not in keys_of(HostConfig)  # it is the name of the table


@pytest.mark.programs
@pytest.mark.parametrize(
    "module",
    ["hostler.spec.pipeline", "hostler.spec.config", "hostler.spec.schema", "hostler.submit.body"],
)
def test_reading_our_files_needs_the_standard_library_only(module: str) -> None:
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert not set(done.stdout.split()) & THIRD_PARTY
